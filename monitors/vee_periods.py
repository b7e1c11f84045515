"""Validation: what is wrong with registers against each other, and with days against months.

The rules, `low` and `high` their bounds:

- `tariff_sum`: at each instant the tariff registers add up to the total within `high` steps of its resolution. Reach 0.
- `sub_meter`: the sub-meters' consumption of a day is `low` .. `high` times the main meter's. Reach the day.
- `energy_per_output`: the energy of a day divided by the production lies within `low` .. `high`. Reach the day.
- `day_against_month`: the days of a month add up to its figure within `high` of it. Reach the month.
- `day_start`: a reading lies within `high` seconds of local midnight. Reach 1 reading.

A verdict is `unknown` where something is missing: a part without a value, a unit that cannot be converted, less than COVERED_AT_LEAST of
a day known, no bound.
"""

from datetime import timedelta
from typing import Final

import polars as pl

from config.schemas import PERIOD_VERDICT, conform, empty
from config.units import factor
from monitors.local_days import day_of, day_start
from monitors.vee_bounds import bounds

PERIOD_RULES: Final = ("tariff_sum", "sub_meter", "energy_per_output", "day_against_month", "day_start")
COVERED_AT_LEAST: Final = 0.99  # less of a day known: registers cannot be compared over it
_STEP_ROUNDING: Final = 1e-6  # of a step of resolution: what floating point may add
_RATIO_ROUNDING: Final = 1e-9


def tariff_sums(readings: pl.DataFrame, registers: pl.DataFrame, balances: pl.DataFrame, rules: pl.DataFrame, *, zone: str) -> pl.DataFrame:
    """PERIOD_VERDICT of `tariff_sum`, one for each total and local day on which it was read.

    Compared are what total and parts show at the same instant, multiplied, whether the readings count or not; of several copies the first.
    `actual` and `expected` are the parts' sum and the total where they differ most, `measure` is that difference in steps of the total's
    resolution, `broken` the number of instants beyond the bound.

    Args:
        readings: READING of totals and parts.
        registers: REGISTER.
        balances: BALANCE; rows of kind tariff count.
        rules: VEE_RULE.
        zone: the place whose days are meant.
    """
    pairs = balances.filter(pl.col("kind") == "tariff")
    if pairs.is_empty() or readings.is_empty():
        return empty(PERIOD_VERDICT)
    those = pl.concat([pairs["total_key"], pairs["part_key"]]).unique()
    came = readings.filter(pl.col("register_key").is_in(those.implode())).sort("copy", "received_at", "message", "value", nulls_last=True).unique(
        ["register_key", "read_at"], keep="first", maintain_order=True,
    )
    shown = _at_instant(came, registers)
    totals = shown.rename({"register_key": "total_key"}).join(pairs, on="total_key").filter(_holds("read_at"))
    scale = _unit_scales(pairs, registers)
    parts = totals.select("total_key", "part_key", "read_at").join(
        shown.select(part_key="register_key", read_at="read_at", part="shown"), on=["part_key", "read_at"], how="left",
    ).join(scale, on=["total_key", "part_key"]).group_by("total_key", "read_at").agg(
        parts=(pl.col("part") * pl.col("scale")).sum(), all_there=(pl.col("part").is_not_null() & pl.col("scale").is_not_null()).all(),
    )
    each = totals.unique(["total_key", "read_at"]).select(register_key="total_key", read_at="read_at", shown="shown", step="step").join(
        parts.rename({"total_key": "register_key"}), on=["register_key", "read_at"],
    ).with_columns(day=day_of("read_at", zone), difference=(pl.col("parts") - pl.col("shown")).abs())
    each = _with_bounds(each.with_columns(start="read_at"), registers, rules, "tariff_sum")
    steps = pl.when("all_there").then(pl.col("difference") / pl.col("step"))
    each = each.with_columns(measure=steps, wrong=(steps > pl.col("high") * (1 + _STEP_ROUNDING)))
    worst = pl.col("measure").arg_max()
    days = each.sort("register_key", "read_at").group_by("register_key", "day", maintain_order=True).agg(
        actual=pl.col("parts").get(worst), expected=pl.col("shown").get(worst), measure=pl.col("measure").max(),
        low=pl.col("low").last(), high=pl.col("high").last(), severity=pl.col("severity").last(),
        checked=pl.col("measure").count(), broken=pl.col("wrong").sum(),
        missing=pl.when(pl.col("step").null_count() > 0).then(pl.lit("resolution")).when(pl.col("measure").count() == 0).then(pl.lit("part")),
    )
    return _period_rows(_with_day(days, zone), "tariff_sum", (pl.col("broken") > 0).fill_null(False))


def day_sums(daily: pl.DataFrame, registers: pl.DataFrame, balances: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """PERIOD_VERDICT of `sub_meter` (kind sub_meter) and `energy_per_output` (kind output), one for each total and day.

    `actual` is what the parts used, or the production; `expected` is the total's consumption. The measure is parts / total, or total / production.

    Args:
        daily: INTERVAL by day, of totals and parts.
        registers: REGISTER.
        balances: BALANCE.
        rules: VEE_RULE.
    """
    found = [empty(PERIOD_VERDICT)]
    for kind, rule in (("sub_meter", "sub_meter"), ("output", "energy_per_output")):
        pairs = balances.filter(pl.col("kind") == kind)
        if pairs.is_empty():
            continue
        used = daily.select("register_key", "start", "end", "quantity", "covered_ratio")
        totals = used.rename({"register_key": "total_key"}).join(pairs, on="total_key").filter(_holds("start"))
        scale = _unit_scales(pairs, registers) if kind == "sub_meter" else pairs.select("total_key", "part_key", scale=pl.lit(1.0)).unique()
        sums = totals.join(
            used.select(part_key="register_key", start="start", part="quantity", part_covered="covered_ratio"), on=["part_key", "start"], how="left",
        ).join(scale, on=["total_key", "part_key"]).group_by("total_key", "start").agg(
            pl.col("end", "quantity", "covered_ratio").first(), parts=(pl.col("part") * pl.col("scale")).sum(), checked=pl.len(),
            part_missing=pl.col("part").is_null().any(), unit_missing=pl.col("scale").is_null().any(), part_covered=pl.col("part_covered").min(),
        ).rename({"total_key": "register_key"})
        rows = _with_bounds(sums, registers, rules, rule)
        over, under = ("parts", "quantity") if kind == "sub_meter" else ("quantity", "parts")
        nothing_used = (pl.col(over) == 0) & (pl.col(under) == 0)
        rest = pl.when(~nothing_used).then(pl.col(over) / pl.col(under))
        missing = (
            pl.when("part_missing").then(pl.lit("part")).when("unit_missing").then(pl.lit("unit"))
            .when(pl.min_horizontal("covered_ratio", "part_covered") < COVERED_AT_LEAST).then(pl.lit("coverage"))
            .when(pl.col("low").is_null() & pl.col("high").is_null()).then(pl.lit("bound"))
            .when(~nothing_used & (pl.col("parts") == 0) & pl.lit(kind == "output")).then(pl.lit("output"))
        )
        below, above = rest < pl.col("low") * (1 - _RATIO_ROUNDING), rest > pl.col("high") * (1 + _RATIO_ROUNDING)
        wrong = (below.fill_null(False) | above.fill_null(False)) & ~nothing_used
        rows = rows.with_columns(actual="parts", expected="quantity", measure=rest, missing=missing, broken=wrong.cast(pl.UInt32))
        found.append(_period_rows(rows, rule, wrong))
    return pl.concat(found).sort("register_key", "rule", "start")


def month_sums(daily: pl.DataFrame, registers: pl.DataFrame, figures: pl.DataFrame, rules: pl.DataFrame, *, zone: str) -> pl.DataFrame:
    """PERIOD_VERDICT of `day_against_month`, one for each figure.

    Args:
        daily: INTERVAL by day.
        registers: REGISTER.
        figures: register_key, period ("2025-03"), quantity in the unit of the register's quantities.
        rules: VEE_RULE.
        zone: the place whose months are meant.
    """
    if figures.is_empty():
        return empty(PERIOD_VERDICT)
    sums = daily.with_columns(period=pl.col("start").dt.convert_time_zone(zone).dt.strftime("%Y-%m")).group_by("register_key", "period").agg(
        actual=pl.col("quantity").sum(), checked=pl.len(),
    )
    rows = figures.select("register_key", "period", expected="quantity").join(sums, on=["register_key", "period"], how="left").with_columns(
        start=day_start((pl.col("period") + "-01").str.to_date("%Y-%m-%d"), zone),
        end=day_start((pl.col("period") + "-01").str.to_date("%Y-%m-%d").dt.offset_by("1mo"), zone),
    )
    off = (pl.col("actual") - pl.col("expected")).abs()
    rows = _with_bounds(rows, registers, rules, "day_against_month").with_columns(
        measure=pl.when((off == 0) & (pl.col("expected") == 0)).then(0.0).otherwise(off / pl.col("expected").abs()),
    )
    wrong = (pl.col("measure") > pl.col("high") * (1 + _RATIO_ROUNDING)).fill_null(False)
    missing = pl.when(pl.col("actual").is_null()).then(pl.lit("readings")).when(pl.col("high").is_null()).then(pl.lit("bound"))
    return _period_rows(rows.with_columns(missing=missing, broken=wrong.cast(pl.UInt32)), "day_against_month", wrong)


def day_starts(edges: pl.DataFrame, registers: pl.DataFrame, rules: pl.DataFrame, *, zone: str) -> pl.DataFrame:
    """PERIOD_VERDICT of `day_start`, one for each register and local day with a reading: how far the nearest one is from the day's start.

    Args:
        edges: the counted readings at the edges of days, as `vee_days.day_edges` gives them.
        registers: REGISTER.
        rules: VEE_RULE.
        zone: the place whose days are meant.
    """
    came = edges.filter(pl.col("first_at").is_not_null())  # the nearest ones to a midnight are among these
    if came.is_empty():
        return empty(PERIOD_VERDICT)
    starts, tomorrow = came.select("register_key", "day"), pl.col("day") + timedelta(days=1)
    near = pl.concat([
        came.select("register_key", "day", off=pl.col("first_at") - day_start(pl.col("day"), zone)),
        came.select("register_key", day=tomorrow, off=day_start(tomorrow, zone) - pl.col("last_at")),
    ]).group_by("register_key", "day").agg(measure=pl.col("off").min().dt.total_microseconds() / 1e6)
    rows = _with_day(starts.join(near, on=["register_key", "day"]), zone)
    rows = _with_bounds(rows, registers, rules, "day_start")
    wrong = (pl.col("measure") > pl.col("high")).fill_null(False)
    rows = rows.with_columns(
        missing=pl.when(pl.col("high").is_null()).then(pl.lit("bound")), broken=wrong.cast(pl.UInt32), checked=pl.lit(1, pl.UInt32),
        actual="measure", expected=pl.lit(0.0),
    )
    return _period_rows(rows, "day_start", wrong)


def _period_rows(rows: pl.DataFrame, rule: str, wrong: pl.Expr) -> pl.DataFrame:
    verdict = pl.when(wrong & pl.col("missing").is_null()).then(pl.lit("failed")).when(pl.col("missing").is_not_null()).then(
        pl.lit("unknown"),
    ).otherwise(pl.lit("passed"))
    known = pl.col("missing").is_null()
    rows = rows.with_columns(rule=pl.lit(rule), verdict=verdict).with_columns(
        severity=pl.when(pl.col("verdict") == "failed").then("severity"), broken=pl.when(known).then("broken").otherwise(0),
    )
    return conform(rows, PERIOD_VERDICT).sort("register_key", "start")


def _with_day(rows: pl.DataFrame, zone: str) -> pl.DataFrame:
    return rows.with_columns(start=day_start(pl.col("day"), zone), end=day_start(pl.col("day") + timedelta(days=1), zone))


def _with_bounds(rows: pl.DataFrame, registers: pl.DataFrame, rules: pl.DataFrame, rule: str) -> pl.DataFrame:
    """The rows of which the rule is asked, with low, high and severity as they hold at `start`."""
    held = bounds(registers, rules.filter(pl.col("rule") == rule)).filter("enabled").select(
        "register_key", "low", "high", "severity", "valid_from", "valid_to",
    )
    return rows.join(held, on="register_key").filter(_holds("start")).drop("valid_from", "valid_to")


def _holds(at: str) -> pl.Expr:
    """Whether a row of BALANCE is valid at an instant."""
    begun = pl.col("valid_from").is_null() | (pl.col("valid_from") <= pl.col(at))
    return begun & (pl.col("valid_to").is_null() | (pl.col(at) < pl.col("valid_to")))


def _at_instant(came: pl.DataFrame, registers: pl.DataFrame) -> pl.DataFrame:
    """register_key, read_at, shown (value times multiplier) and step (resolution times multiplier) by the row valid at the instant."""
    rows = registers.select("register_key", "multiplier", "resolution", "valid_from", "valid_to")
    return came.join(rows, on="register_key").filter(_holds("read_at")).select(
        "register_key", "read_at", shown=pl.col("value") * pl.col("multiplier").fill_null(1.0),
        step=pl.when(pl.col("resolution") > 0).then(pl.col("resolution") * pl.col("multiplier").fill_null(1.0)),
    )


def _unit_scales(pairs: pl.DataFrame, registers: pl.DataFrame) -> pl.DataFrame:
    """total_key, part_key, scale: what one unit of the part is in the unit of the total; null where nothing links the two."""
    units = registers.sort("register_key", "valid_from", nulls_last=False).group_by("register_key").agg(pl.col("unit").last())
    both = pairs.select("total_key", "part_key").unique().join(units, left_on="total_key", right_on="register_key", how="left").join(
        units, left_on="part_key", right_on="register_key", how="left", suffix="_part",
    )
    distinct = both.select("unit_part", "unit").unique()
    scales = [1.0 if one == other else factor(one, other) if one and other else None for one, other in distinct.iter_rows()]
    known = distinct.with_columns(scale=pl.Series(scales, dtype=pl.Float64))
    return both.join(known, on=["unit_part", "unit"], nulls_equal=True).drop("unit", "unit_part")
