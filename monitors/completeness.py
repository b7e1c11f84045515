"""How complete the data are: slots that are due and that have a reading, the windows without any, and messages by day.

Real-time collection is every 15 minutes; 30 minutes or an hour may be allowed (national specification for key energy users,
granularity). So a register that is usually read so on a day owes a reading for every half hour or hour of it, else for every
15 minutes. Completeness = points that came / points due.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from config import calendar
from config.schemas import COMPLETENESS, INSTANT, MESSAGES_BY_DAY, RECEIVED, WINDOW, conform, empty
from monitors.local_days import local_days

SLOT: Final = timedelta(minutes=15)
JITTER: Final = 1.1  # readings that come a tenth of their interval late keep their interval
_SLOT: Final = "15m"
_US: Final = timedelta(microseconds=1)
_BAD: Final = 2  # position in READING_QUALITY
_SENDER: Final = ["enterprise", "gateway", "epoch"]


def received_runs(readings: pl.DataFrame, zone: str) -> pl.DataFrame:
    """What came of each register on each local day, as runs of neighbouring slots that each have a reading.

    Args:
        readings: READING; the first copy of an instant counts, one of quality bad does not.
        zone: the place whose days are meant.

    Returns:
        RECEIVED, by register and start.

    >>> from datetime import UTC, datetime
    >>> from config.schemas import READING
    >>> at = datetime(2025, 6, 1, tzinfo=UTC)
    >>> shown = pl.DataFrame({"register_key": [1] * 3, "read_at": [at, at + SLOT, at + 3 * SLOT], "copy": [0] * 3, "value": [1.0, 2.0, 2.0]})
    >>> received_runs(conform(shown, READING), "Asia/Shanghai").select("slots", "readings", "unchanged").rows()
    [(2, 2, 1), (1, 1, 1)]
    """
    rows = readings.filter(pl.col("copy") == 0, pl.col("quality").fill_null(0) < _BAD).select("register_key", "read_at", "value")
    if rows.is_empty():
        return empty(RECEIVED)
    key, read_at = rows["register_key"], rows["read_at"]
    if not ((key > key.shift(1)) | ((key == key.shift(1)) & (read_at >= read_at.shift(1)))).all():  # the first one has none before
        rows = rows.sort("register_key", "read_at")
    key, read_at, value = rows["register_key"], rows["read_at"], rows["value"]
    slot, day, place = read_at.dt.truncate(_SLOT), local_days(read_at, zone), pl.int_range(len(key), eager=True)
    begins = ((slot.diff() > SLOT) | (key != key.shift(1)) | (day != day.shift(1))).fill_null(value=True)
    first = begins.arg_true().cast(pl.Int64)
    end = first.shift(-1, fill_value=len(key))
    slots = (slot != slot.shift(1)).fill_null(value=True).cast(pl.Int64).cum_sum()
    step = pl.DataFrame({"run": begins.cast(pl.Int64).cum_sum().set_sorted(), "step": read_at.diff().dt.total_microseconds().set(begins, None)})
    interval_us = step.group_by("run", maintain_order=True).agg(pl.col("step").median())["step"]
    moved = ((value != value.shift(1)) & ~begins).fill_null(value=False)
    changed = place.zip_with(moved, pl.Series([-1])).cum_max().gather(end - 1)
    changed = changed.set(changed <= first, None)
    return conform(pl.DataFrame({
        "register_key": key.gather(first), "start": slot.gather(first), "end": slot.gather(end - 1) + SLOT,
        "slots": slots.gather(end - 1) - slots.gather(first) + 1, "readings": end - first,
        "first_at": read_at.gather(first), "last_at": read_at.gather(end - 1), "interval_s": interval_us / 1e6,
        "first_value": value.gather(first), "last_value": value.gather(end - 1),
        "changed_at": read_at.gather(changed), "unchanged": end - changed.fill_null(first), "day": day.gather(first),
    }), RECEIVED)


def due_spans(received: pl.DataFrame, registers: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """register_key, start, end: the part of [start, end) in which each register owes readings, in whole slots.

    A register owes them from the day that it is registered from, or else from its first reading on, until it is taken out of service;
    a derived one owes none.

    Args:
        received: RECEIVED, as far back as there is any.
        registers: REGISTER rows in force.
        start: begin of what is asked for.
        end: the instant up to which readings must have come.
    """
    def outer(name: str, bound: pl.Expr) -> pl.Expr:  # null in one row: without end on that side
        return pl.when(pl.col(name).is_not_null().all()).then(bound)

    spans = registers.filter(pl.col("kind").ne_missing("derived")).group_by("register_key").agg(
        valid_from=outer("valid_from", pl.col("valid_from").min()), valid_to=outer("valid_to", pl.col("valid_to").max()),
    ).join(received.group_by("register_key").agg(first=pl.col("start").min()), on="register_key", how="left")
    owed_from = pl.max_horizontal(pl.coalesce("valid_from", "first"), pl.lit(start, INSTANT))
    owed_to = pl.min_horizontal(pl.col("valid_to"), pl.lit(end, INSTANT))
    return spans.filter(pl.coalesce("valid_from", "first").is_not_null()).select(
        "register_key", start=(owed_from + SLOT - timedelta(microseconds=1)).dt.truncate(_SLOT), end=owed_to.dt.truncate(_SLOT),
    ).filter(pl.col("start") < pl.col("end")).sort("register_key")


def completeness(received: pl.DataFrame, spans: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Slots due and received of each register on each local day, each slot as long as the interval at which it is usually read.

    Args:
        received: RECEIVED.
        spans: what `due_spans` gave.
        zone: the place whose days are meant.

    Returns:
        COMPLETENESS; slots that came without being due do not count.
    """
    if spans.is_empty():
        return conform(spans.clear(), COMPLETENESS)
    first, last = (calendar.local_day(instant, zone) for instant in (spans["start"].min(), spans["end"].max()))  # type: ignore[arg-type]  # not empty
    bounds = [(day, *calendar.day_span(day, zone)) for day in _days(first, last)]
    days = pl.DataFrame(bounds, orient="row", schema={"day": pl.Date(), "from": INSTANT, "to": INSTANT})
    due = spans.lazy().join(days.lazy(), how="cross").with_columns(
        start=pl.max_horizontal("start", "from"), end=pl.min_horizontal("end", "to"),
    ).filter(pl.col("start") < pl.col("end"))
    # The interval of a day is that of its readings: 15, 30 or 60 minutes, the next one above, with a little room for jitter.
    usual_s = pl.col("usual_interval_s").fill_null(0.0) / JITTER
    slots = pl.when(usual_s <= 900).then(1).when(usual_s <= 1800).then(2).otherwise(4).cast(pl.Int64)
    slot_us = slots * pl.lit(SLOT // _US, pl.Int64)
    due = due.join(usual_intervals(received, ["register_key", "day"]).lazy(), on=["register_key", "day"], how="left").with_columns(slot_us=slot_us)
    inside = received.lazy().join(due, on=["register_key", "day"], suffix="_due").with_columns(
        first=pl.max_horizontal("start", "start_due").dt.epoch("us") // pl.col("slot_us"),
        last=(pl.min_horizontal("end", "end_due").dt.epoch("us") - 1) // pl.col("slot_us"),
    ).filter(pl.col("first") <= pl.col("last"), pl.col("start") < pl.col("end_due"), pl.col("end") > pl.col("start_due"))
    # Two runs may lie in one half hour: a slot that the run before reached already counts once.
    reached = pl.max_horizontal("first", pl.col("last").shift(1).over("register_key", "day", order_by="start") + 1)
    came = inside.with_columns(first=reached).group_by("register_key", "day").agg(received=(pl.col("last") - pl.col("first") + 1).clip(0).sum())
    owed = (pl.col("end").dt.epoch("us") - 1) // pl.col("slot_us") - pl.col("start").dt.epoch("us") // pl.col("slot_us") + 1
    rows = due.with_columns(interval_min=pl.col("slot_us") // pl.lit(60_000_000, pl.Int64), due=owed)
    rows = rows.join(came, on=["register_key", "day"], how="left").with_columns(pl.col("received").fill_null(0))
    rows = rows.with_columns(completeness_ratio=pl.col("received") / pl.col("due"))
    return conform(rows.sort("register_key", "day").collect(), COMPLETENESS)


def usual_intervals(received: pl.DataFrame, by: Sequence[str] = ("register_key",)) -> pl.DataFrame:
    """`by`, usual_interval_s: the median time between readings, null where there was only one.

    Args:
        received: RECEIVED; a run tells as often as it has steps, and once by its distance from the run before.
        by: register_key, and perhaps day.
    """
    runs = received.sort("register_key", "start")
    since = ((pl.col("first_at") - pl.col("last_at").shift(1)).dt.total_microseconds() / 1e6).over("register_key")
    steps = pl.concat([
        runs.select(*by, each="interval_s", times=pl.col("readings").cast(pl.Int64) - 1),
        runs.select(*by, each=since, times=pl.lit(1, pl.Int64)),
    ]).drop_nulls("each").sort("each")
    median = pl.col("each").filter(pl.col("times").cum_sum() * 2 >= pl.col("times").sum()).first()
    usual = steps.group_by(by, maintain_order=True).agg(usual_interval_s=median)
    return runs.select(by).unique(maintain_order=True).join(usual, on=by, how="left")


def missing_windows(received: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """The runs of due slots that have no reading.

    Args:
        received: RECEIVED.
        spans: what `due_spans` gave.

    Returns:
        WINDOW, by register and start.
    """
    ends = pl.concat([
        received.select("register_key", "start", "end").join(spans.select("register_key"), on="register_key", how="semi"),
        spans.select("register_key", "start", end="start"), spans.select("register_key", start="end", end="end"),
    ])
    # Runs that lie across a bound of the span are cut by it: the zero-length runs at both bounds see to that.
    gaps = ends.sort("register_key", "start", "end").with_columns(since=pl.col("end").cum_max().shift(1).over("register_key")).filter(
        pl.col("start") > pl.col("since")
    ).select("register_key", start="since", end="start")
    within = gaps.join(spans, on="register_key", suffix="_due").select(
        "register_key", start=pl.max_horizontal("start", "start_due"), end=pl.min_horizontal("end", "end_due"),
    )
    return conform(within.filter(pl.col("start") < pl.col("end")).sort("register_key", "start"), WINDOW)


def messages_by_day(highest: pl.DataFrame, gaps: pl.DataFrame) -> pl.DataFrame:
    """Messages of each gateway that were due by its count on each day, received, still missing and reported lost.

    A message counts on the first day on which the gateway is known to have counted up to it.

    Args:
        highest: enterprise, gateway, epoch, day, highest_seq: the largest seq that came in on a local day.
        gaps: enterprise, gateway, epoch, from_seq, to_seq, lost: what has not come.

    Returns:
        MESSAGES_BY_DAY, by enterprise, gateway and day.
    """
    days = highest.sort(*_SENDER, "day").with_columns(to=pl.col("highest_seq").cum_max().over(_SENDER)).with_columns(
        after=pl.col("to").shift(1, fill_value=0).over(_SENDER)
    )
    held = days.join(gaps, on=_SENDER).with_columns(
        count=pl.min_horizontal("to", "to_seq") - pl.max_horizontal(pl.col("after") + 1, "from_seq") + 1
    ).filter(pl.col("count") > 0).group_by(*_SENDER, "day").agg(
        missing=pl.col("count").filter(~pl.col("lost")).sum(), lost=pl.col("count").filter("lost").sum(),
    )
    counted = days.join(held, on=[*_SENDER, "day"], how="left").with_columns(pl.col("missing", "lost").fill_null(0))
    rows = counted.group_by("enterprise", "gateway", "day").agg(
        due=(pl.col("to") - pl.col("after")).sum(), missing=pl.col("missing").sum(), lost=pl.col("lost").sum()
    ).with_columns(received=pl.col("due") - pl.col("missing") - pl.col("lost"))
    ratio = pl.when(pl.col("due") > 0).then(pl.col("received") / pl.col("due"))
    return conform(rows.with_columns(completeness_ratio=ratio).sort("enterprise", "gateway", "day"), MESSAGES_BY_DAY)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]
