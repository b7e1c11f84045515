"""Readings for good: the promise that every store of readings keeps, and the rule by which repeats are judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol, cast

import polars as pl

from config.schemas import INSTANT, READING, conform, empty

OUTCOME: Final = pl.Schema({"message": pl.Int64(), "stored": pl.UInt32(), "duplicate": pl.UInt32(), "conflicting": pl.UInt32()})
REFUSED: Final = pl.Schema({**READING, "reason": pl.String()})
FIRST_REACH: Final = timedelta(hours=3)  # so far readings next to a span are looked for at first
MAX_COPIES: Final = 255  # READING.copy is one byte


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of the readings given: one row for each message, and what the store would not take."""

    outcome: pl.DataFrame = field(default_factory=lambda: empty(OUTCOME))  # message, stored, duplicate, conflicting; by message
    refused: pl.DataFrame = field(default_factory=lambda: empty(REFUSED))  # READING and reason: in no count, for quarantine

    @property
    def stored(self) -> int:
        """Readings that are in the store because of these messages, as the first of their instant."""
        return int(self.outcome["stored"].sum())

    @property
    def duplicate(self) -> int:
        """Readings whose register, instant and value another message had brought, or the same message earlier on."""
        return int(self.outcome["duplicate"].sum())

    @property
    def conflicting(self) -> int:
        """Readings kept as a further copy: another value for an instant that has one."""
        return int(self.outcome["conflicting"].sum())


class ReadingStore(Protocol):
    """Where readings last. One process may append at a time; several threads may read while one appends."""

    def append(self, readings: pl.DataFrame) -> Appended:
        """Store READING rows (`copy` is ignored), in the order of their messages, each message whole in one call.

        Returns only once the rows would survive a power cut. A message that is processed again changes nothing, the counts
        included. Another value for the same instant is kept as a further copy, for VEE to judge; a value that any copy has
        is a duplicate. What the store will not take at all is in `refused`: stored + duplicate + conflicting + refused are
        the rows given.

        Raises:
            StoreUnavailableError: perhaps nothing, perhaps a part was stored; appending the same again is safe.
            StoreFullError: the same, for want of room.
        """
        ...

    def span(
        self, register_keys: Sequence[int] | None, start: datetime, end: datetime, *, pad: int = 0, as_of: datetime | None = None,
    ) -> pl.DataFrame:
        """READING with start <= read_at < end of some registers (None: of all), sorted by register_key, read_at, copy.

        `pad` adds that many instants of each register before the start and as many from the end on, with all their copies. With
        `as_of` only what had arrived by then is there, each copy by its own arrival.

        Raises:
            StoreUnavailableError
        """
        ...

    def latest(self, register_keys: Sequence[int] | None = None) -> pl.DataFrame:
        """READING: for each register the first copy at its largest read_at, sorted by register_key.

        Raises:
            StoreUnavailableError
        """
        ...

    def count(self) -> int:
        """Rows in the store, copies included.

        Raises:
            StoreUnavailableError
        """
        ...

    def ready(self) -> None:
        """Return if the store answers.

        Raises:
            StoreUnavailableError
        """
        ...

    def incarnation(self) -> str:
        """Text that changes when the store may have forgotten what `append` had answered for: with each start of a server.

        Then whoever has readings appended before appends them again: what is missing is written, and everything counts as it
        did the first time. "" is said for ever by a store that forgets nothing.

        Raises:
            StoreUnavailableError
        """
        ...

    def keeps_for(self) -> timedelta | None:
        """How old a reading may become before the store deletes it by itself; None: it deletes nothing.

        Raises:
            StoreUnavailableError
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Reach:
    """The first and last instant of each register: only a reading at or below the last one can be a repeat.

    Two columns in which a register's key is its place (keys are dense): joins would take ten times as long.
    """

    def __init__(self, reached: pl.DataFrame) -> None:
        """Take register_key, first, last of the registers that have readings."""
        self._first = self._last = pl.Series(dtype=pl.Int64())  # microseconds; null where there is no reading
        for side in ("first", "last"):
            self.widen(reached.select("register_key", read_at=side))

    def widen(self, readings: pl.DataFrame) -> None:
        """Take in further readings (register_key, read_at). Threads that look meanwhile see the columns before or after."""
        if readings.is_empty():
            return
        rows = readings.select("register_key", at=pl.col("read_at").to_physical()).sort("at")
        self._last = _moved(self._last, rows, pl.max_horizontal)
        first = _at(self._first, rows["register_key"])
        if first.has_nulls() or (rows["at"] < first).any():
            self._first = _moved(self._first, rows.reverse(), pl.min_horizontal)

    def repeats(self, readings: pl.DataFrame) -> pl.DataFrame:
        """Those of READING that are at or below the last one of their register."""
        if readings.is_empty():
            return readings
        last = _at(self._last, readings["register_key"])
        below = (readings["read_at"].to_physical() <= last).fill_null(value=False)
        return readings.filter(below) if below.any() else readings.clear()

    def spans(self) -> pl.DataFrame:
        """register_key, first, last of the registers that have readings, sorted by register_key."""
        columns = pl.DataFrame({"first": self._first, "last": self._last[: len(self._first)]}).with_row_index("register_key")
        return columns.drop_nulls().select("register_key", pl.col("first", "last").cast(INSTANT))


def _at(column: pl.Series, places: pl.Series) -> pl.Series:
    """The values at those places, null beyond the end."""
    highest = places.max()
    assert isinstance(highest, int)
    return (column if highest < len(column) else column.extend_constant(None, highest + 1 - len(column))).gather(places)


def _moved(column: pl.Series, rows: pl.DataFrame, further: Callable[..., pl.Expr]) -> pl.Series:
    """The column with `at` of the rows where that is further; of several rows of one register the last one is the furthest."""
    keys, highest = rows["register_key"], rows["register_key"].max()
    assert isinstance(highest, int)
    reached = pl.select(further(rows["at"], _at(column, keys))).to_series()
    return column.extend_constant(None, max(0, highest + 1 - len(column))).scatter(keys, reached)


class Judged(NamedTuple):
    """Repeats, judged: what to add, what the very same messages had brought before, and the counts with what cannot be kept."""

    new: pl.DataFrame  # READING
    again: pl.DataFrame  # READING, each with the number of the copy it is
    appended: Appended


_KEY: Final = ("register_key", "read_at")


def judge(readings: pl.DataFrame, kept: pl.DataFrame) -> Judged:
    """Tell stored, duplicate and conflicting apart, in row order.

    A row whose value a kept copy has is a duplicate, unless that copy came from the very same message: then this is the
    message again, and it counts as it did the first time. Any other value becomes the next copy: the first number that no
    kept copy has.

    Args:
        readings: READING in message order, `copy` ignored; each message whole.
        kept: READING, all copies of those instants that the store has already.
    """
    instants = readings.select(_KEY)
    all_differ = _all_differ(instants)
    if all_differ and kept.is_empty():  # live data, nearly always
        return _all_new(readings)
    repeated = instants.clear() if all_differ else instants.filter(instants.is_duplicated())
    in_question = pl.concat([kept.select(_KEY), repeated])
    clear = _all_new(readings.join(in_question, on=_KEY, how="anti", maintain_order="left"))
    new, again, appended = _judge_rows(readings.join(in_question, on=_KEY, how="semi", maintain_order="left"), kept, all_differ=all_differ)
    outcome = pl.concat([clear.appended.outcome, appended.outcome]).group_by("message").agg(pl.all().sum()).sort("message")
    return Judged(pl.concat([clear.new, new]), again, Appended(conform(outcome, OUTCOME), appended.refused))


def _all_differ(instants: pl.DataFrame) -> bool:
    """Whether no (register_key, read_at) is there twice; in one integer where both fit, which is much quicker."""
    if instants.is_empty():
        return True
    at = instants["read_at"].to_physical()
    first, keys = int(at.min()), int(instants["register_key"].max()) + 1  # type: ignore[arg-type]  # not empty
    span = int(at.max()) - first + 1  # type: ignore[arg-type]
    if keys * span >= 2**63:
        return instants.n_unique() == instants.height
    return (instants["register_key"].cast(pl.Int64) * span + (at - first)).n_unique() == instants.height


def _all_new(readings: pl.DataFrame) -> Judged:
    runs = readings["message"].sort().rle().struct.unnest()
    outcome = runs.select(message="value", stored="len", duplicate=pl.lit(0), conflicting=pl.lit(0))
    return Judged(conform(readings.with_columns(copy=0), READING), readings.clear(), Appended(conform(outcome, OUTCOME)))


def _judge_rows(readings: pl.DataFrame, kept: pl.DataFrame, *, all_differ: bool) -> Judged:
    def among(of_all: pl.Expr, of_one: pl.Expr, *columns: str) -> pl.Expr:
        """Over the rows of one instant, of which there is one where all differ (windows take most of the time)."""
        return of_one if all_differ else of_all.over(*_KEY, *columns)

    row, copy = pl.col("row"), pl.col("copy").cast(pl.Int64)
    numbers = pl.int_range(0, copy.max())
    of_instant = kept.group_by(_KEY).agg(copies=pl.len().cast(pl.Int64), top=copy.max())
    with_gaps = kept.join(of_instant.filter(pl.col("top") >= pl.col("copies")), on=_KEY, how="semi")  # a server has lost one between
    of_instant = of_instant.join(with_gaps.group_by(_KEY).agg(free=numbers.filter(~numbers.is_in(copy.implode()))), on=_KEY, how="left")
    rows = (
        readings.drop("copy").with_row_index("row")
        .join(kept.select(*_KEY, "value", kept_copy="copy", kept_message="message"), on=[*_KEY, "value"], how="left", maintain_order="left")
        .join(of_instant, on=_KEY, how="left", maintain_order="left")
        .with_columns(
            is_new=pl.col("kept_copy").is_null() & (row == among(row.min(), row, "value")),
            is_again=(pl.col("kept_message") == pl.col("message")) & (row == among(row.min(), row, "value", "message")),
        )
        .with_columns(place=among(pl.col("is_new").cast(pl.Int64).cum_sum() - 1, pl.lit(0)))  # of the new ones
        .with_columns(free=pl.col("free").list.get("place", null_on_oob=True).fill_null(pl.col("place") + pl.col("copies").fill_null(0)))
        .with_columns(copy=pl.when("is_new").then("free").when("is_again").then("kept_copy"))
    )
    # The 257th value of one instant is beyond what can be kept, and so is every repeat of it.
    beyond = among(pl.col("copy").max(), pl.col("copy"), "value") > MAX_COPIES
    rows = rows.with_columns(is_refused=beyond.fill_null(value=False))
    refused = rows.filter("is_refused").with_columns(copy=pl.lit(MAX_COPIES), reason=pl.lit("too_many_copies"))
    taken = rows.filter(~pl.col("is_refused"))
    outcome = taken.group_by("message").agg(
        stored=(pl.col("copy") == 0).sum(), duplicate=pl.col("copy").is_null().sum(), conflicting=(pl.col("copy") > 0).sum(),
    )
    return Judged(
        conform(taken.filter("is_new"), READING), conform(taken.filter("is_again"), READING),
        Appended(conform(outcome.sort("message"), OUTCOME), conform(refused, REFUSED)),
    )


def in_order(readings: pl.DataFrame) -> pl.DataFrame:
    """READING sorted by register_key, read_at, copy; by one integer where all three fit, which is much quicker."""
    if readings.is_empty():
        return readings
    key, at, copy = (readings[name].to_physical().cast(pl.Int64) for name in ("register_key", "read_at", "copy"))
    base, copies = cast(int, at.min()), cast(int, copy.max()) + 1
    span = (cast(int, at.max()) - base + 1) * copies
    if (cast(int, key.max()) + 1) * span >= 2**63:
        return readings.sort("register_key", "read_at", "copy")
    packed = key * span + (at - base) * copies + copy
    return readings if packed.is_sorted() else readings.rechunk()[packed.arg_sort()]


def beside(near: pl.DataFrame, known: pl.DataFrame, start: datetime, end: datetime, pad: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Of sorted readings those of a span and the `pad` instants of each register next to it, as far as they are there.

    Args:
        near: READING as `in_order` gives it, from FIRST_REACH before the span to as much after it.
        known: register_key, first, last: the instants between which each register has readings.
        start: begin of the span.
        end: its end.
        pad: how many instants of each register.

    Returns:
        READING in order; and the registers (register_key, far) that have further instants before `start`, and from `end` on, to be looked
        for with `nearest`: of these there is nothing of that side.
    """
    at = pl.col("read_at")
    outside = near.select("register_key", "read_at").with_row_index("row").filter((at < start) | (at >= end)).with_columns(
        place=pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in _KEY).fill_null(value=True).cast(pl.Int64).cum_sum(),
        before=at < start,
    )
    short, drops = [], []
    for before, has_more in ((True, pl.col("first") < start - FIRST_REACH), (False, pl.col("last") >= end + FIRST_REACH)):
        some = outside.filter(pl.col("before") == before)
        begins = (some["register_key"] != some["register_key"].shift(1)).fill_null(value=True)
        first = begins.arg_true().cast(pl.Int64)
        low, high = some["place"].gather(first), some["place"].gather(first.shift(-1, fill_value=some.height) - 1)
        enough = some["register_key"].gather(first).filter(high - low + 1 >= pad)
        few = known.filter(has_more, ~pl.col("register_key").is_in(enough.implode()))
        register = begins.cum_sum().cast(pl.Int64) - 1
        too_far = some["place"] <= high.gather(register) - pad if before else some["place"] >= low.gather(register) + pad
        drops.append(some["row"].filter(too_far | some["register_key"].is_in(few["register_key"].implode())))
        short.append(few.select("register_key", far="first" if before else "last"))
    stays = pl.repeat(True, near.height, dtype=pl.Boolean, eager=True).scatter(pl.concat(drops), False)
    return near.filter(stays), short[0], short[1]


def nearest(
    asked: pl.DataFrame, edge: datetime, pad: int, fetch: Callable[[pl.DataFrame, datetime, datetime], pl.DataFrame], *, before: bool
) -> pl.DataFrame:
    """READING of the `pad` instants of each register that are next to an edge, before it or from it on, with all their copies.

    The reach widens only for registers that have not enough yet, so that a long history is not read for the last few hours.

    Args:
        asked: register_key and `far`, the farthest instant on that side that the register can have.
        edge: instants before it, or at and after it, are meant.
        pad: how many instants of each register.
        fetch: READING of some registers (register_key, far) with start <= read_at < end.
        before: which side.
    """
    found = [empty(READING)]
    reach = FIRST_REACH
    while not asked.is_empty():
        if before:
            start, end = max(edge - reach, _instant(asked["far"].min())), edge
            is_reached = pl.col("far") >= start
        else:
            start, end = edge, min(edge + reach, _instant(asked["far"].max()) + timedelta(microseconds=1))
            is_reached = pl.col("far") < end
        near = fetch(asked, start, end).with_columns(place=pl.col("read_at").rank("dense", descending=before).over("register_key"))
        places = near.group_by("register_key").agg(places=pl.col("place").max())
        asked = asked.join(places, on="register_key", how="left").with_columns(is_done=is_reached | (pl.col("places") >= pad).fill_null(value=False))
        found.append(near.filter(pl.col("place") <= pad).join(asked.filter("is_done"), on="register_key", how="semi").drop("place"))
        asked = asked.filter(~pl.col("is_done")).select("register_key", "far")
        reach *= 8
    return pl.concat(found)


def _instant(value: object) -> datetime:
    assert isinstance(value, datetime)
    return value
