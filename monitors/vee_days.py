"""Readings in order, each beside the last counted one of its register, and the local days that they make."""

from collections.abc import Iterator
from typing import Final, cast

import polars as pl

from config.schemas import EVENT, INSTANT, READING, REGISTER, empty
from monitors.axis import HOUR_US, Axis, Slots, axis_of, chunks, position_of
from monitors.local_days import day_of
from monitors.vee_bounds import Dated
from monitors.vee_rules import BITS, CUMULATIVE, INTERVAL, RATE, RATE_ROUNDING, Asked

CHUNK_READINGS: Final = 1_000_000
_v, _at, _kind, _position = pl.col("v"), pl.col("at"), pl.col("kind"), pl.col("position")
_BREAKS: Final = ("change", "reset", "rollover")  # events across which a step says nothing


def day_edges(readings: pl.DataFrame, set_aside: pl.DataFrame, *, zone: str) -> pl.DataFrame:
    """The counted readings at the edges of each register's local days.

    Args:
        readings: READING, as for `validated`.
        set_aside: SET_ASIDE.
        zone: the place whose days are meant.

    Returns:
        register_key, day, first_at, last_at (null where none of the day counts), before_at, before_value (of the last one before the day),
        after_at (of the first one after it).
    """
    schema = {"register_key": pl.UInt32(), "day": pl.Date(), "first_at": INSTANT, "last_at": INSTANT, "before_at": INSTANT,
              "before_value": pl.Float64(), "after_at": INSTANT}
    found = [pl.DataFrame(schema=schema)]
    if readings.height:
        keys = readings["register_key"].unique().sort()
        position, aside = position_of(readings["register_key"], keys), aside_bits(readings, set_aside)
        axis = axis_of(readings, empty(REGISTER), empty(EVENT), keys, zone)
        for rows in chunk_rows(position, len(keys), axis):
            frame, of_day = _by_day(readings, rows, position, aside, axis)
            places = _counted_around(frame, of_day)
            at, own = frame["at"].cast(INSTANT), of_day["position"]

            def seen(column: pl.Series, place: str, places: pl.DataFrame = places, frame: pl.DataFrame = frame, own: pl.Series = own) -> pl.Series:
                is_own = (frame["position"].gather(places[place]) == own).fill_null(value=False)
                return column.gather(places[place]).set(~is_own, None)

            found.append(of_day.select("register_key", "day").with_columns(
                *(seen(at, name).alias(f"{name}_at") for name in ("first", "last", "before")), seen(frame["v"], "before").alias("before_value"),
                seen(at, "after").alias("after_at"),
            ))
    return pl.concat(found)


def grounds(edges: pl.DataFrame, set_aside: pl.DataFrame, registers: pl.DataFrame, *, zone: str) -> pl.DataFrame:
    """What the verdicts of each day rest on besides its own readings, the rules and earlier days: where it is the same, so are they.

    That is what is set aside of the day, the counted reading before it and, of an interval register, when the one after it is.

    Args:
        edges: as `day_edges` gives them.
        set_aside: SET_ASIDE.
        registers: REGISTER.
        zone: the place whose days are meant.

    Returns:
        register_key, day, grounds (a fingerprint).
    """
    on = ["register_key", "day"]
    named = set_aside.with_columns(pl.col("broken_rules").list.join(" "), day=day_of("read_at", zone))
    gone = named.select(*on, gone=named.hash_rows(seed=0) // 2**16).group_by(on).agg(pl.col("gone").sum())
    last = registers.sort("register_key", "valid_from", nulls_last=False).unique("register_key", keep="last", maintain_order=True)
    is_interval = pl.col("register_key").is_in(last.filter(pl.col("kind") == "interval")["register_key"].implode())
    rests_on = edges.join(gone, on=on, how="left", maintain_order="left").select(
        "before_at", "before_value", "gone", after=pl.when(is_interval).then("after_at"),
    )
    return edges.select(on).with_columns(grounds=rests_on.hash_rows(seed=0))


def neighbours(
    readings: pl.DataFrame, rows: pl.Series | None, position: pl.Series, aside: pl.Series, axis: Axis, registers: pl.DataFrame, own: Dated,
    events: pl.DataFrame, days: pl.DataFrame | None,
) -> tuple[Asked, pl.DataFrame]:
    """The readings of some registers in order, each with its last counted one before and its consumption by the hour; and their local days.

    Returns:
        What rules can be asked of: row (of the readings), group (its day, by order), position, at, v, received_us, aside, counted, prev_v,
        prev_at, since, step, fell, per_h, moved, ...; and of each day group, register_key, position, day, start (us), begin (the place of
        its first reading) and asked (whether it is judged).
    """
    frame, of_day = _by_day(readings, rows, position, aside, axis)
    of_day = of_day.with_columns(asked_days(of_day, days))
    frame, of_day = _needed(frame, of_day)
    last = {name: _last_of(name, all_count=bool(frame["counted"].all())) for name in ("position", "at", "v")}
    frame = frame.with_columns(pl.when(last["position"] == _position).then(last[name]).alias(f"prev_{name}") for name in ("at", "v"))
    asked = Asked(frame, own, {})
    kind, *_ = (asked.own(name) for name in ("kind", "max_rate_per_h", "modulus", "net", "resolution"))
    assert kind is not None  # filled where they are read
    asked.frame = asked.table().with_columns(
        _multipliers(frame, registers, events, axis.keys).alias("multiplier"), _between_readings(frame, events, _BREAKS, axis.keys).alias("changed"),
        kind.alias("kind"),
    ).with_columns(since=_at - pl.col("prev_at"), fell=pl.lit(value=False))
    asked.frame = asked.frame.with_columns(step=pl.when(~pl.col("changed") & (pl.col("since") > 0)).then(_v - pl.col("prev_v")))
    frame = _with_falls(asked)
    turned = _between_readings(frame, events, ("multiplier",), axis.keys)
    per_h = _per_h_of(turned, set(own.rows["kind"].unique()), all_count=bool(frame["counted"].all()))
    asked.frame = frame.with_columns(
        per_h=pl.when(per_h.is_finite()).then(per_h),
        moved=pl.col("counted") & ((_v != pl.col("prev_v")) | pl.col("changed")).fill_null(value=False),
    )
    return asked, of_day


def asked_days(of_day: pl.DataFrame, days: pl.DataFrame | None) -> pl.Series:
    """Of each day (register_key, day) whether it is among those to be judged."""
    if days is None:
        return pl.repeat(True, of_day.height, dtype=pl.Boolean, eager=True).alias("asked")
    wanted = days.select("register_key", "day", asked=pl.lit(value=True)).unique()
    return of_day.join(wanted, on=["register_key", "day"], how="left", maintain_order="left")["asked"].fill_null(value=False)


def aside_bits(readings: pl.DataFrame, set_aside: pl.DataFrame) -> pl.Series:
    """The rules by which each reading is set aside, as bits; 0 for those that count."""
    bits = pl.repeat(0, readings.height, dtype=pl.Int64, eager=True)
    if set_aside.is_empty():
        return bits
    named = pl.col("value").fill_nan(None)  # a NaN would equal no other
    on = READING.names()
    concerned = readings["register_key"].is_in(set_aside["register_key"].unique().implode()).arg_true()
    those = readings[concerned.cast(pl.UInt32)].with_columns(row=concerned).join(
        set_aside.select("register_key", "read_at"), on=["register_key", "read_at"], how="semi", maintain_order="left",
    )
    nth = pl.int_range(pl.len()).over(on).alias("nth")
    found = those.with_columns(named).with_columns(nth).join(
        set_aside.with_columns(named).with_columns(nth), on=[*on, "nth"], how="inner", nulls_equal=True,
    ).select("row", "broken_rules").explode("broken_rules")
    bit = pl.col("broken_rules").replace_strict(BITS, return_dtype=pl.Int64)
    each = found.with_columns(bit=bit).group_by("row").agg(pl.col("bit").unique().sum())
    return bits.scatter(each["row"], each["bit"])


def chunk_rows(position: pl.Series, registers: int, axis: Axis) -> Iterator[pl.Series | None]:
    """The rows of the readings of some registers, a bounded number that fits on the axis; None: all rows."""
    ranges = list(chunks(position.drop_nulls(), registers, axis.span, CHUNK_READINGS))
    if len(ranges) == 1 and not position.has_nulls():
        yield None
        return
    for first, last in ranges:
        rows = position.is_between(first, last - 1).fill_null(value=False).arg_true()
        if len(rows):
            yield rows


def _by_day(
    readings: pl.DataFrame, rows: pl.Series | None, position: pl.Series, aside: pl.Series, axis: Axis,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Readings in order (row, position, at, v, received_us, aside, counted, group: their day); and the days of each register in order."""
    frame = pl.DataFrame({
        "row": pl.int_range(readings.height, dtype=pl.UInt32, eager=True), "position": position, "at": readings["read_at"].to_physical(),
        "v": readings["value"], "received_us": readings["received_at"].to_physical(), "aside": aside,
    })
    if rows is not None:
        frame = frame[rows.cast(pl.UInt32)]
    frame = frame.with_columns(counted=(pl.col("aside") == 0) & _v.is_finite().fill_null(value=False))
    least = cast(int, frame["position"].min())
    frame = frame.with_columns(k=(_position - least) * axis.span + (_at - axis.base))
    if not (frame["k"] > frame["k"].shift(1)).all():
        frame = _in_order(frame, readings)
    slots = Slots(axis, "day")
    slot = slots.of(frame["k"])
    begins = (slot != slot.shift(1)).fill_null(value=True)
    begin = begins.arg_true()
    position, midnight = frame["position"].gather(begin), slots.low(slot.gather(begin))
    start = midnight + (axis.base - (position - least) * axis.span)
    of_day = pl.DataFrame({
        "group": pl.int_range(len(begin), dtype=pl.UInt32, eager=True), "register_key": axis.keys.gather(position), "position": position,
        "day": start.cast(INSTANT).dt.convert_time_zone(axis.zone).dt.date(), "start": start, "begin": begin,
    })
    return frame.drop("k").with_columns((begins.cum_sum().cast(pl.UInt32) - 1).alias("group").set_sorted()), of_day


def _needed(frame: pl.DataFrame, of_day: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The readings of the days that are asked for and the counted ones next to these; with the days of which any are left."""
    if of_day["asked"].all():
        return frame, of_day
    places = _counted_around(frame, of_day).filter(of_day["asked"])
    beside = pl.concat([places["before"], places["after"]]).drop_nulls()
    frame = frame.filter(of_day["asked"].gather(frame["group"]).scatter(beside, True))  # a neighbour of another register does no harm
    begins = (frame["group"] != frame["group"].shift(1)).fill_null(value=True)
    begin = begins.arg_true()
    of_day = of_day[frame["group"].gather(begin)].with_columns(begin.alias("begin"), group=pl.int_range(len(begin), dtype=pl.UInt32, eager=True))
    return frame.with_columns((begins.cum_sum().cast(pl.UInt32) - 1).alias("group").set_sorted()), of_day


def _counted_around(frame: pl.DataFrame, of_day: pl.DataFrame) -> pl.DataFrame:
    """Of each day the places of its first and last counted reading, and of the ones before and after (of whichever register)."""
    begin, last = of_day["begin"].cast(pl.Int64), of_day["begin"].shift(-1, fill_value=frame.height).cast(pl.Int64) - 1
    if frame["counted"].all():
        return pl.DataFrame({"first": begin, "last": last, "before": begin - 1, "after": last + 1}).with_columns(
            pl.when(pl.col(name).is_between(0, frame.height - 1)).then(name) for name in ("before", "after")
        )
    place = pl.when("counted").then(pl.int_range(pl.len()))
    passed, coming = frame.select(passed=place.forward_fill(), coming=place.backward_fill()).get_columns()
    return pl.DataFrame({
        "begin": begin, "end": last, "first": coming.gather(begin), "last": passed.gather(last),
        "before": passed.shift(1).gather(begin), "after": coming.shift(-1).gather(last),
    }).select(
        pl.when(pl.col("first") <= pl.col("end")).then("first"), pl.when(pl.col("last") >= pl.col("begin")).then("last"), "before", "after",
    )


def _in_order(frame: pl.DataFrame, readings: pl.DataFrame) -> pl.DataFrame:
    """By register and instant; of several copies the one that counts comes last, so that the others see the reading before it."""
    ordered: pl.DataFrame = frame[frame["k"].arg_sort()]
    if (ordered["k"] > ordered["k"].shift(1)).all():
        return ordered
    further = readings.select(pl.col("copy", "message").gather(frame["row"]))
    return frame.hstack(further).sort("k", "counted", "copy", "received_us", "message", "v", nulls_last=True).drop("copy", "message")


def _last_of(name: str, *, all_count: bool) -> pl.Expr:
    """What the last counted reading before each has, of whichever register."""
    return pl.col(name).shift(1) if all_count else pl.when("counted").then(name).shift(1).forward_fill()


def _with_falls(asked: Asked) -> pl.DataFrame:
    """The frame with `step` across wraps, and `fell` where a register stepped back."""
    frame = asked.frame
    down = frame.select((_v < pl.col("prev_v")).fill_null(value=False) & (_kind == CUMULATIVE)).to_series().arg_true()
    if not len(down):
        return frame
    modulus, rate, net = (pl.lit(None, dtype) if (own := asked.own(name)) is None else own for name, dtype in (
        ("modulus", pl.Float64()), ("max_rate_per_h", pl.Float64()), ("net", pl.Boolean()),
    ))
    across = _v - pl.col("prev_v") + modulus
    wraps = pl.when(rate.is_not_null()).then(
        across * pl.col("multiplier") <= rate * (pl.col("since") / HOUR_US) * (1 + RATE_ROUNDING),
    ).otherwise(across <= modulus / 2).fill_null(value=False)
    some = frame[down].select(
        step=pl.when(wraps & pl.col("step").is_not_null()).then(across).otherwise("step"), fell=~net & ~wraps & ~pl.col("changed"),
    )
    return frame.with_columns(frame[name].scatter(down, some[name]) for name in ("step", "fell"))


def _per_h_of(turned: pl.Series, kinds: set[int], *, all_count: bool) -> pl.Expr:
    """Consumption by the hour; of interval registers over the shorter of the spacings before and after."""
    since, multiplier = pl.col("since"), pl.col("multiplier")
    coming = {
        name: pl.col(name).shift(-1) if all_count else pl.when("counted").then(name).shift(-1).backward_fill() for name in ("position", "at")
    }
    length = pl.min_horizontal(since, pl.when(coming["position"] == _position).then(coming["at"]) - _at)
    of_kind = {
        CUMULATIVE: pl.when((since > 0) & ~turned & ~pl.col("fell")).then(pl.col("step") * multiplier / (since / HOUR_US)),
        INTERVAL: pl.when(length > 0).then(_v * multiplier * HOUR_US / length),
        RATE: _v * multiplier,
    }
    found = pl.lit(None, pl.Float64())
    for kind in kinds & set(of_kind):
        found = of_kind[kind] if len(kinds) == 1 else pl.when(_kind == kind).then(of_kind[kind]).otherwise(found)
    return found


def _multipliers(frame: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, keys: pl.Series) -> pl.Series | pl.Expr:
    """The multiplier in force at each reading, by the register's rows and by events."""
    rows = registers.select("register_key", pl.col("multiplier").fill_null(1.0), from_us=pl.col("valid_from").to_physical())
    turned = events.filter(pl.col("event") == "multiplier", pl.col("multiplier").is_not_null(), pl.col("register_key").is_in(keys.implode()))
    both = pl.concat([rows, turned.select("register_key", "multiplier", from_us=pl.col("at").to_physical())])
    if both["multiplier"].n_unique() == 1:
        return pl.lit(both["multiplier"][0])
    dated = Dated(both.with_columns(position=position_of(both["register_key"], keys)), len(keys))
    return dated.rows["multiplier"].gather(dated.at(frame["position"], frame["at"]))


def _between_readings(frame: pl.DataFrame, events: pl.DataFrame, names: tuple[str, ...], keys: pl.Series) -> pl.Series:
    """Whether an event lies after the last counted reading and not after the reading itself."""
    events = events.filter(pl.col("event").is_in(names), pl.col("register_key").is_in(keys.implode()))
    nothing = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    if events.is_empty():
        return nothing
    happened = events.select(position=position_of(events["register_key"], keys), event_at=pl.col("at").to_physical()).sort("event_at")
    concerned = frame["position"].is_in(happened["position"].unique().implode()).arg_true()
    asks = frame.select(pl.col("position", "at", "prev_at").gather(concerned)).with_columns(concerned.alias("place")).sort("at")
    last = asks.join_asof(happened, left_on="at", right_on="event_at", by="position", strategy="backward", check_sortedness=False)
    hit = last.filter(pl.col("event_at") > pl.col("prev_at"))
    return nothing.scatter(hit["place"], True)
