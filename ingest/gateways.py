"""What the platform tells gateways: receipts, built from the ledger and published at least once."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import polars as pl
import structlog

from config import failpoints
from config.errors import BrokerUnavailableError, StoreFullError, StoreUnavailableError
from config.settings import MqttSettings
from ingest.connect import connection_to
from ingest.connection import Connection
from ingest.reasons import REASONS
from ingest.routes import OWN_ROOT, OWN_TOPIC
from store.journal import Journal, Message
from store.ledger import Ledger
from store.quarantine import Quarantine

LISTED: Final = 100  # rejected readings that one receipt lists
_EVERY_S: Final = 1.0  # at most one receipt a second for each gateway
_TURNS: Final = 5  # epochs of one gateway that wait for each other
_SETTLEMENTS: Final = 10_000
_CONFIRMED_WITHIN_S: Final = 10.0
_LONGEST_WAIT_S: Final = 4.0
_GATEWAY: Final = ["enterprise", "gateway", "epoch"]
_log: Final = structlog.get_logger("receipts")


def compose(
    group: pl.DataFrame, refused: Sequence[Mapping[str, Any]], *, contiguous_seq: int, at: datetime
) -> dict[str, Any]:
    """One receipt.

    Args:
        group: SETTLEMENT rows of one gateway and epoch, each with its seq.
        refused: their rows in quarantine, LISTED at most; index -1 stands for a whole message.
        contiguous_seq: every message up to this one is accounted for.
        at: when the receipt is written.

    Returns:
        The receipt of the contract. A message that could not be read counts as one rejected row.
    """
    seqs = dict(group.select("message", "seq").iter_rows())
    unread = group.filter(pl.col("outcome") == "undecodable").height
    listed = sorted((row for row in refused if row["message"] in seqs), key=lambda row: (seqs[row["message"]], row["index"]))
    return {
        "v": 1, "epoch": group["epoch"][0], "from_seq": group["seq"].min(), "to_seq": group["seq"].max(),
        **{name: int(group[name].sum()) for name in ("stored", "duplicate", "conflicting")},
        "rejected_count": int(group["rejected"].sum()) + unread,
        "rejected": [
            {"seq": seqs[row["message"]], "index": row["index"], "meter": row["meter"], "register": row["register"], **_reason(row["reasons"])}
            for row in listed
        ],
        "contiguous_seq": contiguous_seq, "at": at.isoformat(timespec="milliseconds"),
    }


class ReceiptPublisher:
    """Tells gateways that speak the contract's format what became of their messages."""

    def __init__(
        self, settings: MqttSettings, ledger: Ledger, quarantine: Quarantine, journal: Journal, *,
        regions: Callable[[], Mapping[tuple[str, str], str]] = dict, now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sandbox: Callable[[Iterator[Message]], Sequence[tuple[str, bytes]]] = lambda _messages: (),
    ) -> None:
        """What it works with.

        `regions` tells the registered region of (enterprise, gateway): where it listens, whatever a message's topic said.
        `sandbox` answers the messages that came on `sandbox` (`ingest.sandbox.answers`).
        """
        self._settings, self._ledger, self._quarantine, self._journal = settings, ledger, quarantine, journal
        self._regions, self._now, self._sandbox = regions, now, sandbox
        self.published = 0

    def run(self, stop: threading.Event) -> None:
        """Publish until told to stop; a broker or store that is away is waited for."""
        wait_s = 0.0
        while not stop.wait(wait_s):
            connection = connection_to(self._settings, f"{self._settings.client_id[:50]}-receipts")
            try:
                connection.open()
                wait_s = 1.0
                while connection.alive and not stop.is_set():
                    self.once(connection, stop)
                    _idle(connection, stop, _EVERY_S)
            except (BrokerUnavailableError, StoreUnavailableError, StoreFullError) as error:
                _log.debug("waiting", reason=str(error))
                wait_s = min(max(1.0, wait_s * 2), _LONGEST_WAIT_S)
            finally:
                connection.close()

    def once(self, connection: Connection, stop: threading.Event | None = None) -> int:
        """Publish what has been settled since the last receipt; how many receipts. The cursor follows the broker's PUBACK."""
        stop = stop or threading.Event()
        settlements = self._ledger.settled(self._ledger.receipt_cursor(), _SETTLEMENTS)
        if settlements.is_empty():
            return 0
        receipts = [*self.receipts(settlements), *self._tried(settlements)]
        sent = []
        for number, turn in enumerate(_turns(receipts)):
            if number:
                _idle(connection, stop, _EVERY_S)
                if stop.is_set() or not connection.alive:
                    return 0  # the cursor stays: they are told again
            sent += [connection.publish(topic, payload) for topic, payload in turn]
        deadline = time.monotonic() + _CONFIRMED_WITHIN_S
        while not all(info.is_published() for info in sent):
            if not connection.alive or time.monotonic() > deadline:
                return 0  # the cursor stays: they are told again
            connection.step(0.05)
        failpoints.reach("after_receipt")
        self._ledger.set_receipt_cursor(int(settlements["position"][-1]))
        self.published += len(receipts)
        return len(receipts)

    def receipts(self, settlements: pl.DataFrame) -> list[tuple[str, bytes]]:
        """Topic and payload of each receipt for SETTLEMENT rows; none for formats without epoch and seq, nor for other doors."""
        counted = settlements.drop_nulls([*_GATEWAY, "seq"])
        if counted.is_empty():
            return []
        contiguous = {tuple(row[:3]): row[3] for row in self._ledger.sequences().select(*_GATEWAY, "contiguous_seq").iter_rows()}
        regions = self._regions()
        found = []
        for group in counted.sort("message").partition_by(_GATEWAY, maintain_order=True):
            enterprise, gateway, epoch = group.select(_GATEWAY).row(0)
            first, last = group["message"][0], group["message"][-1]
            message = self._journal.get(last)
            own = OWN_TOPIC.fullmatch(message.topic) if message is not None and message.door == "mqtt" else None
            if own is None:
                continue
            refused: list[dict[str, Any]] = []
            if group["rejected"].sum() or (group["outcome"] == "undecodable").any():
                page = self._quarantine.page(after=(last, -2), limit=LISTED, filters={"enterprise": enterprise, "gateway": gateway})
                refused = page.filter(pl.col("message") >= first).to_dicts()
            receipt = compose(group, refused, contiguous_seq=contiguous.get((enterprise, gateway, epoch), 0), at=self._now())
            region = regions.get((enterprise, gateway), own["region"])
            found.append((f"{OWN_ROOT}{region}/{enterprise}/{gateway}/receipts", msgspec.json.encode(receipt)))
        return found

    def _tried(self, settlements: pl.DataFrame) -> Sequence[tuple[str, bytes]]:
        """Answers to the messages that came on `sandbox`."""
        numbers = settlements.filter(pl.col("outcome") == "sandbox")["message"]
        return self._sandbox(message for number in numbers if (message := self._journal.get(number)) is not None and message.door == "mqtt")


def _reason(reasons: Sequence[str]) -> dict[str, Any]:
    text = REASONS[reasons[0]]
    return {"reason": reasons[0], "text": {"zh": text.zh, "en": text.en}}


def _turns(receipts: Sequence[tuple[str, bytes]]) -> list[list[tuple[str, bytes]]]:
    """Receipts of several epochs of one gateway, a second apart; a gateway with a new epoch in each message holds up the others only so long."""
    turns: list[list[tuple[str, bytes]]] = []
    taken: Counter[str] = Counter()
    for topic, payload in receipts:
        turn = min(taken[topic], _TURNS - 1)
        if turn == len(turns):
            turns.append([])
        turns[turn].append((topic, payload))
        taken[topic] += 1
    return turns


def _idle(connection: Connection, stop: threading.Event, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while connection.alive and not stop.is_set() and (left_s := deadline - time.monotonic()) > 0:
        connection.step(min(left_s, 0.2))
