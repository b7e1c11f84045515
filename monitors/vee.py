"""Validation: what is wrong with a reading.

A verdict names every rule that a reading broke, the interval rules (`monitors.intervals`) that set it aside among them, and every rule
that could not be judged. It is `failed` where a rule is broken, `unknown` where none is broken and one could not be judged, else `passed`.
Rules do not know of each other: each looks at the reading, its register and the readings that count, so switching one off changes
nothing in what another says. The interval rules act always; here they only get a severity.

What each rule asks, with `low` and `high` its bounds (`config.tables.vee_rules`, and the sheet `rule` of the register):

- `range`: the value lies within low .. high, or else the register's range_low .. range_high, and below the modulus. Reach 0.
- `resolution`: the value is a multiple of the declared resolution. Reach 0.
- `negative`: not below 0, unless the register is net or shows a state (temperature, pressure). Reach 0.
- `future`: read at most `high` seconds after it was received. `clock_drift`: received `low` .. `high` seconds after it was read. Reach 0.
- `rating`: at most `high` times max_rate_per_h since the last counted reading; of an interval register within its interval, taken as
  the shorter of the spacings before and after it; of a rate register by its value. Reach 1 counted reading.
- `step_back`: a cumulative register that is not net is not below the last counted reading, unless an event lies between or the declared
  modulus explains it as in rule 4b of the intervals. Reach 1 counted reading.
- `frozen`: the last change is less than `high` hours or `low` counted readings ago. One that did not change within LOOK_BACK stands
  still, and 0 of an interval or rate register is rest. Reach LOOK_BACK.
- `copied_pattern`: the steps of the local day, minute by minute, are not those of an earlier day; asked of days with at least `low`
  steps, `high` of them different. Reach LOOK_BACK, and the whole day.
- `jump`: where no rating is declared, a step at most `high` times the greatest of its history; asked from `low` days of history on. Reach LOOK_BACK.
  What was caught up for after a gap (longer than an hour and than 1.5 times the usual step of the day) is none of the greatest.
- `unit_scale`: not a value beyond `high` times the range of its history that lies within it when divided by one of FACTORS. The history
  of a cumulative register is its last counted value and its greatest step. Asked from `low` days of history on. Reach LOOK_BACK.

The rules with a history see it as one row for each day (HISTORY), so that a day can be judged alone.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Final, NamedTuple, cast

import polars as pl

from config.schemas import BOUND, EVENT, FAILED, HISTORY, INSTANT, READING, READING_VERDICT, REGISTER, SET_ASIDE, VERDICT_COUNT, conform, empty
from monitors.axis import Axis, Slots, axis_of, position_of
from monitors.intervals import USUAL_TOLERANCE

LOOK_BACK: Final = 7  # days of history
FACTORS: Final = (1000.0, 100.0, 10.0, 3.6, 1 / 3.6, 0.1, 0.01, 0.001)
SEVERITIES: Final = ("info", "warning", "error")
INTERVAL_RULES: Final = (  # names that the interval rules, formulas and edits give
    "not_finite", "no_register_row", "outside_range", "marked_bad", "negative", "duplicate", "conflicting_copy", "transient", "spike",
    "length_unknown", "edited", "not_steam", "impossible_state",
)
POINT_RULES: Final = ("not_finite", "range", "resolution", "negative", "future", "clock_drift")
STEP_RULES: Final = ("rating", "step_back", "frozen", "copied_pattern", "jump", "unit_scale")
RULES: Final = tuple(dict.fromkeys((*POINT_RULES, *STEP_RULES, *INTERVAL_RULES)))  # of readings; the place of a rule is its bit
CHUNK_READINGS: Final = 1_000_000
_HOUR_US: Final = 3_600_000_000
_NEVER: Final = 2**62
_CUMULATIVE, _INTERVAL, _RATE, _OTHER = 0, 1, 2, 3
_KINDS: Final = {"cumulative": _CUMULATIVE, "interval": _INTERVAL, "rate": _RATE}
_BREAKS: Final = ("change", "reset", "rollover")  # events across which a step says nothing
_BITS: Final = {name: 1 << place for place, name in enumerate(RULES)}
_ROW: Final = pl.Schema({"row": pl.UInt32(), "broken": pl.Int64(), "unknown": pl.Int64()})  # row: the place among the readings
_FAILED_ROW: Final = pl.Schema({
    "register_key": pl.UInt32(), "day": pl.Date(), **_ROW, "severity": pl.Int8(), "unit_factor": pl.Float64(),
})
_RUN: Final = pl.Schema({"register_key": pl.UInt32(), "day": pl.Date(), "broken": pl.Int64(), "unknown": pl.Int64(), "readings": pl.UInt32()})
_PAST: Final = ("past_days", "past_least", "past_greatest", "past_usual", "past_changed_us", "past_unchanged", "copied")
_NOT_OF_CUMULATIVE: Final = ("past_least", "past_usual")  # nothing is asked of them for cumulative registers
_OF_DAY: Final = ("day_profile", "day_steps", "day_different", "past_days", "past_least", "past_greatest", "past_usual", "copied")
_VERDICTS: Final = ("failed", "passed", "unknown")  # in the order of the alphabet, as tables are sorted
_JUDGED: Final = (*POINT_RULES, *STEP_RULES)
_severity_name: Final = pl.col("severity").replace_strict(dict(enumerate(SEVERITIES)), default=None, return_dtype=pl.String())
_SEVERITY: Final = pl.col("severity").replace_strict({name: place for place, name in enumerate(SEVERITIES)}, default=None, return_dtype=pl.Int8)
_PARTICULAR: Final = {"register": 16, "meter": 8, "enterprise": 4, "medium": 2, "kind": 1}  # what makes a rule's row come before another
_STEP_ROUNDING: Final = 1e-6  # of a step of resolution: what floating point may add
_FLOAT_ROUNDING: Final = 1e-15
_RATE_ROUNDING: Final = 1e-9
_SCALE_ROUNDING: Final = 1e-6
_PROFILE_STEP: Final = 1e-6  # steps of a register without resolution are compared to this
_PRIME: Final = 2**31 - 1
_v, _at, _kind, _per_h, _position = pl.col("v"), pl.col("at"), pl.col("kind"), pl.col("per_h"), pl.col("position")
_used = _kind != _OTHER  # consumption follows from it: not what a temperature or pressure is
_late, _none_before = pl.col("received_us") - _at, pl.col("prev_v").is_null()


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
        names = sorted(_BITS)
        failed, unclear = pl.col("broken") > 0, pl.col("unknown") > 0
        said = {"failed": failed, "unknown": ~failed & unclear, "passed": ~failed & ~unclear}
        parts = [runs.filter(those).with_columns(rule=len(names), verdict=_VERDICTS.index(verdict)) for verdict, those in said.items()]
        for verdict, column in (("failed", "broken"), ("unknown", "unknown")):
            masks = runs[column].unique()
            for place, name in enumerate(names):
                if (masks & _BITS[name] > 0).any():
                    those = runs.filter(pl.col(column) & _BITS[name] > 0)
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


# --- bounds -----------------------------------------------------------------------------------------------------------

def bounds(registers: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Which bound of each rule holds for each register, and when.

    Each of low, high, severity and enabled is taken from the most particular row that is valid and gives it: the register's own, the
    meter's, the enterprise's, then those without an enterprise, the ones of a medium or kind first. A rule without any row is not asked.

    Args:
        registers: REGISTER.
        rules: VEE_RULE.

    Returns:
        BOUND, by register_key, rule and valid_from.
    """
    who = registers.sort("register_key", "valid_from", nulls_last=False).unique("register_key", keep="last", maintain_order=True).select(
        "register_key", "enterprise", "meter", "register", "medium", "kind",
    )
    chosen = ["medium", "kind"]
    rules = rules.with_columns(rank=pl.sum_horizontal(pl.col(name).is_not_null().cast(pl.Int32) * weight for name, weight in _PARTICULAR.items()))
    shared, own = rules.filter(pl.col("enterprise").is_null()), rules.filter(pl.col("enterprise").is_not_null())
    named = who.join(own, on="enterprise", suffix="_of").filter(_either("meter"), _either("register"))
    those = pl.col("register_key").is_in(named["register_key"].unique().implode())
    general = who.filter(those).join(shared.drop("enterprise"), how="cross", suffix="_of")
    particular = _resolved(pl.concat([named, general], how="diagonal"), ["register_key"])
    classes = _resolved(who.filter(~those).select(chosen).unique().join(shared.drop("enterprise"), how="cross", suffix="_of"), chosen)
    plain = who.filter(~those).select("register_key", *chosen).join(classes, on=chosen, nulls_equal=True)
    return pl.concat([conform(plain, BOUND), conform(particular, BOUND)]).sort("register_key", "rule", "valid_from", nulls_last=False)


def _either(column: str) -> pl.Expr:
    """A rule's row names this, or leaves it open."""
    return pl.col(f"{column}_of").is_null() | (pl.col(f"{column}_of") == pl.col(column)).fill_null(False)


def _resolved(candidates: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """by, rule, low, high, severity, enabled, valid_from, valid_to: in each span the most particular of the rows that are valid in it."""
    given = ["low", "high", "severity", "enabled"]
    rows = candidates.filter(_either("medium"), _either("kind")).select(
        *by, "rule", *given, "rank", a=pl.col("valid_from").to_physical().fill_null(-_NEVER), b=pl.col("valid_to").to_physical().fill_null(_NEVER),
    ).sort("rank", "a", descending=True)
    on = [*by, "rule"]
    starts = pl.concat([rows.select(*on, at="a"), rows.select(*on, at="b"), rows.select(*on, at=pl.lit(-_NEVER, pl.Int64))]).unique()
    starts = starts.filter(pl.col("at") < _NEVER).sort(*on, "at").with_columns(until=pl.col("at").shift(-1).over(on))
    valid = starts.join(rows, on=on, nulls_equal=True).filter(pl.col("a") <= pl.col("at"), pl.col("at") < pl.col("b"))
    spans = valid.sort("rank", "a", descending=True).group_by(*on, "at").agg(pl.col(name).drop_nulls().first() for name in given)
    held = starts.join(spans, on=[*on, "at"], how="left", nulls_equal=True)
    asked = pl.col("enabled").fill_null(True) & pl.col("severity").is_not_null()  # no row is valid: not asked
    return held.with_columns(
        enabled=asked, valid_from=_instant_of(pl.when(pl.col("at") > -_NEVER).then("at")), valid_to=_instant_of(pl.col("until")),
    )


def _instant_of(us: pl.Expr) -> pl.Expr:
    return us.cast(pl.Datetime("us", "UTC"))


# --- what a rule may ask ----------------------------------------------------------------------------------------------

class _Dated:
    """Rows with dates of some registers; which row holds for a reading is found without a join."""

    def __init__(self, rows: pl.DataFrame, registers: int) -> None:
        """`rows`: position, from_us (null: always) and attributes; each position has one at least."""
        place = pl.int_range(registers, eager=True)
        if rows["position"].equals(place):  # one for each, in order
            self.rows, self._first, self._count, self._several = rows, place, place, 1
            return
        self.rows = rows.sort("position", "from_us", nulls_last=False)
        self._first = self.rows["position"].search_sorted(place, side="left").cast(pl.Int64)
        self._count = self.rows["position"].search_sorted(place, side="right").cast(pl.Int64) - self._first
        self._several = max([1, *self._count.unique().to_list()])

    def at(self, position: pl.Series, at: pl.Series) -> pl.Series:
        """The number of the row that holds for each reading: the last that has begun, else the first."""
        row = self._first.gather(position) if self._several > 1 else position
        for nth in range(1, self._several):
            begins = self.rows["from_us"].gather((self._first + nth).clip(0, self.rows.height - 1)).zip_with(
                self._count > nth, pl.repeat(_NEVER, len(self._count), dtype=pl.Int64, eager=True),
            )
            row = row + (at >= begins.gather(position)).cast(pl.Int64)
        return row


class _Asked:
    """Columns that the rules look at: those of the readings, and of bounds and registers only what differs between registers."""

    def __init__(self, frame: pl.DataFrame, registers: _Dated, limits: Mapping[str, _Dated]) -> None:
        """`frame`: position, at (us), v and whatever else a rule names."""
        self.frame, self._registers, self.limits = frame, registers, limits
        self._rows: dict[str, pl.Series] = {}
        self._columns: dict[str, pl.Series] = {}

    def own(self, name: str) -> pl.Expr | None:
        """An attribute of the register; None where no register has it."""
        return self._value("register", self._registers, name)

    def bound(self, rule: str, name: str) -> pl.Expr | None:
        return self._value(rule, self.limits[rule], name)

    def enabled(self, rule: str) -> bool:
        """Whether the rule is asked of any register."""
        return rule in self.limits and bool(self.limits[rule].rows["enabled"].any())

    def with_limits(self, frame: pl.DataFrame, limits: Mapping[str, _Dated]) -> "_Asked":
        """The same registers, of which more can be asked."""
        return _Asked(frame, self._registers, limits)

    def table(self) -> pl.DataFrame:
        """The frame with the columns that were asked for."""
        return self.frame.with_columns(values.alias(name) for name, values in self._columns.items())

    def _value(self, name: str, dated: _Dated, attribute: str) -> pl.Expr | None:
        values = dated.rows[attribute]
        if values.null_count() == len(values):
            return None
        if values.null_count() == 0 and values.n_unique() == 1:
            return pl.lit(values[0], dtype=values.dtype)
        column = f"{name}.{attribute}"
        if column not in self._columns and column not in self.frame.columns:
            if name not in self._rows:
                self._rows[name] = dated.at(self.frame["position"], self.frame["at"])
            self._columns[column] = values.gather(self._rows[name])
        return pl.col(column)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Of each rule whether a reading broke it, and whether that could not be told; None where no register can give that."""

    broken: pl.Expr | None
    unknown: pl.Expr | None


_ALWAYS: Final = pl.lit(value=True)


def _range(asked: _Asked) -> _Judged:
    low, high = (_first(asked.bound("range", bound), asked.own(f"range_{bound}")) for bound in ("low", "high"))
    modulus = asked.own("modulus")
    none = [bound.is_null() for bound in (low, high, modulus) if bound is not None]
    return _Judged(_any((low, _v.lt), (high, _v.gt), (modulus, _v.ge)), pl.all_horizontal(none) if none else _ALWAYS)


def _resolution(asked: _Asked) -> _Judged:
    step = asked.own("resolution")
    if step is None:
        return _Judged(None, _ALWAYS)
    in_steps = _v / step
    return _Judged((in_steps - in_steps.round()).abs() > _STEP_ROUNDING + in_steps.abs() * _FLOAT_ROUNDING, step.is_null())


def _negative(asked: _Asked) -> _Judged:
    net, kind = asked.own("net"), asked.own("kind")
    assert net is not None and kind is not None  # noqa: PT018 - filled where they are read
    return _Judged((_v < 0) & ~net & (kind != _OTHER), None)


def _future(asked: _Asked) -> _Judged:
    return _Judged(_any((asked.bound("future", "high"), lambda high: _late < -high * 1e6)), pl.col("received_us").is_null())


def _clock_drift(asked: _Asked) -> _Judged:
    low, high = (asked.bound("clock_drift", bound) for bound in ("low", "high"))
    return _Judged(_any((low, lambda low: _late < low * 1e6), (high, lambda high: _late > high * 1e6)), pl.col("received_us").is_null())


def _rating(asked: _Asked) -> _Judged:
    rate, times = asked.own("max_rate_per_h"), asked.bound("rating", "high")
    if rate is None or times is None:
        return _Judged(None, _used)
    unknown = rate.is_null() | times.is_null() | _per_h.is_null()
    return _Judged(_per_h.abs() > rate * times * (1 + _RATE_ROUNDING), _used & unknown)


def _step_back(_: _Asked) -> _Judged:
    return _Judged(pl.col("fell"), _none_before)


def _frozen(asked: _Asked) -> _Judged:
    hours, readings = asked.bound("frozen", "high"), asked.bound("frozen", "low")
    since, count = _at - pl.col("changed_us"), pl.col("unchanged")
    long = since >= (24.0 if hours is None else hours) * _HOUR_US
    if readings is not None:
        long &= count >= readings.fill_null(0)
    return _Judged(pl.col("still") & long, pl.col("still") & pl.col("changed_us").is_null() & pl.col("past_days").is_null())


def _copied_pattern(asked: _Asked) -> _Judged:
    steps, different = asked.bound("copied_pattern", "low"), asked.bound("copied_pattern", "high")
    enough = pl.col("day_profile").is_not_null()
    for least, found in ((steps, pl.col("day_steps")), (different, pl.col("day_different"))):
        if least is not None:
            enough &= (found >= least).fill_null(True)
    unknown = ~enough | pl.col("past_days").is_null()
    return _Judged(pl.col("counted") & enough & pl.col("copied"), pl.col("counted") & unknown)


def _jump(asked: _Asked) -> _Judged:
    rate, times = asked.own("max_rate_per_h"), asked.bound("jump", "high")
    asks = _used if rate is None else _used & rate.is_null()
    if times is None:
        return _Judged(None, asks)
    known = _enough_history(asked, "jump") & pl.col("past_greatest").is_not_null() & _per_h.is_not_null() & times.is_not_null()
    return _Judged(asks & known & (_per_h.abs() > times * pl.col("past_greatest")), asks & ~known)


def _unit_scale(asked: _Asked) -> _Judged:
    known = _enough_history(asked, "unit_scale") & pl.col("past_greatest").is_not_null() & ~((_kind == _CUMULATIVE) & _none_before)
    return _Judged(known & pl.col("unit_factor").is_not_null(), _used & ~known)


def _enough_history(asked: _Asked, rule: str) -> pl.Expr:
    least = asked.bound(rule, "low")
    return (pl.col("past_days") >= (1.0 if least is None else least.fill_null(1.0))).fill_null(False)


_JUDGES: Final[Mapping[str, Callable[[_Asked], _Judged]]] = {
    "not_finite": lambda _: _Judged(~_v.is_finite().fill_null(False), None), "range": _range, "resolution": _resolution, "negative": _negative,
    "future": _future, "clock_drift": _clock_drift, "rating": _rating, "step_back": _step_back, "frozen": _frozen,
    "copied_pattern": _copied_pattern, "jump": _jump, "unit_scale": _unit_scale,
}


def _first(*choices: pl.Expr | None) -> pl.Expr | None:
    given = [choice for choice in choices if choice is not None]
    return pl.coalesce(given) if len(given) > 1 else given[0] if given else None


def _any(*tests: tuple[pl.Expr | None, Callable[[pl.Expr], pl.Expr]]) -> pl.Expr | None:
    """Whether one of some tests says so, each of a bound, where there is one."""
    said = [test(bound) for bound, test in tests if bound is not None]
    return pl.any_horizontal(said) if said else None


def _judgements(asked: _Asked, names: tuple[str, ...]) -> dict[str, _Judged]:
    """What the rules that are asked of some register say, each only where it is asked."""
    found = {}
    for name in names:
        if asked.enabled(name):
            judged, enabled = _JUDGES[name](asked), asked.bound(name, "enabled")
            assert enabled is not None
            broken = None if judged.broken is None else (judged.broken & enabled).fill_null(False)
            unknown = None if judged.unknown is None else (judged.unknown & enabled).fill_null(False)
            found[name] = _Judged(broken, unknown)
    return found


# --- one reading by itself --------------------------------------------------------------------------------------------

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
    asked = _Asked(
        pl.DataFrame({
            "position": position, "at": readings["read_at"].to_physical(), "v": readings["value"],
            "received_us": readings["received_at"].to_physical(),
        }),
        _register_rows(registers, keys), _limits(bounds(registers, rules), keys),
    )
    judged = _judgements(asked, POINT_RULES)
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


def _register_rows(registers: pl.DataFrame, keys: pl.Series) -> _Dated:
    rows = registers.with_columns(position=position_of(registers["register_key"], keys)).select(
        "position", "range_low", "range_high", "modulus", "max_rate_per_h", pl.col("net").fill_null(False),
        from_us=pl.col("valid_from").to_physical(), resolution=pl.when(pl.col("resolution") > 0).then("resolution"),
        kind=pl.col("kind").sort_by("valid_from", nulls_last=False).last().over("position").replace_strict(
            _KINDS, default=_OTHER, return_dtype=pl.Int8,
        ),
    )
    return _Dated(rows, len(keys))


def _limits(held: pl.DataFrame, keys: pl.Series) -> dict[str, _Dated]:
    """The bounds of each rule that has any, with a row for every register: one without a bound is not asked."""
    all_of = pl.DataFrame({"position": pl.int_range(len(keys), eager=True)})
    rows = held.select(
        "rule", "low", "high", "enabled", severity=_SEVERITY, from_us=pl.col("valid_from").to_physical(),
        position=position_of(held["register_key"], keys),
    ).drop_nulls("position")
    found = {}
    for (name,), of_rule in rows.partition_by("rule", as_dict=True, include_key=False).items():
        if not of_rule["position"].equals(all_of["position"]):
            of_rule = all_of.join(of_rule, on="position", how="left").with_columns(pl.col("enabled").fill_null(False))  # noqa: PLW2901 - made whole
        found[str(name)] = _Dated(of_rule, len(keys))
    return found


# --- readings beside each other ---------------------------------------------------------------------------------------

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
        aside, axis = _aside_bits(readings, set_aside), axis_of(known, registers, events, keys, zone)
        own, limits = _register_rows(registers, keys), _limits(bounds(registers, rules), keys)
        for rows in _chunks(position, len(keys), axis):
            asked, of_day = _part(readings, rows, position, aside, axis, registers, own, events, days)
            history = _history(asked, of_day)
            histories.append(history)
            judged.append(_verdicts(asked, _past(of_day, history, before), limits))
    return Validated(readings, tuple(judged), pl.concat(histories).sort("register_key", "day"), zone)


def _asked_days(of_day: pl.DataFrame, days: pl.DataFrame | None) -> pl.Series:
    """Of each day (register_key, day) whether it is among those to be judged."""
    if days is None:
        return pl.repeat(True, of_day.height, dtype=pl.Boolean, eager=True).alias("asked")
    wanted = days.select("register_key", "day", asked=pl.lit(value=True)).unique()
    return of_day.join(wanted, on=["register_key", "day"], how="left", maintain_order="left")["asked"].fill_null(value=False)


def _aside_bits(readings: pl.DataFrame, set_aside: pl.DataFrame) -> pl.Series:
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
    bit = pl.col("broken_rules").replace_strict(_BITS, return_dtype=pl.Int64)
    each = found.with_columns(bit=bit).group_by("row").agg(pl.col("bit").unique().sum())
    return bits.scatter(each["row"], each["bit"])


def _strangers(readings: pl.DataFrame, rows: pl.Series, days: pl.DataFrame | None, zone: str) -> Found:
    """Readings of registers without any row: nothing else can be said of them."""
    those = readings[rows.cast(pl.UInt32)].select("register_key", row=rows.cast(pl.UInt32), day=day_of("read_at", zone))
    those = those.filter(_asked_days(those, days)).with_columns(
        broken=pl.lit(_BITS["no_register_row"], pl.Int64), unknown=pl.lit(0, pl.Int64), severity=pl.lit(len(SEVERITIES) - 1),
    )
    return Found(conform(those, _ROW), conform(those, _FAILED_ROW), conform(those.with_columns(readings=pl.lit(1)), _RUN))


def _chunks(position: pl.Series, registers: int, axis: Axis) -> Iterator[pl.Series | None]:
    """The rows of the readings of some registers, a bounded number that fits on the axis; None: all rows."""
    widest = _NEVER // axis.span
    if len(position) <= CHUNK_READINGS and registers <= widest and not position.has_nulls():
        yield None
        return
    counts = pl.DataFrame({"position": position}).drop_nulls().group_by("position").len().sort("position")
    cuts, held = [0], 0
    for place, count in counts.iter_rows():
        if place > cuts[-1] and (held + count > CHUNK_READINGS or place - cuts[-1] >= widest):
            cuts.append(place)
            held = 0
        held += count
    for first, last in pairwise([*cuts, registers]):
        rows = position.is_between(first, last - 1).fill_null(value=False).arg_true()
        if len(rows):
            yield rows


def _part(
    readings: pl.DataFrame, rows: pl.Series | None, position: pl.Series, aside: pl.Series, axis: Axis, registers: pl.DataFrame, own: _Dated,
    events: pl.DataFrame, days: pl.DataFrame | None,
) -> tuple[_Asked, pl.DataFrame]:
    """The readings of some registers in order, each with its last counted one before and its consumption by the hour; and their local days.

    Returns:
        What rules can be asked of: row (of the readings), group (its day, by order), position, at, v, received_us, aside, counted, prev_v,
        prev_at, since, step, fell, per_h, moved, ...; and of each day group, register_key, position, day, start (us), begin (the place of
        its first reading) and asked (whether it is judged).
    """
    frame, of_day = _by_day(readings, rows, position, aside, axis)
    of_day = of_day.with_columns(_asked_days(of_day, days))
    frame, of_day = _needed(frame, of_day)
    last = {name: _last_of(name, all_count=bool(frame["counted"].all())) for name in ("position", "at", "v")}
    frame = frame.with_columns(pl.when(last["position"] == _position).then(last[name]).alias(f"prev_{name}") for name in ("at", "v"))
    asked = _Asked(frame, own, {})
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
        position, aside = position_of(readings["register_key"], keys), _aside_bits(readings, set_aside)
        axis = axis_of(readings, empty(REGISTER), empty(EVENT), keys, zone)
        for rows in _chunks(position, len(keys), axis):
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


def _with_falls(asked: _Asked) -> pl.DataFrame:
    """The frame with `step` across wraps, and `fell` where a register stepped back."""
    frame = asked.frame
    down = frame.select((_v < pl.col("prev_v")).fill_null(value=False) & (_kind == _CUMULATIVE)).to_series().arg_true()
    if not len(down):
        return frame
    modulus, rate, net = (pl.lit(None, dtype) if (own := asked.own(name)) is None else own for name, dtype in (
        ("modulus", pl.Float64()), ("max_rate_per_h", pl.Float64()), ("net", pl.Boolean()),
    ))
    across = _v - pl.col("prev_v") + modulus
    wraps = pl.when(rate.is_not_null()).then(
        across * pl.col("multiplier") <= rate * (pl.col("since") / _HOUR_US) * (1 + _RATE_ROUNDING),
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
        _CUMULATIVE: pl.when((since > 0) & ~turned & ~pl.col("fell")).then(pl.col("step") * multiplier / (since / _HOUR_US)),
        _INTERVAL: pl.when(length > 0).then(_v * multiplier * _HOUR_US / length),
        _RATE: _v * multiplier,
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
    dated = _Dated(both.with_columns(position=position_of(both["register_key"], keys)), len(keys))
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


def _history(asked: _Asked, of_day: pl.DataFrame) -> pl.DataFrame:
    """HISTORY of the days that are asked for."""
    part, cumulative, counted, size = asked.frame, _kind == _CUMULATIVE, pl.col("counted"), pl.col("per_h").abs()
    start = of_day["start"].gather(part["group"])
    inside = counted & (~cumulative | ((pl.col("prev_at") >= start) & pl.col("step").is_not_null())).fill_null(value=False)
    own = asked.own("resolution")
    resolution = pl.lit(_PROFILE_STEP) if own is None else own.fill_null(_PROFILE_STEP)
    in_steps = (pl.when(cumulative).then("step").otherwise("v") / resolution).round().cast(pl.Int64, strict=False).fill_null(0)
    minute = (_at - start) // 60_000_000
    mixed = [((in_steps % _PRIME) * first + minute * second) % _PRIME for first, second in ((48_271, 69_621), (16_807, 39_373))]
    used = counted & (size > 0)
    rows = asked.table().select(
        "group", "counted", inside=inside, used=pl.when(used).then(size), great=pl.when(used & ~_caught_up(part)).then(size),
        change=pl.when(inside & (in_steps != 0)).then(in_steps), moved_place=pl.when("moved").then(pl.int_range(pl.len(), dtype=pl.UInt32)),
        **{f"mark_{nth}": pl.when(inside).then(one * one % _PRIME) for nth, one in enumerate(mixed)},
    )
    used, change = pl.col("used"), pl.col("change")
    days = rows.group_by("group", maintain_order=True).agg(
        steps=pl.col("inside").sum(), readings=pl.col("counted").sum(), least_per_h=used.min(), usual_per_h=used.median(),
        greatest_per_h=pl.col("great").max(),
        moved_place=pl.col("moved_place").max(), different=change.n_unique() - (change.null_count() > 0).cast(pl.UInt32),
        profile=pl.col("mark_0").sum() * 2**20 + pl.col("mark_1").sum() % 2**20,
    ).hstack(of_day.drop("group"))
    nth = part["counted"].cast(pl.UInt32).cum_sum() - part["counted"]  # counted ones before each
    before_change = (nth.gather(days["moved_place"]) - nth.gather(days["begin"])).fill_null(0)
    return conform(days.with_columns(
        start=_instant_of(pl.col("start")), changed=pl.col("moved_place").is_not_null(),
        changed_at=part["at"].gather(days["moved_place"]).cast(INSTANT), unchanged=pl.col("readings") - before_change,
        profile=pl.when(pl.col("steps") > 0).then("profile"),
    ).filter("asked", pl.col("readings") > 0), HISTORY)


def _caught_up(part: pl.DataFrame) -> pl.Series:
    """Whether what a cumulative register shows was caught up for after a gap, longer than is usual on its day."""
    long = part.select(((_kind == _CUMULATIVE) & (pl.col("since") > _HOUR_US)).fill_null(value=False)).to_series()
    if not long.any():
        return long
    days = part["group"].filter(long).unique()
    rows = part.select("group", "since", "counted").filter(pl.col("group").is_in(days.implode()), pl.col("counted"))
    usual = rows.group_by("group").agg(usual=USUAL_TOLERANCE * pl.col("since").median())
    at = long.arg_true()
    those = part.select(pl.col("group", "since").gather(at)).join(usual, on="group", how="left", maintain_order="left")
    return long.scatter(at, (those["since"] > those["usual"]).fill_null(value=False))


def _past(of_day: pl.DataFrame, history: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """The days with what the LOOK_BACK days before say of each."""
    on = ["register_key", "day"]
    wanted = history.select(*on, "profile", "steps", "different")
    earlier = pl.concat([before.join(wanted, on=on, how="anti"), history]).drop("start").rename({"day": "of"})
    if wanted["day"].n_unique() == 1:
        beside = earlier.join(wanted, on="register_key", suffix="_day")
    else:
        ahead = pl.concat_list(pl.col("of") + timedelta(days=ahead) for ahead in range(1, LOOK_BACK + 1))
        beside = earlier.with_columns(day=ahead).explode("day").join(wanted, on=on, suffix="_day")
    beside = beside.filter((pl.col("day") - pl.col("of")).is_between(timedelta(days=1), timedelta(days=LOOK_BACK)))
    last = pl.col("of").filter("changed").max()
    same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_day") for name in ("profile", "steps", "different"))
    past = beside.group_by(on).agg(
        past_days=pl.len(), past_least=pl.col("least_per_h").min(), past_greatest=pl.col("greatest_per_h").max(),
        past_usual=pl.col("usual_per_h").median(),
        past_changed_us=pl.col("changed_at").max().to_physical(), past_unchanged=pl.col("unchanged").filter(pl.col("of") >= last).sum(),
        copied=same.any(),
    )
    own = wanted.rename({name: f"day_{name}" for name in ("profile", "steps", "different")})
    return of_day.join(own, on=on, how="left", maintain_order="left").join(past, on=on, how="left", maintain_order="left")


def looking_back(was: pl.DataFrame, now: pl.DataFrame, others: pl.DataFrame, registers: pl.DataFrame) -> pl.DataFrame:
    """The later days whose verdicts may be others since some days before them are.

    Args:
        was: HISTORY of the days that were judged again, as it was.
        now: HISTORY of the same days, as it is.
        others: HISTORY of the days around.
        registers: REGISTER.

    Returns:
        register_key, day.
    """
    on = ["register_key", "day"]
    changed = pl.concat([one.join(other, on=one.columns, how="anti", nulls_equal=True) for one, other in ((was, now), (now, was))])
    ahead = pl.concat_list(pl.col("day") + timedelta(days=ahead) for ahead in range(1, LOOK_BACK + 1))
    later = others.join(changed.select("register_key", day=ahead).explode("day").unique(), on=on, how="semi")
    if later.is_empty():
        return later.select(on)
    before, after = (_past(later.select(on), later, pl.concat([others, one])) for one in (was, now))
    last = registers.sort("register_key", "valid_from", nulls_last=False).unique("register_key", keep="last", maintain_order=True)
    cumulative = later["register_key"].is_in(last.filter(pl.col("kind") == "cumulative")["register_key"].implode())
    differs = {name: before[name].ne_missing(after[name]) for name in _PAST}
    asked = [one & ~cumulative if name in _NOT_OF_CUMULATIVE else one for name, one in differs.items()]
    return later.select(on).filter(pl.DataFrame([one.alias(str(n)) for n, one in enumerate(asked)]).select(pl.any_horizontal(pl.all())).to_series())


def _verdicts(asked: _Asked, of_day: pl.DataFrame, limits: Mapping[str, _Dated]) -> Found:
    """What the rules say of the readings of some days (as `_past` gives them)."""
    part, group = asked.frame, asked.frame["group"]
    asked = asked.with_limits(part.with_columns(
        *(of_day[name].gather(group).alias(name) for name in _OF_DAY), *_unchanged(part, of_day),
    ), limits)
    asked.frame = asked.frame.with_columns(_unit_factors(asked).alias("unit_factor"))
    found = _judgements(asked, _JUDGED)
    said = {"broken": {name: one.broken for name, one in found.items()}, "unknown": {name: one.unknown for name, one in found.items()}}
    tests = {f"{name}.{what}": test for what, tests in said.items() for name, test in tests.items() if test is not None}
    answers = asked.table().select("aside", **tests)
    bits = {}
    for what in said:
        here = {name: answers[f"{name}.{what}"] for name in said[what] if f"{name}.{what}" in tests}
        always = sum(_BITS[name] for name, answer in here.items() if answer.all())
        some = [pl.lit(answer).cast(pl.Int64) * _BITS[name] for name, answer in here.items() if answer.any() and not answer.all()]
        bits[what] = pl.sum_horizontal(pl.lit(always, pl.Int64), *some)
    # A rule that the interval rules have too counts once.
    rows = answers.select("aside", **bits).select(broken=pl.col("broken") | pl.col("aside"), unknown="unknown")
    rows = rows.select(row=part["row"], group=group, broken="broken", unknown=pl.col("unknown") & ~pl.col("broken"))
    new = pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in ("group", "broken", "unknown")).fill_null(value=True)
    begin = rows.select(new).to_series().arg_true().cast(pl.Int64)
    runs = rows.select(pl.col("group", "broken", "unknown").gather(begin), readings=begin.shift(-1, fill_value=rows.height) - begin)
    at = (rows["broken"] > 0).arg_true()
    factor = pl.when(pl.col("broken") & _BITS["unit_scale"] > 0).then(asked.frame["unit_factor"].gather(at))
    failed = rows[at].with_columns(severity=_severities(at, rows["broken"].gather(at), asked), unit_factor=factor)
    names = of_day.filter("asked").select("group", "register_key", "day")
    runs, failed = (some.join(names, on="group", maintain_order="left") for some in (runs, failed))
    mine = rows if of_day["asked"].all() else rows.filter(of_day["asked"].gather(group))
    return Found(conform(mine, _ROW), conform(failed, _FAILED_ROW), conform(runs, _RUN))


def _unchanged(part: pl.DataFrame, of_day: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """still: the reading shows what the one before showed, where that may be a fault; changed_us, unchanged: since when, and for how many."""
    still = part.select(pl.col("counted") & ~pl.col("moved") & ((_kind == _CUMULATIVE) | (_v != 0))).to_series().alias("still")
    at = still.arg_true()
    if not len(at):
        return [still, pl.lit(None, pl.Int64()).alias("changed_us"), pl.lit(None, pl.Int64()).alias("unchanged")]
    last = part.select(pl.when("moved").then(pl.int_range(pl.len(), dtype=pl.UInt32)).forward_fill()).to_series().gather(at)
    nth, group = part["counted"].cast(pl.Int64).cum_sum(), part["group"].gather(at)
    first_nth = nth.gather(of_day["begin"]) - part["counted"].gather(of_day["begin"]).cast(pl.Int64)
    seen = pl.DataFrame({
        "inside": part["group"].gather(last) == group, "moved_at": part["at"].gather(last), "nth": nth.gather(at), "moved_nth": nth.gather(last),
        "first_nth": first_nth.gather(group), "past_at": of_day["past_changed_us"].gather(group),
        "past_unchanged": of_day["past_unchanged"].gather(group),
    })
    count_inside, count_all = pl.col("nth") - pl.col("moved_nth") + 1, pl.col("nth") - pl.col("first_nth") + pl.col("past_unchanged")
    seen = seen.select(
        changed_us=pl.when("inside").then("moved_at").otherwise("past_at"),
        unchanged=pl.when("inside").then(count_inside).otherwise(count_all),
    )
    nothing = pl.repeat(None, part.height, dtype=pl.Int64, eager=True)
    return [still, *(nothing.scatter(at, seen[name].cast(pl.Int64)).alias(name) for name in ("changed_us", "unchanged"))]


def _unit_factors(asked: _Asked) -> pl.Series:
    """By which of FACTORS a value that lies beyond its history must be divided to lie within it; null where it does not or none fits."""
    part = asked.frame
    nothing = pl.repeat(None, part.height, dtype=pl.Float64, eager=True)
    if not asked.enabled("unit_scale"):
        return nothing
    times = asked.bound("unit_scale", "high")
    room = pl.lit(1.0) if times is None else times.fill_null(1.0)
    hours, multiplier = (_at - pl.col("prev_at")) / _HOUR_US, pl.col("multiplier")
    cumulative = _kind == _CUMULATIVE
    reach = pl.col("prev_v") + room * pl.col("past_greatest") * hours / multiplier
    size = pl.when(cumulative).then(_v).otherwise(pl.col("per_h").abs())
    low, high = (pl.when(cumulative).then(one).otherwise(other) for one, other in (
        (pl.col("prev_v"), pl.col("past_least")), (reach, pl.col("past_greatest")),
    ))
    beyond = pl.when(cumulative).then((_v < pl.col("prev_v")) | (_v > reach)).otherwise((size > room * high) | (size < low / room))
    usual = pl.when(cumulative).then("prev_v").otherwise("past_usual")
    some = asked.table().with_row_index("place").with_columns(size=size, low=low, high=high, usual=usual).filter(
        (beyond & (size > 0) & (low > 0) & ~pl.col("changed")).fill_null(False),
    )
    distances = {
        by: pl.when((pl.col("size") / by).is_between(pl.col("low") * (1 - _SCALE_ROUNDING), pl.col("high") * (1 + _SCALE_ROUNDING)))
        .then((pl.col("size") / by / pl.col("usual")).log().abs()) for by in FACTORS
    }
    nearest = pl.min_horizontal(distances.values())
    chosen = some.select("place", by=pl.coalesce(pl.when(distance == nearest).then(pl.lit(by)) for by, distance in distances.items())).drop_nulls()
    return nothing.scatter(chosen["place"], chosen["by"]) if chosen.height else nothing


def _severities(rows: pl.Series, broken: pl.Series, asked: _Asked) -> pl.Series:
    """The worst severity (its place) of the rules that some readings broke, by their bits."""
    position, at = (asked.frame[name].gather(rows) for name in ("position", "at"))
    found = pl.repeat(-1, len(rows), dtype=pl.Int8, eager=True)
    for name, bit in _BITS.items():
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
    names = pl.Series([[name for name, bit in _BITS.items() if int(mask) & bit] for mask in distinct], dtype=pl.List(pl.String()))
    return names.gather(distinct.search_sorted(bits))


def day_of(column: str, zone: str) -> pl.Expr:
    """The local day of an instant."""
    return pl.col(column).dt.convert_time_zone(zone).dt.date()


def day_start(day: pl.Expr, zone: str) -> pl.Expr:
    """The instant at which a local day starts."""
    midnight = day.cast(pl.Datetime("us"))
    there = (at.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null") for at in (midnight, midnight + timedelta(hours=1)))
    return pl.coalesce(there).dt.convert_time_zone("UTC")  # where the clock skips midnight the day starts at 1:00
