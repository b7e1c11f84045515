"""Journal -> decoded, screened, stored. Order: dirty marks, quarantine, append, then counts and cursor in one transaction."""

import json
import math
import time
from collections import ChainMap, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl
import structlog

from config import failpoints, schemas
from config.errors import StoreUnavailableError
from config.settings import Settings
from ingest.decode import Decodings, weight
from ingest.replay import DOOR as REPLAY
from ingest.replay import decode_all, original_of
from ingest.routes import Routes
from ingest.screen import Screened, screen
from pipeline.site import Site
from store.journal import HISTORY, LANES, LIVE, Message
from store.readings import Appended

FAR_BEHIND = 5_000  # messages of the other lane that a cursor leaves behind it while there is work
PAUSE_S = 0.04  # between batches that took all there was: each costs some milliseconds however small it is
BATCH_MESSAGES = 20_000
# A batch takes what waits, up to so many bytes of payload once unpacked: some 100,000 readings.
# A live message waits for one batch of history at most.
BATCH_BYTES = {LIVE: 8 << 20, HISTORY: 2 << 20}
TRAIL_S = 60.0  # what a reading store acknowledged so long ago, and has not been started anew since, is durable
POINT_EVERY_S = 5.0
CHECK_EVERY_S = 1.0
log = structlog.get_logger("settle")


class _Point(NamedTuple):
    """What was settled of a lane at a time."""

    at_s: float  # monotonic
    cursor: int
    memory: Mapping[str, str]


class _Taken(NamedTuple):
    """The next messages of a lane."""

    messages: list[Message]
    is_cut: bool  # a bound ended them: more wait
    sent: Sequence[Message]  # as they were sent: of a replay, the original
    decodings: Decodings
    memory: dict[str, str]  # what is remembered after them


class _Ahead(NamedTuple):
    """The live messages after those that are being stored."""

    after: int
    batch: Future[_Taken | None]


@dataclass
class _Again:
    """What is being appended again of a lane: above `after`, up to `upto`."""

    after: int
    upto: int
    memory: Mapping[str, str]


@dataclass
class Settler:
    """Settles journal messages batch by batch; a crash anywhere repeats the batch, and repeating changes nothing.

    A reading store may lose what it has acknowledged when it is started anew (`ReadingStore.incarnation`). So a watermark
    trails the cursor of each lane by TRAIL_S; what lies between is appended again after such a start, and after our own.
    """

    site: Site
    _registers: pl.DataFrame = field(default_factory=lambda: schemas.empty(schemas.REGISTER))
    _gateways: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"enterprise": pl.String(), "gateway": pl.String()}))
    _version: str = ""
    _memory: dict[int, Mapping[str, str]] = field(default_factory=dict)  # as of each lane's cursor
    _incarnation: str | None = None
    _check_at_s: float = -math.inf
    _points: dict[int, deque[_Point]] = field(default_factory=dict)  # of each lane that is not appended again now
    _again: dict[int, _Again] = field(default_factory=dict)
    _parts: deque[tuple[int, int]] = field(default_factory=deque)  # lane and last message of what is appended again, as it was settled
    _ahead: _Ahead | None = None
    _decoder: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "settle-ahead"))
    _cut: dict[int, bool] = field(default_factory=dict)  # by lane, whether a limit ended the last batch

    def __post_init__(self) -> None:
        self._routes = Routes(self.site.settings.routes)

    def once(self, *, upto: Mapping[int, int] | None = None) -> int:
        """Settle the next live messages of the journal, then a batch of history.

        What a store may have lost comes before both: a repeat of a lost reading would be taken for the first.

        Args:
            upto: by lane, the last message to settle; all where it is left out.

        Returns:
            How many messages were worked on.

        Raises:
            ServiceUnavailableError, StoreFullError: nothing of the batch counts yet; call again.
        """
        self._look_at_store()
        again = 0
        while self._parts and not again:
            again = self._append_again(*self._parts[0])
        if again:
            return again
        last = self.site.journal.last_id()  # before the lanes are looked at: what comes in meanwhile lies behind it
        settled = {lane: self._settle_next(lane, upto) for lane in LANES}
        if upto is None:
            self._pass_over([lane for lane, count in settled.items() if not count], last, FAR_BEHIND if any(settled.values()) else 1)
        return sum(settled.values())

    @property
    def is_behind(self) -> bool:
        """Whether more was waiting than the last batches took."""
        return bool(self._again) or any(self._cut.values())

    def _settle_next(self, lane: int, upto: Mapping[int, int] | None) -> int:
        taken = self._next(lane, self.site.ledger.cursor(lane), None if upto is None else upto[lane])
        self._cut[lane] = taken is not None and taken.is_cut
        if taken is None:
            return 0
        # Where messages are small, decoding takes as long as storing: while the store works on these, the next are decoded.
        if len(taken.messages) == BATCH_MESSAGES and lane == LIVE and upto is None:
            after = taken.messages[-1].id
            self._ahead = _Ahead(after, self._decoder.submit(self._take, lane, after, taken.memory, None))
        self._settle(taken, lane)
        return len(taken.messages)

    def _next(self, lane: int, after: int, upto: int | None) -> _Taken | None:
        """The next messages of a lane, decoded ahead where that was done."""
        if lane == LIVE and self._ahead is not None:
            (begun_after, batch), self._ahead = self._ahead, None
            # Nothing then may be something now, and only a look of now may tell that a lane is empty.
            if begun_after == after and upto is None and (taken := batch.result()) is not None:
                return taken
        return self._take(lane, after, self._remembered(lane), upto)

    def _pass_over(self, lanes: Sequence[int], last: int, distance: int) -> None:
        """Move the cursors of lanes that have nothing up to `last`, if so far behind: messages of the other are not looked through again."""
        for lane in lanes:
            if last - self.site.ledger.cursor(lane) >= distance:
                self.site.ledger.settle(schemas.empty(schemas.SETTLEMENT), last, lane=lane)

    def _take(self, lane: int, after: int, before: Mapping[str, str], upto: int | None) -> _Taken | None:
        """Read and decode the next messages of a lane; None where none waits. History can look up what is remembered of live messages."""
        messages = self.site.journal.read(after, BATCH_MESSAGES, lane, max_bytes=BATCH_BYTES[lane])
        taken, room = 0, BATCH_BYTES[lane]
        for message in messages:
            payload = message.payload
            plain = payload[:1] == b"{" and message.door != REPLAY
            room -= len(payload) if plain else weight(original_of(message, self.site.journal.get) or message)
            if (room < 0 and taken) or (upto is not None and message.id > upto):
                break
            taken += 1
        if not taken:
            return None
        is_cut = taken < len(messages) or len(messages) == BATCH_MESSAGES or room < BATCH_BYTES[lane] / 16
        memory = ChainMap(dict(before))
        if lane == HISTORY:
            memory.maps.append(dict(self._remembered(LIVE)))
        sent, decodings = decode_all(
            messages[:taken], self.site.journal.get, self._routes, max_payload_bytes=self.site.settings.mqtt.max_payload_bytes, memory=memory
        )
        return _Taken(messages[:taken], is_cut, sent, decodings, dict(memory.maps[0]))

    def _settle(self, taken: _Taken, lane: int) -> None:
        before, (messages, _, sent, decodings, memory) = self._remembered(lane), taken
        screened = self._screened(decodings)
        batch = self.site.ledger.mark_dirty(_days_touched(screened.accepted, self.site.settings))
        self.site.quarantine.add(_quarantined(sent, decodings, screened.rejected))
        failpoints.reach("mid_batch")
        appended = self._append(screened.accepted)
        gateways = self._gateways
        known = decodings.heads.join(gateways, on=["enterprise", "gateway"], how="semi", maintain_order="left")
        self.site.fleet.record(messages, known, decodings.readings, decodings.states, live=lane == LIVE)
        for command in decodings.commands:
            self.site.fleet.want_command(command.topic, command.payload, command.message)
        lost = decodings.lost.join(gateways, on=["enterprise", "gateway"], how="semi", maintain_order="left")
        for message, enterprise, gateway, epoch, first, final in lost.iter_rows():
            log.info("reported lost", message=message, gateway=gateway, from_seq=first, to_seq=final)
            self.site.ledger.record_lost(enterprise, gateway, epoch, first, final)
        failpoints.reach("mid_settle")
        settlements = _settlements(decodings, appended.outcome, screened.rejected, appended.refused)
        learnt: dict[str, str | None] = {name: text for name, text in memory.items() if before.get(name) != text}
        learnt |= dict.fromkeys(before.keys() - memory.keys())
        self.site.ledger.settle(settlements, messages[-1].id, lane=lane, batch=batch, memory=learnt, registered=gateways)
        self._memory[lane] = memory

    def _screened(self, decodings: Decodings) -> Screened:
        return screen(decodings.readings, self._known_registers(), self.site.settings.screen)

    def _append(self, accepted: pl.DataFrame) -> Appended:
        try:
            appended = self.site.readings().append(accepted)
        except StoreUnavailableError:
            self._check_at_s = -math.inf  # when it answers again, it may be a new one
            raise
        if not appended.refused.is_empty():
            self.site.quarantine.add(_refused(appended.refused, self.site.register.names()))
        return appended

    def _remembered(self, lane: int) -> Mapping[str, str]:
        if lane not in self._memory:
            self._memory[lane] = self.site.ledger.memory(lane)
        return self._memory[lane]

    # --- a store that may forget --------------------------------------------------------------------------------------

    def _look_at_store(self) -> None:
        """Whether it was started anew; if not for TRAIL_S, the watermarks move on."""
        now_s = time.monotonic()
        if self._incarnation == "" or now_s < self._check_at_s:
            return
        incarnation = self.site.readings().incarnation()
        if incarnation != self._incarnation:
            self._points.clear()
            self._again = self._not_surely_kept() if incarnation else {}
            runs = self.site.ledger.runs() if self._again else []
            parts = [(lane, min(last, self._again[lane].upto)) for lane, last in runs if last > self._again[lane].after]
            self._parts = deque([*parts, *((lane, one.upto) for lane, one in self._again.items())])
            self._incarnation = incarnation
        for lane, points in self._points.items():
            passed = None
            while points and points[0].at_s + TRAIL_S <= now_s:
                passed = points.popleft()
            if passed is not None:
                self._set_watermark(lane, passed.cursor, passed.memory)
            if not points or points[-1].at_s + POINT_EVERY_S <= now_s:
                points.append(_Point(now_s, self.site.ledger.cursor(lane), self._remembered(lane)))
        self._check_at_s = now_s + CHECK_EVERY_S

    def _not_surely_kept(self) -> dict[int, _Again]:
        again = {}
        for lane, cursor in self.site.ledger.cursors().items():
            text = self.site.ledger.get_state(_watermark(lane))
            if text is None:  # the first start with such a store
                self._set_watermark(lane, cursor, self._remembered(lane))
            again[lane] = _Again(cursor, cursor, {}) if text is None else _Again(upto=cursor, **json.loads(text))
        count = self.site.journal.count
        if messages := sum(count(one.after, lane) - count(one.upto, lane) for lane, one in again.items()):
            log.info("the reading store may have been started anew: the last messages are appended again", messages=messages)
        return again

    def _set_watermark(self, lane: int, cursor: int, memory: Mapping[str, str]) -> None:
        self.site.ledger.set_state(_watermark(lane), json.dumps({"after": cursor, "memory": dict(memory)}))

    def _append_again(self, lane: int, upto: int) -> int:
        """One batch of what the store may have lost. It counts as it did, so the ledger's counts stay."""
        again = self._again[lane]
        taken = self._take(lane, again.after, again.memory, upto)
        if taken is not None:
            screened = self._screened(taken.decodings)
            batch = self.site.ledger.mark_dirty(_days_touched(screened.accepted, self.site.settings))
            self._append(screened.accepted)
            self.site.ledger.settle(schemas.empty(schemas.SETTLEMENT), 0, lane=lane, batch=batch)
            again.after, again.memory = taken.messages[-1].id, taken.memory
        else:
            self._parts.popleft()
            if all(other != lane for other, _ in self._parts):
                del self._again[lane]
                self._points[lane] = deque()
        return 0 if taken is None else len(taken.messages)

    def _known_registers(self) -> pl.DataFrame:
        version = self.site.register.version()
        if version != self._version:
            self._registers = self.site.register.registers(history=True)
            self._gateways = self.site.register.gateways().select("enterprise", "gateway")
            self._version = version
        return self._registers


def _watermark(lane: int) -> str:
    return f"watermark_{lane}"


def _days_touched(accepted: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """register_key and local day of the readings."""
    day = pl.col("read_at").dt.convert_time_zone(settings.site.zone).dt.date()
    ends = accepted.select(pl.concat([pl.col("read_at").min(), pl.col("read_at").max()])).select(day).to_series()
    first, last = ends
    if first == last:  # nearly always
        return accepted.select(pl.col("register_key").unique()).with_columns(day=pl.lit(first, pl.Date))
    return accepted.select("register_key", day=day).unique()


def _quarantined(messages: Sequence[Message], decodings: Decodings, rejected: pl.DataFrame) -> pl.DataFrame:
    if rejected.is_empty() and decodings.heads["reason"].null_count() == decodings.heads.height:
        return schemas.empty(QUARANTINED)
    sent = {message.id: message for message in messages}
    whole = [
        {
            "message": head["message"], "index": -1, "kind": "undecodable", "reasons": [head["reason"]],
            "enterprise": head["enterprise"], "gateway": head["gateway"], "raw": sent[head["message"]].payload,
            "topic": sent[head["message"]].topic, "received_at": sent[head["message"]].received_at,
        }
        for head in decodings.heads.filter(pl.col("reason").is_not_null()).iter_rows(named=True)
    ]
    topics = pl.DataFrame([(message.id, message.topic) for message in messages], schema={"message": pl.Int64(), "topic": pl.String()}, orient="row")
    single = rejected.join(topics, on="message", how="left", maintain_order="left").with_columns(
        kind=pl.lit("rejected"), reasons="broken_rules", raw=pl.col("raw").fill_null("").cast(pl.Binary)
    )
    return pl.concat([pl.DataFrame(whole, schema=QUARANTINED), schemas.conform(single, QUARANTINED)])


def _refused(refused: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    rows = refused.join(names, on="register_key", how="left").with_columns(
        kind=pl.lit("rejected"), reasons=pl.concat_list(pl.lit("store_refused")), topic=pl.lit(""),
        raw=pl.col("reason").cast(pl.Binary),  # what the store said
    )
    # Position within the message is gone by now; the instant makes the row unique instead.
    rows = rows.with_columns(index=(pl.struct("register_key", "read_at").hash() % 2_000_000_000).cast(pl.Int64) + 10_001)
    return schemas.conform(rows, QUARANTINED)


def _settlements(decodings: Decodings, outcome: pl.DataFrame, rejected: pl.DataFrame, refused: pl.DataFrame) -> pl.DataFrame:
    turned_down = pl.concat([rejected.select("message"), refused.select("message")]).group_by("message").agg(rejected=pl.len().cast(pl.UInt32))
    counted = ("stored", "duplicate", "conflicting", "rejected")
    rows = decodings.heads.drop(counted, strict=False).join(outcome, on="message", how="left").join(turned_down, on="message", how="left")
    return schemas.conform(rows.with_columns(pl.col(counted).fill_null(0)), schemas.SETTLEMENT)


QUARANTINED = pl.Schema({
    "message": pl.Int64(), "index": pl.Int64(), "kind": pl.String(), "reasons": pl.List(pl.String()),
    "enterprise": pl.String(), "gateway": pl.String(), "meter": pl.String(), "register": pl.String(),
    "read_at": schemas.INSTANT, "value": pl.Float64(), "unit": pl.String(), "raw": pl.Binary(), "topic": pl.String(), "received_at": schemas.INSTANT,
})
