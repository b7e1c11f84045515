"""What gateways are told: built from ledger and quarantine, published at least once."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from line import Line
from sent import COKING, HEAD, NOON, STEEL, topic

from config.schemas import SETTLEMENT
from config.settings import MqttSettings
from ingest.gateways import LISTED, ReceiptPublisher
from store.database import Database, opened
from store.journal import HISTORY, LIVE, Arrival, Journal
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
        return self.settle_message(message, seq, sender=sender, outcome=outcome, rejected=rejected, **counts)

    def settle_message(
        self, message: int, seq: int | None, *, sender: str = STEEL, outcome: str = "decoded", rejected: int = 0, lane: int = LIVE, **counts: int
    ) -> int:
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
        self.ledger.settle(pl.DataFrame([head], schema=SETTLEMENT), message, lane=lane)
        return message

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        settled = self.ledger.settled(self.ledger.receipt_cursor(), 1000)
        return [(where, json.loads(payload)) for where, payload in self.publisher.receipts(settled)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(f"sqlite:///{tmp_path}/tcewatch.db") as one:
        yield one


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Iterator[Site]:
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
    assert [receipt["contiguous_seq"] for _, receipt in site.told()] == [2, 2]


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


@pytest.fixture
def at_s(monkeypatch) -> list[float]:
    """The monotonic clock of the receipts: one number, to be changed."""
    clock = [1000.0]
    monkeypatch.setattr("ingest.gateways.time.monotonic", lambda: clock[0])
    return clock


def told_by(line: Line, start: int = 0) -> list[tuple[str, str, int, int]]:
    receipts = [(where.split("/")[3], json.loads(payload)) for where, payload in line.sent[start:]]
    return [(sender, one["epoch"], one["from_seq"], one["to_seq"]) for sender, one in receipts]


def test_two_epochs_of_one_gateway_are_told_a_second_apart_and_other_gateways_do_not_wait(site, at_s) -> None:
    for sender, epoch in ((STEEL, "a"), (STEEL, "b"), (COKING, "a")):
        site.settle(1, sender=sender, epoch=epoch, stored=1, decoded=1)
    line = Line()
    assert site.publisher.once(line) == 2
    assert told_by(line) == [(STEEL, "a", 1, 1), (COKING, "a", 1, 1)]
    at_s[0] += 0.99
    assert site.publisher.once(line) == 0
    at_s[0] += 0.01
    assert site.publisher.once(line) == 1
    assert told_by(line, 2) == [(STEEL, "b", 1, 1)]


@pytest.mark.parametrize(("epochs", "at_once"), [(5, 1), (6, 6)])
def test_a_gateway_with_a_new_epoch_in_each_message_is_told_all_at_once_where_more_than_five_receipts_wait(site, at_s, epochs, at_once) -> None:
    for number in range(epochs):
        site.settle(1, epoch=f"e{number}", stored=1, decoded=1)
    assert site.publisher.once(Line()) == at_once


def test_the_cursor_stays_before_what_waits_for_its_turn(site, at_s) -> None:
    for epoch in ("a", "b"):
        site.settle(1, epoch=epoch, stored=1, decoded=1)
    site.publisher.once(Line())
    assert site.ledger.receipt_cursor() == 1
    at_s[0] += 1
    site.publisher.once(Line())
    assert site.ledger.receipt_cursor() == 2


def test_a_range_never_claims_a_message_that_did_not_come(site) -> None:
    for seq in (1, 2, 5, 6):
        site.settle(seq, stored=1, decoded=1)
    assert [(receipt["from_seq"], receipt["to_seq"], receipt["stored"], receipt["contiguous_seq"]) for _, receipt in site.told()] == [
        (1, 2, 2, 2), (5, 6, 2, 2)
    ]


def test_a_range_may_span_what_was_told_before_and_what_is_reported_lost(site, at_s) -> None:
    """The control of the one above: only what may still come divides a range."""
    for seq in (1, 2, 5):
        site.settle(seq, stored=1, decoded=1)
    site.ledger.record_lost(STEEL, "gw-1", EPOCH, 4, 4)
    for _ in range(2):
        site.publisher.once(Line())
        at_s[0] += 1
    site.settle(3, stored=1, decoded=1)
    site.settle(6, stored=1, decoded=1)
    (_, receipt), = site.told()
    assert (receipt["from_seq"], receipt["to_seq"], receipt["stored"], receipt["contiguous_seq"]) == (3, 6, 2, 6)


def test_history_that_is_settled_after_later_live_messages_is_told_too(site) -> None:
    late = site.journal.append([Arrival("mqtt", topic(), None, None, b"{}", NOON, lane=HISTORY)])[0]
    site.settle(9, stored=1, decoded=1)
    line = Line()
    site.publisher.once(line)
    site.settle_message(late, 3, lane=HISTORY, stored=7, decoded=7)
    (_, receipt), = site.told()
    assert (receipt["from_seq"], receipt["to_seq"], receipt["stored"]) == (3, 3, 7)


@pytest.mark.parametrize(("registered", "notices"), [
    ({(STEEL, "gw-1"): "150621"}, []), ({(STEEL, "gw-1"): "159901"}, ["wrong_region"]), ({(STEEL, "gw-2"): "150621"}, ["unknown_gateway"]),
])
def test_a_gateway_is_told_that_its_topic_is_not_as_registered(site, registered, notices) -> None:
    site.publisher = ReceiptPublisher(MqttSettings(), site.ledger, site.quarantine, site.journal, regions=lambda: registered, now=lambda: AT)
    site.settle(1, stored=1, decoded=1)
    (_, receipt), = site.told()
    assert [(one["reason"], sorted(one["text"])) for one in receipt.get("notices", [])] == [(code, ["en", "zh"]) for code in notices]


MESSAGE = st.tuples(st.sampled_from([STEEL, COKING]), st.sampled_from(["a", "b"]), st.integers(1, 12), st.integers(0, 3), st.integers(0, 2))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(MESSAGE, max_size=25), breaks=st.lists(st.integers(0, 2), max_size=25))
def test_every_settled_message_is_told_once_and_no_range_holds_one_that_is_missing(tmp_path_factory, database, messages, breaks) -> None:
    """0: a second passes, 1: the broker is away for a moment, 2: the process starts anew, which alone may tell something again."""
    with pytest.MonkeyPatch.context() as patch:
        one, clock, line = Site(tmp_path_factory.mktemp("receipts"), database), [0.0], Line()
        patch.setattr("ingest.gateways.time.monotonic", lambda: clock[0])
        for position, (sender, epoch, seq, stored, rejected) in enumerate(messages):
            one.settle(seq, sender=sender, epoch=epoch, stored=stored, rejected=rejected, decoded=stored + rejected)
            match breaks[position] if position < len(breaks) else None:
                case 0:
                    clock[0] += 1
                    one.publisher.once(line)
                case 1:
                    one.publisher.once(Line(alive=False))
                case 2:
                    one.publisher = ReceiptPublisher(MqttSettings(), one.ledger, one.quarantine, one.journal, now=lambda: AT)
        for _ in range(8):
            clock[0] += 1
            one.publisher.once(line)
        assert one.publisher.once(line) == 0
        one.journal.close()
        one.ledger.close()
    told = [(where.split("/")[3], json.loads(payload)) for where, payload in line.sent]
    may_repeat = 2 in breaks[:len(messages)]
    for told_as, settled in (("stored", sum(message[3] for message in messages)), ("rejected_count", sum(message[4] for message in messages))):
        said = sum(receipt[told_as] for _, receipt in told)
        assert said >= settled if may_repeat else said == settled
    ranges = [(sender, receipt["epoch"], receipt["from_seq"], receipt["to_seq"]) for sender, receipt in told]
    for sender, epoch, seq, *_ in messages:
        assert any((sender, epoch) == one_range[:2] and one_range[2] <= seq <= one_range[3] for one_range in ranges)
    came = {message[:3] for message in messages}
    claimed = {(sender, epoch, seq) for sender, epoch, first, last in ranges for seq in range(first, last + 1)}
    assert claimed <= came


def test_a_receipt_goes_where_the_gateway_is_registered_whatever_region_a_message_named(site: Site) -> None:
    site.publisher = ReceiptPublisher(
        MqttSettings(), site.ledger, site.quarantine, site.journal, regions=lambda: {(STEEL, "gw-1"): "159901"}, now=lambda: AT,
    )
    site.settle(1, decoded=1, stored=1)
    assert [where for where, _ in site.told()] == [f"tce/v1/159901/{STEEL}/gw-1/receipts"]
