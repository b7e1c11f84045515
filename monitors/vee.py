"""Validation: what is wrong with a reading.

A verdict names every rule that a reading broke, the interval rules (`monitors.intervals`) that set it aside among them, and every rule
that could not be judged. It is `failed` where a rule is broken, `unknown` where none is broken and one could not be judged, else `passed`.
Rules do not know of each other: each looks at the reading, its register and the readings that count, so switching one off changes
nothing in what another says. The interval rules act always; here they only get a severity.

What each rule asks stands at the head of `monitors.vee_rules`. The rules with a history see it as one row for each day (HISTORY), so that
a day can be judged alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

import polars as pl

from config.schemas import FAILED, HISTORY, READING, READING_VERDICT, SET_ASIDE, VERDICT_COUNT, conform, empty
from monitors.axis import axis_of, position_of
from monitors.local_days import day_of, day_start
from monitors.vee_bounds import SEVERITIES, Dated, bounds, limits_of
from monitors.vee_days import aside_bits, asked_days, chunk_rows, neighbours
from monitors.vee_history import history_of, unchanged, with_past
from monitors.vee_rules import BITS, JUDGED, POINT_RULES, Asked, judgements, register_rows, unit_factors

_ROW: Final = pl.Schema({"row": pl.UInt32(), "broken": pl.Int64(), "unknown": pl.Int64()})  # row: the place among the readings
_FAILED_ROW: Final = pl.Schema({
    "register_key": pl.UInt32(), "day": pl.Date(), **_ROW, "severity": pl.Int8(), "unit_factor": pl.Float64(),
})
_RUN: Final = pl.Schema({"register_key": pl.UInt32(), "day": pl.Date(), "broken": pl.Int64(), "unknown": pl.Int64(), "readings": pl.UInt32()})
_OF_DAY: Final = ("day_profile", "day_steps", "day_different", "past_days", "past_least", "past_greatest", "past_usual", "copied")
_VERDICTS: Final = ("failed", "passed", "unknown")  # in the order of the alphabet, as tables are sorted
_severity_name: Final = pl.col("severity").replace_strict(dict(enumerate(SEVERITIES)), default=None, return_dtype=pl.String())


@dataclass(frozen=True, slots=True)
class Screened:
    """Readings split by the rules on a single reading."""

    passed: pl.DataFrame  # READING, in the order given
    failed: pl.DataFrame  # SET_ASIDE: READING with all rules of POINT_RULES that it broke
    unjudged: pl.DataFrame  # register_key, rule: what could not be asked of (some of) a register's readings


class Found(NamedTuple):
    """What is said of some registers' readings; rules are bits."""

    rows: pl.DataFrame  # _ROW
    failed: pl.DataFrame  # _FAILED_ROW
    runs: pl.DataFrame  # _RUN: neighbours of one day of whom the same is said


@dataclass(frozen=True, slots=True)
class Validated:
    """What the rules say of readings, and what later days will ask of these days."""

    readings: pl.DataFrame  # READING, as given
    found: tuple[Found, ...]
    history: pl.DataFrame  # HISTORY
    zone: str

    @property
    def verdicts(self) -> pl.DataFrame:
        """READING_VERDICT: one for each reading of the days, by register_key, read_at, copy, received_at, message and value."""
        rows, failed = (pl.concat([getattr(one, name) for one in self.found]) for name in ("rows", "failed"))
        rows = rows.join(failed.select("row", "severity", "unit_factor"), on="row", how="left")
        broken, unknown = pl.col("broken"), pl.col("unknown")
        verdict = pl.when(broken > 0).then(pl.lit("failed")).when(unknown > 0).then(pl.lit("unknown")).otherwise(pl.lit("passed"))
        said = rows.select(verdict=verdict, severity=_severity_name, unit_factor="unit_factor")
        verdicts = self.readings[rows["row"]].select(READING.names()).hstack(said).with_columns(
            broken_rules=_named(rows["broken"]), unknown_rules=_named(rows["unknown"]),
        )
        return conform(verdicts, READING_VERDICT).sort("register_key", "read_at", "copy", "received_at", "message", "value", nulls_last=True)

    @property
    def failed(self) -> pl.DataFrame:
        """FAILED: the readings that broke a rule."""
        rows = pl.concat([one.failed for one in self.found])
        names = {name: _named(rows[bits]).list.join(" ") for name, bits in (("broken_rules", "broken"), ("unknown_rules", "unknown"))}
        shown = self.readings[rows["row"]].select("copy", "value", start="read_at")
        return conform(rows.with_columns(**names, severity=_severity_name).hstack(shown), FAILED)

    @property
    def counts(self) -> pl.DataFrame:
        """VERDICT_COUNT: by register and local day, how many readings broke each rule or could not be judged by it; rule null: by their verdict."""
        runs = pl.concat([one.runs for one in self.found])
        names = sorted(BITS)
        failed, unclear = pl.col("broken") > 0, pl.col("unknown") > 0
        said = {"failed": failed, "unknown": ~failed & unclear, "passed": ~failed & ~unclear}
        parts = [runs.filter(those).with_columns(rule=len(names), verdict=_VERDICTS.index(verdict)) for verdict, those in said.items()]
        for verdict, column in (("failed", "broken"), ("unknown", "unknown")):
            masks = runs[column].unique()
            for place, name in enumerate(names):
                if (masks & BITS[name] > 0).any():
                    those = runs.filter(pl.col(column) & BITS[name] > 0)
                    parts.append(those.with_columns(rule=place, verdict=_VERDICTS.index(verdict)))
        by = ("register_key", "day", "rule", "verdict")
        rows = pl.concat(part.select(*by, "readings") for part in parts)
        key, day = pl.col("register_key").cast(pl.Int64), pl.col("day").to_physical().cast(pl.Int64)
        packed = ((key * 2**22 + day + 2**21) * 32 + pl.col("rule")) * 4 + pl.col("verdict")
        found = rows.group_by(packed.alias("packed")).agg(pl.col("readings").sum()).sort("packed")
        packed, rest = pl.col("packed"), pl.col("packed") // 128
        days = runs["day"].unique()
        starts, ends = (pl.select(day_start(pl.lit(days) + timedelta(days=ahead), self.zone)).to_series() for ahead in (0, 1))
        return conform(found.select(
            "readings", register_key=rest // 2**22, day=(rest % 2**22 - 2**21).cast(pl.Int32).cast(pl.Date),
            rule=pl.lit(pl.Series([*names, None])).gather(packed // 4 % 32), verdict=pl.lit(pl.Series(_VERDICTS)).gather(packed % 4),
        ).join(pl.DataFrame({"day": days, "start": starts, "end": ends}), on="day", how="left", maintain_order="left"), VERDICT_COUNT)


def screened(readings: pl.DataFrame, registers: pl.DataFrame, rules: pl.DataFrame) -> Screened:
    """Split readings by the rules that look at nothing but the reading and its register (POINT_RULES).

    Args:
        readings: READING, in any order; none may be of a register without a row.
        registers: REGISTER.
        rules: VEE_RULE.
    """
    if readings.is_empty() or registers.is_empty():
        return Screened(readings, empty(SET_ASIDE), pl.DataFrame(schema={"register_key": pl.UInt32(), "rule": pl.String()}))
    keys = registers["register_key"].unique().sort()
    position = position_of(readings["register_key"], keys)
    known = position.is_not_null()
    if not known.all():
        inside = screened(readings.filter(known), registers, rules)
        strange = readings.filter(~known).with_columns(broken_rules=pl.lit(["no_register_row"], pl.List(pl.String())))
        return Screened(inside.passed, pl.concat([inside.failed, conform(strange, SET_ASIDE)]), inside.unjudged)
    asked = Asked(
        pl.DataFrame({
            "position": position, "at": readings["read_at"].to_physical(), "v": readings["value"],
            "received_us": readings["received_at"].to_physical(),
        }),
        register_rows(registers, keys), limits_of(bounds(registers, rules), keys),
    )
    judged = judgements(asked, POINT_RULES)
    broken = {name: one.broken for name, one in judged.items() if one.broken is not None}
    table = asked.table()
    failed = table.select(pl.any_horizontal(pl.repeat(False, pl.len(), dtype=pl.Boolean), *broken.values())).to_series()
    unknown = {name: one.unknown for name, one in judged.items() if one.unknown is not None}
    nobody = pl.DataFrame(schema={"register_key": pl.UInt32(), "rule": pl.String()})
    unjudged = pl.concat([nobody, *(
        pl.DataFrame({"register_key": keys.gather(_where(table, test))}).with_columns(rule=pl.lit(name)) for name, test in unknown.items()
    )]).sort("register_key", "rule")
    if not failed.any():
        return Screened(readings, empty(SET_ASIDE), unjudged)
    named = table.filter(failed).select(
        pl.concat_list([pl.when(test).then(pl.lit(name)) for name, test in broken.items()]).list.drop_nulls().alias("broken_rules"),
    )
    return Screened(readings.filter(~failed), readings.filter(failed).select(READING.names()).hstack(named), unjudged)


def _where(table: pl.DataFrame, test: pl.Expr) -> pl.Series:
    """The positions of which a test is true somewhere."""
    hit = table.select(test.alias("hit")).to_series()
    if len(hit) == 1 and hit[0]:  # a rule that cannot be asked of any
        return table["position"].unique()
    return table["position"].filter(hit).unique() if hit.any() else table["position"].clear()


def validated(
    readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, rules: pl.DataFrame, set_aside: pl.DataFrame, before: pl.DataFrame,
    days: pl.DataFrame | None = None, *, zone: str,
) -> Validated:
    """Judge readings by all rules.

    Args:
        readings: READING, in any order (sorted ones are judged quicker), all copies.
        registers: REGISTER, as for `monitors.intervals.counted`.
        events: EVENT.
        rules: VEE_RULE.
        set_aside: SET_ASIDE, what the interval rules do not count of these readings.
        before: HISTORY of earlier days; the LOOK_BACK days before each judged one are looked at.
        days: register_key, day: what is judged. Their readings must all be there, and those of a counted reading on either side. None: all.
        zone: the place whose days are meant.
    """
    keys = registers["register_key"].unique().sort()
    position = position_of(readings["register_key"], keys)
    judged, histories = [_strangers(readings, position.is_null().arg_true(), days, zone)], [empty(HISTORY)]
    known = readings if not position.has_nulls() else readings.filter(position.is_not_null())
    if known.height:
        aside, axis = aside_bits(readings, set_aside), axis_of(known, registers, events, keys, zone)
        own, limits = register_rows(registers, keys), limits_of(bounds(registers, rules), keys)
        for rows in chunk_rows(position, len(keys), axis):
            asked, of_day = neighbours(readings, rows, position, aside, axis, registers, own, events, days)
            history = history_of(asked, of_day)
            histories.append(history)
            judged.append(_verdicts(asked, with_past(of_day, history, before), limits))
    return Validated(readings, tuple(judged), pl.concat(histories).sort("register_key", "day"), zone)


def _strangers(readings: pl.DataFrame, rows: pl.Series, days: pl.DataFrame | None, zone: str) -> Found:
    """Readings of registers without any row: nothing else can be said of them."""
    those = readings[rows.cast(pl.UInt32)].select("register_key", row=rows.cast(pl.UInt32), day=day_of("read_at", zone))
    those = those.filter(asked_days(those, days)).with_columns(
        broken=pl.lit(BITS["no_register_row"], pl.Int64), unknown=pl.lit(0, pl.Int64), severity=pl.lit(len(SEVERITIES) - 1),
    )
    return Found(conform(those, _ROW), conform(those, _FAILED_ROW), conform(those.with_columns(readings=pl.lit(1)), _RUN))


def _verdicts(asked: Asked, of_day: pl.DataFrame, limits: Mapping[str, Dated]) -> Found:
    """What the rules say of the readings of some days (as `with_past` gives them)."""
    part, group = asked.frame, asked.frame["group"]
    asked = asked.with_limits(part.with_columns(
        *(of_day[name].gather(group).alias(name) for name in _OF_DAY), *unchanged(part, of_day),
    ), limits)
    asked.frame = asked.frame.with_columns(unit_factors(asked).alias("unit_factor"))
    found = judgements(asked, JUDGED)
    said = {"broken": {name: one.broken for name, one in found.items()}, "unknown": {name: one.unknown for name, one in found.items()}}
    tests = {f"{name}.{what}": test for what, tests in said.items() for name, test in tests.items() if test is not None}
    answers = asked.table().select("aside", **tests)
    bits = {}
    for what in said:
        here = {name: answers[f"{name}.{what}"] for name in said[what] if f"{name}.{what}" in tests}
        always = sum(BITS[name] for name, answer in here.items() if answer.all())
        some = [pl.lit(answer).cast(pl.Int64) * BITS[name] for name, answer in here.items() if answer.any() and not answer.all()]
        bits[what] = pl.sum_horizontal(pl.lit(always, pl.Int64), *some)
    # A rule that the interval rules have too counts once.
    rows = answers.select("aside", **bits).select(broken=pl.col("broken") | pl.col("aside"), unknown="unknown")
    rows = rows.select(row=part["row"], group=group, broken="broken", unknown=pl.col("unknown") & ~pl.col("broken"))
    new = pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in ("group", "broken", "unknown")).fill_null(value=True)
    begin = rows.select(new).to_series().arg_true().cast(pl.Int64)
    runs = rows.select(pl.col("group", "broken", "unknown").gather(begin), readings=begin.shift(-1, fill_value=rows.height) - begin)
    at = (rows["broken"] > 0).arg_true()
    factor = pl.when(pl.col("broken") & BITS["unit_scale"] > 0).then(asked.frame["unit_factor"].gather(at))
    failed = rows[at].with_columns(severity=_severities(at, rows["broken"].gather(at), asked), unit_factor=factor)
    names = of_day.filter("asked").select("group", "register_key", "day")
    runs, failed = (some.join(names, on="group", maintain_order="left") for some in (runs, failed))
    mine = rows if of_day["asked"].all() else rows.filter(of_day["asked"].gather(group))
    return Found(conform(mine, _ROW), conform(failed, _FAILED_ROW), conform(runs, _RUN))


def _severities(rows: pl.Series, broken: pl.Series, asked: Asked) -> pl.Series:
    """The worst severity (its place) of the rules that some readings broke, by their bits."""
    position, at = (asked.frame[name].gather(rows) for name in ("position", "at"))
    found = pl.repeat(-1, len(rows), dtype=pl.Int8, eager=True)
    for name, bit in BITS.items():
        hit = broken // bit % 2 == 1
        if hit.any():
            own = pl.repeat(len(SEVERITIES) - 1, len(rows), dtype=pl.Int8, eager=True)  # of a rule without a row
            if name in asked.limits:
                dated = asked.limits[name]
                own = dated.rows["severity"].gather(dated.at(position, at)).fill_null(len(SEVERITIES) - 1)
            found = pl.select(pl.max_horizontal(found, own.set(~hit, -1))).to_series()
    return found


def _named(bits: pl.Series) -> pl.Series:
    """The names of the rules whose bits are set."""
    distinct = bits.unique().sort()
    names = pl.Series([[name for name, bit in BITS.items() if int(mask) & bit] for mask in distinct], dtype=pl.List(pl.String()))
    return names.gather(distinct.search_sorted(bits))
