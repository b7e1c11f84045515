"""What gateways are told: built from ledger and quarantine, published at least once."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sent import COKING, HEAD, NOON, STEEL, topic

from config.schemas import SETTLEMENT
from config.settings import MqttSettings
from ingest.gateways import LISTED, ReceiptPublisher
from store.database import Database, opened
from store.journal import Arrival, Journal
from store.ledger import Ledger
from store.quarantine import Quarantine

EPOCH = HEAD["epoch"]
AT = datetime(2026, 11, 20, 4, 5, tzinfo=UTC)


class Site:
    """Journal, ledger and quarantine, and what settles into them."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.journal, self.ledger, self.quarantine = Journal(folder / "journal"), Ledger(folder / "ledger.sqlite"), Quarantine(database)
        self.publisher = ReceiptPublisher(MqttSettings(), self.ledger, self.quarantine, self.journal, now=lambda: AT)

    def settle(self, seq: int | None, *, sender: str = STEEL, door: str = "mqtt", outcome: str = "decoded", rejected: int = 0, **counts: int) -> int:
        where = topic(sender) if seq is not None else "MQTT_ENY_NOW"
        message = self.journal.append([Arrival(door, where, None, None, b"{}", NOON)])[0]
        head = {
            **dict.fromkeys(SETTLEMENT, 0), "message": message, "outcome": outcome, "reason": None, "enterprise": sender, "gateway": "gw-1",
            "epoch": EPOCH if seq is not None else None, "seq": seq, "rejected": rejected, **counts,
        }
        self.quarantine.add(pl.DataFrame([
            {"message": message, "index": index, "kind": "rejected", "reasons": ["unknown_meter", "not_too_old"], "enterprise": sender,
             "gateway": "gw-1", "meter": f"E-{index}", "register": "active_import", "raw": b""}
            for index in range(rejected)
        ]))
        if outcome == "undecodable":
            self.quarantine.add(pl.DataFrame([{
                "message": message, "index": -1, "kind": outcome, "reasons": ["not_json"], "enterprise": sender, "gateway": "gw-1", "raw": b"{}",
            }]))
        self.ledger.settle(pl.DataFrame([head], schema=SETTLEMENT), message)
        return message

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        settled = self.ledger.settled(self.ledger.receipt_cursor(), 1000)
        return [(where, json.loads(payload)) for where, payload in self.publisher.receipts(settled)]


class Published:
    def __init__(self, *, done: bool) -> None:
        self.is_published = lambda: done


class Line:
    """A connection whose broker acknowledges, or is gone."""

    def __init__(self, *, alive: bool = True) -> None:
        self.alive = alive
        self.sent: list[tuple[str, bytes]] = []

    def publish(self, where: str, payload: bytes) -> Published:
        self.sent.append((where, payload))
        return Published(done=self.alive)

    def step(self, _timeout_s: float) -> bool:
        return False


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(f"sqlite:///{tmp_path}/tcewatch.db") as database:
        one = Site(tmp_path, database)
        yield one
        one.journal.close()
        one.ledger.close()


def test_a_receipt_covers_the_range_that_was_settled(site) -> None:
    site.settle(1802, stored=100, decoded=100)
    site.settle(1803, stored=90, duplicate=9, conflicting=1, decoded=101, rejected=1)
    (where, receipt), = site.told()
    assert where == f"tce/v1/150621/{STEEL}/gw-1/receipts"
    assert receipt == {
        "v": 1, "epoch": EPOCH, "from_seq": 1802, "to_seq": 1803, "stored": 190, "duplicate": 9, "conflicting": 1, "rejected_count": 1,
        "rejected": [{
            "seq": 1803, "index": 0, "meter": "E-0", "register": "active_import", "reason": "unknown_meter",
            "text": {"zh": "该企业没有登记此计量器具。", "en": "This meter is not registered for the enterprise."},
        }],
        "contiguous_seq": 0, "at": "2026-11-20T04:05:00.000+00:00",
    }


def test_the_contiguous_seq_is_the_ledgers(site) -> None:
    for seq in (1, 2, 4):
        site.settle(seq, stored=1, decoded=1)
    (_, receipt), = site.told()
    assert (receipt["from_seq"], receipt["to_seq"], receipt["contiguous_seq"]) == (1, 4, 2)


def test_a_message_that_could_not_be_read_is_told_where_it_says_which_one_it_was(site) -> None:
    site.settle(7, outcome="undecodable")
    (_, receipt), = site.told()
    assert receipt["rejected_count"] == 1
    assert [(one["seq"], one["index"], one["meter"], one["reason"]) for one in receipt["rejected"]] == [(7, -1, None, "not_json")]


@pytest.mark.parametrize(("rejected", "listed"), [(LISTED, LISTED), (LISTED + 1, LISTED)])
def test_a_receipt_lists_100_rejected_rows_at_most_and_counts_all(site, rejected, listed) -> None:
    site.settle(1, rejected=rejected, decoded=rejected)
    (_, receipt), = site.told()
    assert (receipt["rejected_count"], len(receipt["rejected"])) == (rejected, listed)


def test_each_gateway_gets_its_own_and_sees_nothing_of_others(site) -> None:
    site.settle(1, rejected=1, decoded=1)
    site.settle(1, sender=COKING, stored=5, decoded=5)
    told = dict(site.told())
    assert {where: (receipt["stored"], receipt["rejected_count"]) for where, receipt in told.items()} == {
        f"tce/v1/150621/{STEEL}/gw-1/receipts": (0, 1), f"tce/v1/150621/{COKING}/gw-1/receipts": (5, 0),
    }


def test_what_was_told_before_is_not_told_again(site) -> None:
    site.settle(1, rejected=1, decoded=1)
    site.publisher.once(Line())
    site.settle(2, stored=3, decoded=3)
    (_, receipt), = site.told()
    assert (receipt["from_seq"], receipt["stored"], receipt["rejected"]) == (2, 3, [])


@pytest.mark.parametrize(("seq", "door"), [(None, "mqtt"), (1, "file")])
def test_a_format_without_a_count_and_another_door_get_no_receipt_and_hold_up_nobody(site, seq, door) -> None:
    message = site.settle(seq, door=door, stored=1, decoded=1)
    line = Line()
    site.publisher.once(line)
    assert line.sent == []
    assert site.ledger.receipt_cursor() == message


@pytest.mark.parametrize("alive", [True, False])
def test_the_cursor_follows_the_brokers_acknowledgement(site, alive) -> None:
    message = site.settle(1, stored=1, decoded=1)
    line = Line(alive=alive)
    site.publisher.once(line)
    assert len(line.sent) == 1
    assert site.ledger.receipt_cursor() == (message if alive else 0)


def test_nothing_settled_means_nothing_told(site) -> None:
    line = Line()
    assert site.publisher.once(line) == 0
    assert line.sent == []


def test_two_epochs_of_one_gateway_are_told_a_second_apart_and_other_gateways_do_not_wait(site) -> None:
    class Clocked(Line):
        def publish(self, where: str, payload: bytes) -> Published:
            said.append((json.loads(payload)["epoch"], where.split("/")[3], time.monotonic()))
            return super().publish(where, payload)

        def step(self, timeout_s: float) -> bool:
            time.sleep(timeout_s)
            return False

    said: list[tuple[str, str, float]] = []
    for sender, epoch in ((STEEL, "a"), (STEEL, "b"), (COKING, "a")):
        site.settle(1, sender=sender, epoch=epoch, stored=1, decoded=1)
    assert site.publisher.once(Clocked()) == 3
    assert [line[:2] for line in said] == [("a", STEEL), ("a", COKING), ("b", STEEL)]
    assert said[1][2] - said[0][2] < 0.5
    assert said[2][2] - said[0][2] >= 1.0
    assert site.publisher.once(Clocked()) == 0


def test_a_gateway_with_a_new_epoch_in_each_message_holds_the_others_up_for_seconds_only(site) -> None:
    for number in range(50):
        site.settle(1, epoch=f"e{number}", stored=1, decoded=1)
    began, line = time.monotonic(), Line()
    line.step = time.sleep  # type: ignore[method-assign,assignment]
    assert site.publisher.once(line) == 50
    assert time.monotonic() - began < 10.0


def test_a_receipt_goes_where_the_gateway_is_registered_whatever_region_a_message_named(site: Site) -> None:
    site.publisher = ReceiptPublisher(
        MqttSettings(), site.ledger, site.quarantine, site.journal, regions=lambda: {(STEEL, "gw-1"): "159901"}, now=lambda: AT,
    )
    site.settle(1, decoded=1, stored=1)
    assert [where for where, _ in site.told()] == [f"tce/v1/159901/{STEEL}/gw-1/receipts"]
