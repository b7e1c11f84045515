"""A world without sockets and disks: a broker's queue, a journal and a store in memory, and the real decode, screen, judge, settle and ledger.

What can happen to a reading on its way happens in any order: delivered, delivered again, repeated, contradicted, late, kept back, lost,
filled in from history; the process dies at any fail-point, the store forgets, the ledger is set aside. After each step and at the end the
balances are held against a model that is a few sets.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import polars as pl
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import store.sqlite
from config import failpoints, schemas
from config.schemas import READING, REGISTER
from config.settings import Settings
from pipeline import settle
from pipeline.settle import Settler
from store.fleet import Fleet
from store.journal import HISTORY, LIVE, Arrival, Message
from store.ledger import Ledger
from store.readings import Appended, Judged, judge

START = datetime(2026, 3, 1, tzinfo=UTC)
ENTERPRISES = ("91159901MA0EXAMP1D", "91159901MA0EXAMP4N")
GATEWAY, METERS, EPOCH = "GW-01", ("E-1", "E-2"), "2026-03-01T00:00:00+08:00"
REGISTERS = pl.DataFrame(
    [
        {"register_key": key, "enterprise": code, "gateway": GATEWAY, "meter": meter, "register": "active_import", "medium": "electricity",
         "unit": "kWh", "kind": "cumulative", "known_from": START - timedelta(days=400)}
        for key, (code, meter) in enumerate([(code, meter) for code in ENTERPRISES for meter in METERS], 1)
    ],
    schema=REGISTER,
)
KEYS = {(code, meter): key for key, code, meter in REGISTERS.select("register_key", "enterprise", "meter").iter_rows()}
DURABLE_AFTER_S = 30.0
JUNK = (b"", b"{", b"\xff", b"[]", b'{"v": 1, "readings": []}')


class DiesError(RuntimeError):
    """The process ended here."""


class MemoryJournal:
    """Journal, as far as settling asks for it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._mids: dict[tuple[int, str, bytes], int] = {}

    def append(self, arrivals: Sequence[Arrival]) -> None:
        for one in arrivals:
            key = (one.mid, one.topic, one.payload)
            if one.dup and key in self._mids:
                continue
            self.messages.append(Message(len(self.messages) + 1, one.door, one.topic, None, None, one.payload, one.received_at, False, one.lane))
            self._mids[key] = len(self.messages)

    def read(self, after: int, limit: int, lane: int | None = None, *, max_bytes: int | None = None) -> list[Message]:
        del max_bytes
        return [one for one in self.messages[after:] if lane is None or one.lane == lane][:limit]

    def get(self, message: int) -> Message | None:
        return self.messages[message - 1] if 0 < message <= len(self.messages) else None

    def addresses(self, messages: Collection[int]) -> dict[int, tuple[str, str]]:
        return {one: (self.messages[one - 1].door, self.messages[one - 1].topic) for one in messages}

    def count(self, after: int, lane: int) -> int:
        return len(self.read(after, len(self.messages), lane))

    def last_id(self) -> int:
        return len(self.messages)


class MemoryReadings:
    """ReadingStore by the common rule; a restart forgets what is not yet durable."""

    def __init__(self) -> None:
        self.rows, self._fresh = schemas.empty(READING), schemas.empty(READING)
        self._starts = 1

    @property
    def all(self) -> pl.DataFrame:
        return pl.concat([self.rows, self._fresh])

    def append(self, readings: pl.DataFrame) -> Appended:
        kept = self.all.join(readings.select("register_key", "read_at"), on=["register_key", "read_at"], how="semi")
        judged = self.judged(readings, kept)
        self._fresh = pl.concat([self._fresh, judged.new])
        return judged.appended

    def judged(self, readings: pl.DataFrame, kept: pl.DataFrame) -> Judged:
        return judge(readings, kept)

    def incarnation(self) -> str:
        return str(self._starts)

    def make_durable(self) -> None:
        self.rows, self._fresh = self.all, schemas.empty(READING)

    def restart(self) -> None:
        self._fresh = schemas.empty(READING)
        self._starts += 1


def _in_memory(_path: Path, **_named: object) -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


class World(RuleBasedStateMachine):
    """One history."""

    journal_type: type[MemoryJournal] = MemoryJournal
    readings_type: type[MemoryReadings] = MemoryReadings
    steps_taken = 0

    def __init__(self) -> None:
        super().__init__()
        self._clock_s = 1000.0
        self._exits = ExitStack()
        self._exits.enter_context(patch.object(store.sqlite, "connect", _in_memory))
        self._exits.enter_context(patch.object(settle, "time", SimpleNamespace(monotonic=lambda: self._clock_s)))
        self._exits.enter_context(patch.object(settle, "BATCH_MESSAGES", 7))
        self._exits.enter_context(patch.object(failpoints, "reach", self._reach))
        self._dies_at = ""
        self._queue: list[list[Any]] = []  # mid, topic, payload, given before
        self._mid = 0
        self._next = dict.fromkeys(ENTERPRISES, 1)
        self._history: dict[tuple[str, int], bytes] = {}
        self._past: list[tuple[str, bytes]] = []
        self._lost: set[tuple[str, int]] = set()
        self._told: set[int] = set()
        self._durable_at_s = self._clock_s

    @initialize()
    def build(self) -> None:
        self._quarantined: dict[tuple[int, int], Any] = {}
        self._journal, self._store = self.journal_type(), self.readings_type()
        self._site: Any = SimpleNamespace(
            settings=Settings(), journal=self._journal, readings=lambda: self._store, ledger=Ledger(Path("ledger")), fleet=Fleet(Path("fleet")),
            quarantine=SimpleNamespace(add=self._set_aside),
            register=SimpleNamespace(
                version=lambda: "1", registers=lambda **_: REGISTERS, gateways=lambda: REGISTERS.select("enterprise", "gateway").unique(),
            ),
        )
        self._settler = Settler(self._site)

    # --- gateways and the broker --------------------------------------------------------------------------------------

    @rule(code=st.sampled_from(ENTERPRISES), second=st.integers(0, 12), shift=st.sampled_from([0.0, 0.0, 0.5]), bad=st.booleans(), back=st.booleans())
    def say(self, code: str, second: int, shift: float, bad: bool, back: bool) -> None:
        """A new message, perhaps of an instant that another has had, with the same value or not; or one that stays behind."""
        at = (START + timedelta(minutes=second)).isoformat()
        rows: list[dict[str, object]] = [{"meter": meter, "register": "active_import", "ts": at, "value": second + shift} for meter in METERS]
        if bad:
            rows[0]["value"] = "12"
        seq = self._next[code]
        self._next[code] += 1
        self._history[code, seq] = json.dumps({"v": 1, "epoch": EPOCH, "seq": seq, "readings": rows}).encode()
        if not back:
            self._publish(f"tce/v1/159901/{code}/{GATEWAY}/readings", self._history[code, seq])

    @rule(code=st.sampled_from(ENTERPRISES), payload=st.sampled_from(JUNK))
    def spoil(self, code: str, payload: bytes) -> None:
        self._publish(f"tce/v1/159901/{code}/{GATEWAY}/readings", payload)

    @precondition(lambda self: self._past)
    @rule(data=st.data(), kind=st.sampled_from(["readings", "backfill"]))
    def say_again(self, data: st.DataObject, kind: str) -> None:
        topic, payload = data.draw(st.sampled_from(self._past))
        self._publish(f"{topic.rpartition('/')[0]}/{kind}", payload)

    @rule(code=st.sampled_from(ENTERPRISES))
    def fill(self, code: str) -> None:
        """All that the ledger misses of a gateway, from its history."""
        for seq in self._ranges(lost=False).get(code, ()):
            self._publish(f"tce/v1/159901/{code}/{GATEWAY}/backfill", self._history[code, seq])

    @rule(code=st.sampled_from(ENTERPRISES))
    def lose(self, code: str) -> None:
        """The first number that the platform misses is gone for good."""
        for seq in sorted(self._ranges(lost=False).get(code, ()))[:1]:
            said = json.dumps({"v": 1, "lost": [{"epoch": EPOCH, "from_seq": seq, "to_seq": seq}]}).encode()
            self._publish(f"tce/v1/159901/{code}/{GATEWAY}/backfill", said)

    @rule(data=st.data())
    def shuffle(self, data: st.DataObject) -> None:
        """Nothing promises an order between messages of different connections."""
        self._queue = data.draw(st.permutations(self._queue)) if len(self._queue) < 8 else self._queue[::-1]

    def _publish(self, topic: str, payload: bytes) -> None:
        self._mid = self._mid % 65_535 + 1
        self._queue.append([self._mid, topic, payload, False])
        self._past = [*self._past[-20:], (topic, payload)]

    # --- the platform -------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 12), dies=st.sampled_from(["", "", "", "before commit", "after_commit"]))
    def collect(self, count: int, dies: str) -> None:
        taken = self._queue[:count]
        arrivals = [
            Arrival("mqtt", topic, None, None, payload, START + timedelta(days=1), mid, given, False, HISTORY if topic.endswith("backfill") else LIVE)
            for mid, topic, payload, given in taken
        ]
        for one in taken:
            one[3] = True
        if dies != "before commit":
            self._journal.append(arrivals)
        if not dies:
            self._queue = self._queue[count:]

    @rule(dies=st.sampled_from([*[""] * 8, "mid_batch", "mid_settle"]))
    def settle(self, dies: str) -> None:
        self._dies_at = dies
        try:
            self._settler.once()
        except DiesError:
            self._settler = Settler(self._site)
        self._dies_at = ""

    @rule(dies=st.booleans())
    def tell(self, dies: bool) -> None:
        ledger = self._site.ledger
        settled = ledger.settled(ledger.receipt_cursor(), 10)
        self._told.update(settled["message"].to_list())
        if not dies and not settled.is_empty():
            ledger.set_receipt_cursor(settled[settled.columns[-1]].max())

    @rule(seconds=st.sampled_from([0.1, 5.0, 70.0]))
    def tick(self, seconds: float) -> None:
        self._clock_s += seconds
        if self._clock_s - self._durable_at_s >= DURABLE_AFTER_S:
            self._store.make_durable()
            self._durable_at_s = self._clock_s

    @rule()
    def restart_store(self) -> None:
        """A power cut of the store: what it answered for lately is gone."""
        self._store.restart()
        self._clock_s += settle.CHECK_EVERY_S + 0.1

    @rule()
    def set_the_ledger_aside(self) -> None:
        """It is made anew from the journal; all counts as it did."""
        self._site.ledger.close()
        self._site.ledger = Ledger(Path("ledger"))
        self._settler = Settler(self._site)
        self._told.clear()

    def _reach(self, name: str) -> None:
        if name == self._dies_at:
            raise DiesError

    def _set_aside(self, rows: pl.DataFrame) -> None:
        for row in rows.select("message", "index", "kind").iter_rows():
            self._quarantined[row[:2]] = row[2]

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def sums_close(self) -> None:
        """At any moment, over what is settled."""
        type(self).steps_taken += 1
        totals = self._site.ledger.totals()
        assert totals.received == totals.decoded_messages + totals.undecodable
        assert totals.decoded == totals.stored + totals.duplicate + totals.conflicting + totals.rejected

    def teardown(self) -> None:
        """In the end all that was published is where it belongs."""
        try:
            self._come_to_rest()
            self._check()
        finally:
            self._site.ledger.close()
            self._site.fleet.close()
            self._exits.close()

    def _come_to_rest(self) -> None:
        while self._queue:
            self.collect(len(self._queue), "")
        self._clock_s += settle.CHECK_EVERY_S + 0.1
        while self._settler.once():
            pass
        while (ledger := self._site.ledger).receipt_cursor() < len(ledger.settled(0, 10_000)):
            self.tell(dies=False)

    def _check(self) -> None:
        readings: list[tuple[int, datetime, float]] = []
        received: dict[str, set[int]] = {code: set() for code in ENTERPRISES}
        lost: dict[str, set[int]] = {code: set() for code in ENTERPRISES}
        undecodable = rejected = 0
        for message in self._journal.messages:
            code = message.topic.split("/")[3]
            if message.payload in JUNK:
                undecodable += 1
                continue
            said = json.loads(message.payload)
            if "lost" in said:
                lost[code] |= {one["from_seq"] for one in said["lost"]}
                continue
            received[code].add(said["seq"])
            good = [row for row in said["readings"] if not isinstance(row["value"], str)]
            rejected += len(said["readings"]) - len(good)
            readings += [(KEYS[code, row["meter"]], datetime.fromisoformat(row["ts"]), row["value"]) for row in good]
        values, instants = set(readings), {reading[:2] for reading in readings}
        totals = self._site.ledger.totals()
        assert len(self._journal.messages) == self.published, "the journal holds a message twice, or lacks one"
        assert (totals.received, totals.undecodable) == (len(self._journal.messages), undecodable)
        assert (totals.decoded, totals.rejected) == (len(readings) + rejected, rejected)
        assert (totals.stored, totals.conflicting) == (len(instants), len(values) - len(instants))
        assert Counter(self._store.all.select("register_key", "read_at", "value").iter_rows()) == Counter(values), "each reading once in the store"
        assert Counter(self._quarantined.values()) == Counter({"undecodable": undecodable, "rejected": rejected})
        missing, gone = self._ranges(lost=False), self._ranges(lost=True)
        for code, seqs in received.items():
            highest = max(seqs | lost[code], default=0)
            assert missing.get(code, set()) == set(range(1, highest + 1)) - seqs - lost[code], "what is missing is what did not come"
            assert gone.get(code, set()) == lost[code] - seqs
        numbered = set(self._site.ledger.settled(0, 100_000)["message"])
        assert numbered == {message.id for message in self._journal.messages} == self._told, "each message is settled and told"

    @property
    def published(self) -> int:
        """How many messages went out."""
        return self._mid

    def _ranges(self, *, lost: bool) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        query = "SELECT enterprise, from_seq, to_seq FROM gap WHERE lost = ?"  # ten times as quick as a table of it
        for code, first, last in self._site.ledger._db.execute(query, (lost,)):
            found.setdefault(code, set()).update(range(first, last + 1))
        return found
