"""What the platform tells gateways: receipts, built from the ledger and published at least once."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import polars as pl
import structlog

from config import failpoints
from config.errors import BrokerUnavailableError, StoreFullError, StoreUnavailableError
from config.schemas import conform, empty
from config.settings import MqttSettings
from ingest.connect import connection_to
from ingest.connection import Connection, Publication
from ingest.reasons import NOTICES, REASONS, Text
from ingest.routes import OWN_ROOT, OWN_TOPIC
from store.journal import Journal, Message
from store.ledger import GAP, SETTLED, Ledger
from store.quarantine import WHOLE_MESSAGE, Quarantine

LISTED: Final = 100  # rejected readings that one receipt lists
_EVERY_S: Final = 1.0  # at most one receipt a second for each gateway
_TURNS: Final = 5  # receipts of one gateway that wait for each other; where more are due, they are told at once
_TICK_S: Final = 0.5
_SETTLEMENTS: Final = 20_000  # that are read at once, and that wait at most
_CONFIRMED_WITHIN_S: Final = 10.0
_LONGEST_WAIT_S: Final = 4.0
_SENDER: Final = ["enterprise", "gateway"]
_GATEWAY: Final = [*_SENDER, "epoch"]
_RUN: Final = [*_GATEWAY, "gap"]  # what one receipt tells of: no message within it is missing
_WAITING: Final = pl.Schema({**SETTLED, "region": pl.String()})
_log: Final = structlog.get_logger("receipts")

Part = Callable[[Connection], object]


def compose(
    group: pl.DataFrame, refused: Sequence[Mapping[str, Any]], *, contiguous_seq: int, at: datetime, notices: Sequence[str] = (),
) -> dict[str, Any]:
    """One receipt.

    Args:
        group: SETTLEMENT rows of one gateway and epoch, each with its seq.
        refused: their rows in quarantine; index -1 stands for a whole message.
        contiguous_seq: every message up to this one is accounted for.
        at: when the receipt is written.
        notices: codes of reasons.NOTICES: what is wrong with the gateway, not with a message.

    Returns:
        The receipt of the contract, which lists LISTED rejected rows at most. A message that could not be read counts as one.
    """
    return _receipt(_summed(group, ["epoch"]).row(0, named=True), _listed(group, refused), contiguous_seq, at, notices)


def talk(settings: MqttSettings, parts: Sequence[Part], stop: threading.Event) -> None:
    """Let parts publish over a connection of its own until told to stop; a broker or store that is away is waited for."""
    wait_s = 0.0
    while not stop.wait(wait_s):
        connection = connection_to(settings, f"{settings.client_id[:50]}-receipts")
        try:
            connection.open()
            wait_s = 1.0
            while connection.alive and not stop.is_set():
                for part in parts:
                    part(connection)
                _idle(connection, stop, _TICK_S)
        except (BrokerUnavailableError, StoreUnavailableError, StoreFullError) as error:
            _log.debug("waiting", reason=str(error))
            wait_s = min(max(1.0, wait_s * 2), _LONGEST_WAIT_S)
        finally:
            connection.close()


def confirmed(connection: Connection, sent: Sequence[Publication]) -> bool:
    """Whether the broker acknowledges all that was published."""
    deadline = time.monotonic() + _CONFIRMED_WITHIN_S
    while not all(one.is_published() for one in sent):
        if not connection.alive or time.monotonic() > deadline:
            return False
        connection.step(0.05)
    return True


class ReceiptPublisher:
    """Tells gateways that speak the contract's format what became of their messages: in the order of settling, at least once."""

    def __init__(
        self, settings: MqttSettings, ledger: Ledger, quarantine: Quarantine, journal: Journal, *,
        regions: Callable[[], Mapping[tuple[str, str], str]] | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sandbox: Callable[[Iterator[Message]], Sequence[tuple[str, bytes]]] = lambda _messages: (),
    ) -> None:
        """What it works with.

        `regions` tells the registered region of (enterprise, gateway): where it listens, whatever a message's topic said.
        `sandbox` answers the messages that came on `sandbox` (`ingest.sandbox.answers`).
        """
        self._settings, self._ledger, self._quarantine, self._journal = settings, ledger, quarantine, journal
        self._regions, self._now, self._sandbox = regions, now, sandbox
        self._read_to: int | None = None  # position
        self._waiting = empty(_WAITING)  # read and not told
        self._answers: list[tuple[str, bytes]] = []
        self._told_at: dict[tuple[str, str], float] = {}
        self.published = 0

    def run(self, stop: threading.Event) -> None:
        """Publish receipts until told to stop."""
        talk(self._settings, (self.once,), stop)

    def once(self, connection: Connection) -> int:
        """Publish what may be told now; how many receipts. The cursor follows the broker's PUBACK.

        What waits for its turn, or was not acknowledged, is told by a later call, and again after a crash.
        """
        self._fetch()
        told = self._due()
        receipts = [*self._composed(told), *self._answers]
        if receipts:
            sent = [connection.publish(topic, payload) for topic, payload in receipts]
            now_s = time.monotonic()
            if not confirmed(connection, sent):
                return 0
            failpoints.reach("after_receipt")
            self._answers = []
            self._told_at |= dict.fromkeys(told.select(_SENDER).unique().rows(), now_s)
            self._waiting = self._waiting.filter(~pl.col("position").is_in(told["position"].implode()))
            self.published += len(receipts)
        if self._read_to is not None:
            done = self._read_to if self._waiting.is_empty() else self._waiting["position"].sort().item(0) - 1
            if done > self._ledger.receipt_cursor():
                self._ledger.set_receipt_cursor(done)
        return len(receipts)

    def receipts(self, settled: pl.DataFrame) -> list[tuple[str, bytes]]:
        """Topic and payload of each receipt for SETTLED rows; none for formats without epoch and seq, nor for other doors."""
        return self._composed(self._in_runs(self._addressed(settled)))

    def _fetch(self) -> None:
        if self._read_to is None:
            self._read_to = self._ledger.receipt_cursor()
        if self._waiting.height >= _SETTLEMENTS:
            return
        settled = self._ledger.settled(self._read_to, _SETTLEMENTS)
        if settled.is_empty():
            return
        tried = settled.filter(pl.col("outcome") == "sandbox")["message"]
        self._answers += self._sandbox(one for number in tried if (one := self._journal.get(number)) is not None and one.door == "mqtt")
        self._waiting = pl.concat([self._waiting, self._addressed(settled)])
        self._read_to = int(settled["position"][-1])

    def _addressed(self, settled: pl.DataFrame) -> pl.DataFrame:
        """_WAITING: the rows that a receipt tells of: messages with a seq that came on a topic of the contract."""
        counted = settled.drop_nulls([*_GATEWAY, "seq"])
        found = [(message, topic) for message, (door, topic) in self._journal.addresses(counted["message"].to_list()).items() if door == "mqtt"]
        regions = {topic: own["region"] for topic in {topic for _, topic in found} if (own := OWN_TOPIC.fullmatch(topic))}
        rows = [(message, regions[topic]) for message, topic in found if topic in regions]
        addresses = pl.DataFrame(rows, schema={"message": pl.Int64(), "region": pl.String()}, orient="row")
        return conform(counted.join(addresses, on="message", maintain_order="left"), _WAITING)

    def _in_runs(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with `gap` (where the nearest gap below them begins, 0: there is none) and the contiguous seq of their epoch."""
        senders = rows.select(_GATEWAY).unique()
        sequences = self._ledger.sequences().join(senders, on=_GATEWAY, how="semi")
        gaps = self._ledger.gaps().filter(~pl.col("lost")) if sequences["missing"].sum() else empty(GAP)
        gaps = gaps.sort("from_seq").select(*_GATEWAY, "from_seq", gap="from_seq")
        return rows.sort("seq").join_asof(
            gaps, left_on="seq", right_on="from_seq", by=_GATEWAY, strategy="backward", check_sortedness=False,
        ).with_columns(pl.col("gap").fill_null(0)).join(sequences.select(*_GATEWAY, "contiguous_seq"), on=_GATEWAY, how="left").sort("position")

    def _due(self) -> pl.DataFrame:
        """Of the waiting rows, in runs, those that may be told now: of each gateway the oldest receipt, or all where many wait."""
        after_s = time.monotonic() - _EVERY_S
        self._told_at = {sender: at_s for sender, at_s in self._told_at.items() if at_s > after_s}
        just_told = pl.DataFrame(list(self._told_at), schema=dict.fromkeys(_SENDER, pl.String()), orient="row")
        rows = self._in_runs(self._waiting.join(just_told, on=_SENDER, how="anti"))
        runs = rows.group_by(_RUN, maintain_order=True).agg(pl.col("position").min())
        first = runs.filter((pl.col("position") == pl.col("position").min().over(_SENDER)) | (pl.len().over(_SENDER) > _TURNS))
        return rows.join(first.select(_RUN), on=_RUN, how="semi", maintain_order="left")

    def _composed(self, rows: pl.DataFrame) -> list[tuple[str, bytes]]:
        if rows.is_empty():
            return []
        regions = None if self._regions is None else self._regions()
        listed_of = self._listed_of(rows)
        found = []
        for run in _summed(rows, _RUN).iter_rows(named=True):
            sender = run["enterprise"], run["gateway"]
            listed = listed_of.get(tuple(run[name] for name in _RUN), [])
            region = run["region"] if regions is None else regions.get(sender, run["region"])
            receipt = _receipt(run, listed, run["contiguous_seq"] or 0, self._now(), _notices(sender, run["region"], regions))
            found.append((f"{OWN_ROOT}{region}/{'/'.join(sender)}/receipts", msgspec.json.encode(receipt)))
        return found

    def _listed_of(self, rows: pl.DataFrame) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
        """By run, the rejected rows that its receipt lists: those of its first messages that have any."""
        refused = (pl.col("rejected") + (pl.col("outcome") == "undecodable")).cast(pl.Int64)
        refusing = rows.filter(refused > 0).sort("seq").filter((refused.cum_sum() - refused).over(_RUN) < LISTED)
        if refusing.is_empty():
            return {}
        kept = self._quarantine.first_of(refusing["message"].to_list(), LISTED).partition_by("message", as_dict=True)
        of_run = refusing.partition_by(_RUN, as_dict=True).items()
        return {
            run: _listed(group, [row for message in group["message"] if (message,) in kept for row in kept[message,].iter_rows(named=True)])
            for run, group in of_run
        }


def _summed(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """One row for each receipt: its range and counts, and what else the rows have, of the last one."""
    others = [pl.col(name).last() for name in ("region", "contiguous_seq") if name in rows.columns]
    unread = (pl.col("outcome") == "undecodable").sum()
    return rows.group_by(keys, maintain_order=True).agg(
        *others, from_seq=pl.col("seq").min(), to_seq=pl.col("seq").max(), stored=pl.col("stored").sum(), duplicate=pl.col("duplicate").sum(),
        conflicting=pl.col("conflicting").sum(), rejected_count=pl.col("rejected").sum().cast(pl.Int64) + unread,
    )


def _receipt(counts: Mapping[str, Any], listed: list[dict[str, Any]], contiguous_seq: int, at: datetime, notices: Sequence[str]) -> dict[str, Any]:
    told = {"notices": [_reason(NOTICES, code) for code in notices]} if notices else {}
    names = ("epoch", "from_seq", "to_seq", "stored", "duplicate", "conflicting", "rejected_count")
    return {
        "v": 1, **{name: counts[name] for name in names}, "rejected": listed, "contiguous_seq": contiguous_seq,
        "at": at.isoformat(timespec="milliseconds"), **told,
    }


def _listed(group: pl.DataFrame, refused: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rejected rows of a receipt, by seq and index; a row that stands for several readings is in the count only."""
    seqs = dict(group.select("message", "seq").iter_rows())
    rows = [row for row in refused if row["message"] in seqs and row["index"] >= WHOLE_MESSAGE]
    rows.sort(key=lambda row: (seqs[row["message"]] or 0, row["index"]))
    return [
        {"seq": seqs[row["message"]], **{name: row[name] for name in ("index", "meter", "register")}, **_reason(REASONS, row["reasons"][0])}
        for row in rows[:LISTED]
    ]


def _reason(texts: Mapping[str, Text], code: str) -> dict[str, Any]:
    return {"reason": code, "text": texts[code]._asdict()}


def _notices(sender: tuple[str, str], region: str, regions: Mapping[tuple[str, str], str] | None) -> list[str]:
    if regions is None or regions.get(sender) == region:
        return []
    return ["wrong_region" if sender in regions else "unknown_gateway"]


def _idle(connection: Connection, stop: threading.Event, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while connection.alive and not stop.is_set() and (left_s := deadline - time.monotonic()) > 0:
        connection.step(min(left_s, 0.2))
