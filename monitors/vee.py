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
from typing import Final

import polars as pl

from config.schemas import BOUND, HISTORY, READING, READING_VERDICT, SET_ASIDE, VERDICT_COUNT, conform, empty
from monitors.axis import position_of
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
CHUNK_READINGS: Final = 2_000_000
_HOUR_US: Final = 3_600_000_000
_NEVER: Final = 2**62
_CUMULATIVE, _INTERVAL, _RATE, _OTHER = 0, 1, 2, 3
_KINDS: Final = {"cumulative": _CUMULATIVE, "interval": _INTERVAL, "rate": _RATE}
_BREAKS: Final = ("change", "reset", "rollover")  # events across which a step says nothing
_BITS: Final = {name: 1 << place for place, name in enumerate(RULES)}
_JUDGED: Final = (*POINT_RULES, *STEP_RULES)
_SEVERITY: Final = pl.col("severity").replace_strict({name: place for place, name in enumerate(SEVERITIES)}, default=None, return_dtype=pl.Int8)
_PARTICULAR: Final = {"register": 16, "meter": 8, "enterprise": 4, "medium": 2, "kind": 1}  # what makes a rule's row come before another
_STEP_ROUNDING: Final = 1e-6  # of a step of resolution: what floating point may add
_FLOAT_ROUNDING: Final = 1e-15
_RATE_ROUNDING: Final = 1e-9
_SCALE_ROUNDING: Final = 1e-6
_PROFILE_STEP: Final = 1e-6  # steps of a register without resolution are compared to this
_PRIME: Final = 2**31 - 1
_v, _at, _kind, _per_h = pl.col("v"), pl.col("at"), pl.col("kind"), pl.col("per_h")
_used = _kind != _OTHER  # consumption follows from it: not what a temperature or pressure is
_late, _none_before = pl.col("received_us") - _at, pl.col("prev_v").is_null()


@dataclass(frozen=True, slots=True)
class Screened:
    """Readings split by the rules on a single reading."""

    passed: pl.DataFrame  # READING, in the order given
    failed: pl.DataFrame  # SET_ASIDE: READING with all rules of POINT_RULES that it broke
    unjudged: pl.DataFrame  # register_key, rule: what could not be asked of (some of) a register's readings


@dataclass(frozen=True, slots=True)
class Validated:
    """Verdicts on readings, and what later days will ask of these days."""

    verdicts: pl.DataFrame  # READING_VERDICT
    history: pl.DataFrame  # HISTORY


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
        self.rows = rows.sort("position", "from_us", nulls_last=False)
        place = pl.int_range(registers, eager=True)
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
        if column not in self._columns:
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
    judged = pl.col("counted") & ((_kind == _CUMULATIVE) | (_v != 0))
    return _Judged(judged & long, judged & pl.col("changed_us").is_null() & pl.col("past_days").is_null())


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
    rows = held.with_columns(position=position_of(held["register_key"], keys)).filter(pl.col("position").is_not_null())
    found = {}
    for (name,), of_rule in rows.partition_by("rule", as_dict=True).items():
        own = of_rule.select("position", "low", "high", "enabled", severity=_SEVERITY, from_us=pl.col("valid_from").to_physical())
        complete = all_of.join(own, on="position", how="left").with_columns(pl.col("enabled").fill_null(False))
        found[str(name)] = _Dated(complete, len(keys))
    return found


# --- readings beside each other ---------------------------------------------------------------------------------------

def validated(
    readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, rules: pl.DataFrame, set_aside: pl.DataFrame, before: pl.DataFrame,
    days: pl.DataFrame | None = None, *, zone: str,
) -> Validated:
    """Judge readings by all rules.

    Args:
        readings: READING, in any order, all copies.
        registers: REGISTER, as for `monitors.intervals.counted`.
        events: EVENT.
        rules: VEE_RULE.
        set_aside: SET_ASIDE, what the interval rules do not count of these readings.
        before: HISTORY of earlier days; the LOOK_BACK days before each judged one are looked at.
        days: register_key, day: what is judged. Their readings must all be there, and those of a counted reading on either side. None: all.
        zone: the place whose days are meant.

    Returns:
        One verdict for each reading of those days, by register_key, read_at, copy, received_at, message and value; and their HISTORY.
    """
    keys = registers["register_key"].unique().sort()
    position = position_of(readings["register_key"], keys) if len(keys) else pl.repeat(None, readings.height, dtype=pl.Int64, eager=True)
    aside = _aside_bits(readings, set_aside)
    verdicts, histories = [_strangers(readings.filter(position.is_null()))], [empty(HISTORY)]
    ordered = verdicts[0].is_empty()
    limits = bounds(registers, rules)
    for first, last in _chunks(position, len(keys)):
        mine = position.is_between(first, last - 1)
        part = _part(readings, position, aside, mine, keys, registers, events, zone)
        if part.is_empty():
            continue
        ordered &= not _repeated(part)
        history = _history(part, keys)
        if days is not None:
            history = history.join(days, on=["register_key", "day"], how="semi")
        histories.append(history)
        verdicts.append(_verdicts(part, readings, keys, registers, limits, history, before))
    found = pl.concat(verdicts)
    if days is not None:
        found = found.with_columns(day=day_of("read_at", zone)).join(days, on=["register_key", "day"], how="semi", maintain_order="left").drop("day")
    if not ordered:
        found = found.sort("register_key", "read_at", "copy", "received_at", "message", "value", nulls_last=True)
    return Validated(found, pl.concat(histories).sort("register_key", "day"))


def counts(verdicts: pl.DataFrame, *, zone: str) -> pl.DataFrame:
    """VERDICT_COUNT: how many readings of each register and local day broke each rule, could not be judged by it, or passed all (rule null)."""
    by, alike = ["register_key", "day", "rule", "verdict"], ["register_key", "day", "verdict", "failed", "unknown"]
    days = verdicts.select(
        "register_key", "verdict", day=day_of("read_at", zone),
        failed=pl.col("broken_rules").list.join(" "), unknown=pl.col("unknown_rules").list.join(" "),
    ).group_by(alike).agg(readings=pl.len())
    parts = [
        days.select("register_key", "day", "readings", rule=pl.col(verdict).str.split(" "), verdict=pl.lit(verdict)).explode("rule")
        .filter(pl.col("rule") != "") for verdict in ("failed", "unknown")
    ]
    passed = days.filter(pl.col("verdict") == "passed").select("register_key", "day", "readings", "verdict", rule=pl.lit(None, pl.String()))
    counted = pl.concat([*parts, passed.select(parts[0].columns)]).group_by(by).agg(pl.col("readings").sum())
    start, end = (day_start(pl.col("day") + timedelta(days=ahead), zone) for ahead in (0, 1))
    return conform(counted.with_columns(start=start, end=end).sort(by, nulls_last=True), VERDICT_COUNT)


def _aside_bits(readings: pl.DataFrame, set_aside: pl.DataFrame) -> pl.Series:
    """The rules by which each reading is set aside, as bits; 0 for those that count."""
    bits = pl.repeat(0, readings.height, dtype=pl.Int64, eager=True)
    if set_aside.is_empty():
        return bits
    named = pl.col("value").fill_nan(None)  # a NaN would equal no other
    on = READING.names()
    those = readings.with_row_index("row").join(set_aside.select("register_key", "read_at"), on=["register_key", "read_at"], how="semi")
    nth = pl.int_range(pl.len()).over(on).alias("nth")
    found = those.with_columns(named).with_columns(nth).join(
        set_aside.with_columns(named).with_columns(nth), on=[*on, "nth"], how="inner", nulls_equal=True,
    ).select("row", "broken_rules").explode("broken_rules")
    bit = pl.col("broken_rules").replace_strict(_BITS, return_dtype=pl.Int64)
    each = found.with_columns(bit=bit).group_by("row").agg(pl.col("bit").unique().sum())
    return bits.scatter(each["row"], each["bit"])


def counting(readings: pl.DataFrame, set_aside: pl.DataFrame) -> pl.DataFrame:
    """The readings that are not set aside.

    Args:
        readings: READING.
        set_aside: SET_ASIDE.
    """
    return readings.filter(_aside_bits(readings, set_aside) == 0)


def _strangers(readings: pl.DataFrame) -> pl.DataFrame:
    """Readings of registers without any row: nothing else can be said of them."""
    return conform(readings.with_columns(
        verdict=pl.lit("failed"), severity=pl.lit("error"), broken_rules=pl.lit(["no_register_row"], pl.List(pl.String())),
        unknown_rules=pl.lit([], pl.List(pl.String())),
    ), READING_VERDICT)


def _chunks(position: pl.Series, registers: int) -> Iterator[tuple[int, int]]:
    """Ranges of registers with a bounded number of readings."""
    counts = pl.DataFrame({"position": position}).drop_nulls().group_by("position").len().sort("position")
    first = held = 0
    for place, count in counts.iter_rows():
        if place > first and held + count > CHUNK_READINGS:
            yield first, place
            first, held = place, 0
        held += count
    if held:
        yield first, registers


def _part(
    readings: pl.DataFrame, position: pl.Series, aside: pl.Series, mine: pl.Series, keys: pl.Series, registers: pl.DataFrame, events: pl.DataFrame,
    zone: str,
) -> pl.DataFrame:
    """The readings of some registers in order, each with its last counted one before, its consumption by the hour, and its day.

    Columns: row (of the readings), position, at, v, received_us, counted, prev_v, prev_at, per_h, fell, day, kind, ...
    """
    rows = mine.fill_null(False).arg_true()
    finite = readings["value"].gather(rows).is_finite().fill_null(False)
    frame = pl.DataFrame({
        "row": rows, "position": position.gather(rows), "at": readings["read_at"].gather(rows).to_physical(),
        "v": readings["value"].gather(rows), "received_us": readings["received_at"].gather(rows).to_physical(),
        "copy": readings["copy"].gather(rows), "message": readings["message"].gather(rows),
        "aside": aside.gather(rows), "counted": (aside.gather(rows) == 0) & finite,
    })
    frame = _in_order(frame)
    own = _register_rows(registers, keys)
    asked = _Asked(frame, own, {})
    names = {"max_rate_per_h": pl.Float64(), "modulus": pl.Float64(), "resolution": pl.Float64(), "net": pl.Boolean(), "kind": pl.Int8()}
    attributes = {}
    for name, dtype in names.items():
        value = asked.own(name)
        attributes[f"own_{name}"] = pl.lit(None, dtype) if value is None else value
    frame = asked.table().with_columns(**attributes, multiplier=_multipliers(frame, registers, events, keys))
    counting = {name: pl.when("counted").then(name) for name in ("position", "at", "v")}
    frame = frame.with_columns(
        *(counting[name].shift(1).forward_fill().alias(f"prev_{name}") for name in counting),
        *(counting[name].shift(-1).backward_fill().alias(f"next_{name}") for name in ("position", "at")),
    ).with_columns(
        *(pl.when(pl.col("prev_position") == pl.col("position")).then(name).alias(name) for name in ("prev_at", "prev_v")),
        next_at=pl.when(pl.col("next_position") == pl.col("position")).then("next_at"),
    )
    changed, turned = (_between_readings(frame, events.filter(pl.col("event").is_in(list(some))), keys) for some in (_BREAKS, ("multiplier",)))
    step, hours = _v - pl.col("prev_v"), (_at - pl.col("prev_at")) / _HOUR_US
    across = step + pl.col("own_modulus")
    wraps = (step < 0) & pl.when(pl.col("own_max_rate_per_h").is_not_null()).then(
        across * pl.col("multiplier") <= pl.col("own_max_rate_per_h") * hours * (1 + _RATE_ROUNDING),
    ).otherwise(across <= pl.col("own_modulus") / 2).fill_null(False)
    cumulative, rate = pl.col("own_kind") == _CUMULATIVE, pl.col("own_kind") == _RATE
    frame = frame.with_columns(kind=pl.col("own_kind"), changed=changed, turned=turned).with_columns(
        fell=cumulative & ~pl.col("own_net") & (step < 0) & ~wraps & ~pl.col("changed"),
        step=pl.when(~pl.col("changed") & (_at > pl.col("prev_at"))).then(pl.when(wraps).then(across).otherwise(step)),
    )
    known = (_at > pl.col("prev_at")) & ~pl.col("turned") & ~pl.col("fell")
    length = pl.min_horizontal(_at - pl.col("prev_at"), pl.col("next_at") - _at)
    frame = frame.with_columns(
        per_h=pl.when(rate).then(_v * pl.col("multiplier")).when(cumulative).then(
            pl.when(known).then(pl.col("step") * pl.col("multiplier") / hours),
        ).when((pl.col("own_kind") == _INTERVAL) & (length > 0)).then(_v * pl.col("multiplier") * _HOUR_US / length),
        day=_instant_of(_at).dt.convert_time_zone(zone).dt.date(),
    ).with_columns(per_h=pl.when(pl.col("per_h").is_finite()).then("per_h"))
    group = ((pl.col("position").diff() != 0) | (pl.col("day").diff() != timedelta())).fill_null(False).cum_sum()
    moved = pl.col("counted") & ((_v != pl.col("prev_v")) | pl.col("changed")).fill_null(False)
    since_midnight = _at - day_start(pl.col("day"), zone).to_physical()
    frame = frame.with_columns(group=group, moved=moved, nth=pl.col("counted").cum_sum(), since_midnight=since_midnight)
    return frame.with_columns(
        moved_in=pl.when("moved").then("group").forward_fill(), moved_at=pl.when("moved").then("at").forward_fill(),
        moved_nth=pl.when("moved").then("nth").forward_fill(),
    )


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """By register and instant; of several copies the one that counts comes last, so that the others see the reading before it."""
    if frame.is_empty():
        return frame
    base, end, last = frame.select(_at.min(), pl.col("at").max().alias("end"), pl.col("position").max()).row(0)
    if (end - base + 1) * (last + 1) < _NEVER:  # both in one integer: sorted much quicker
        by_key: pl.DataFrame = frame[(frame["position"] * (end - base + 1) + (frame["at"] - base)).arg_sort()]
        if not _repeated(by_key):
            return by_key
    return frame.sort("position", "at", "counted", "copy", "received_us", "message", "v", nulls_last=True)


def _repeated(frame: pl.DataFrame) -> bool:
    """Whether an ordered frame has several readings of one instant."""
    return bool(frame.select(((pl.col("position").diff() == 0) & (_at.diff() == 0)).any()).item())


def _multipliers(frame: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, keys: pl.Series) -> pl.Series:
    """The multiplier in force at each reading, by the register's rows and by events."""
    rows = registers.select("register_key", pl.col("multiplier").fill_null(1.0), from_us=pl.col("valid_from").to_physical())
    turned = events.filter(pl.col("event") == "multiplier", pl.col("multiplier").is_not_null(), pl.col("register_key").is_in(keys.implode()))
    both = pl.concat([rows, turned.select("register_key", "multiplier", from_us=pl.col("at").to_physical())])
    dated = _Dated(both.with_columns(position=position_of(both["register_key"], keys)), len(keys))
    return dated.rows["multiplier"].gather(dated.at(frame["position"], frame["at"]))


def _between_readings(frame: pl.DataFrame, events: pl.DataFrame, keys: pl.Series) -> pl.Series:
    """Whether an event lies after the last counted reading and not after the reading itself."""
    events = events.filter(pl.col("register_key").is_in(keys.implode()))
    nothing = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    if events.is_empty():
        return nothing
    happened = events.select(position=position_of(events["register_key"], keys), event_at=pl.col("at").to_physical()).sort("event_at")
    asks = frame.select("position", "at", "prev_at").with_row_index("nth").sort("at")
    last = asks.join_asof(happened, left_on="at", right_on="event_at", by="position", strategy="backward", check_sortedness=False)
    hit = last.filter(pl.col("event_at") > pl.col("prev_at"))
    return nothing.scatter(hit["nth"], True)


def _history(part: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
    """HISTORY of the days of a part."""
    size = pl.when("counted").then(pl.col("per_h").abs())
    used, since = size.filter(size > 0), _at - pl.col("prev_at")
    usual = USUAL_TOLERANCE * since.filter("counted").median()
    caught_up = ((_kind == _CUMULATIVE) & (since > _HOUR_US) & (since > usual)).fill_null(False)
    of_this_day = (pl.col("prev_at") >= _at - pl.col("since_midnight")) & pl.col("step").is_not_null()
    inside = pl.col("counted") & ((_kind != _CUMULATIVE) | of_this_day)
    shown = pl.when(pl.col("kind") == _CUMULATIVE).then("step").otherwise("v")
    in_steps = (shown / pl.col("own_resolution").fill_null(_PROFILE_STEP)).round().cast(pl.Int64, strict=False).fill_null(0)
    minute = pl.col("since_midnight") // 60_000_000
    mixed = [((in_steps % _PRIME) * first + minute * second) % _PRIME for first, second in ((48_271, 69_621), (16_807, 39_373))]
    marks = [(one * one % _PRIME).filter(inside).sum() for one in mixed]
    steps = inside.sum()
    days = part.group_by("group", maintain_order=True).agg(
        pl.col("position", "day").first(), start=(_at - pl.col("since_midnight")).first(), steps=steps,
        least_per_h=used.min(), greatest_per_h=size.filter((size > 0) & ~caught_up).max(), usual_per_h=used.median(),
        changed=pl.col("moved").any(), changed_at=_at.filter("moved").max(),
        unchanged=pl.col("counted").sum() - pl.when(pl.col("moved").any()).then(
            (pl.col("counted") & (pl.col("nth") < pl.col("nth").filter("moved").max())).sum(),
        ).otherwise(0),
        different=in_steps.filter(inside & (in_steps != 0)).n_unique(),
        profile=pl.when(steps > 0).then(marks[0] * 2**20 + marks[1] % 2**20), readings=pl.col("counted").sum(),
    ).filter(pl.col("readings") > 0)
    return conform(days.with_columns(
        register_key=keys.gather(days["position"]), start=_instant_of(pl.col("start")), changed_at=_instant_of(pl.col("changed_at")),
    ), HISTORY)


def _past(history: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """What the LOOK_BACK days before say of each day of `history`."""
    earlier = pl.concat([before.join(history, on=["register_key", "day"], how="anti"), history])
    wanted = history.select("register_key", "day", "profile", "steps", "different")
    beside = earlier.join(wanted.select("register_key").unique(), on="register_key", how="semi").select(
        "register_key", pl.col("day").alias("of"), pl.exclude("register_key", "day", "start"),
        day=pl.concat_list(pl.col("day") + timedelta(days=ahead) for ahead in range(1, LOOK_BACK + 1)),
    ).explode("day").join(wanted, on=["register_key", "day"], suffix="_day").sort("register_key", "day", "of")
    last = pl.col("of").filter("changed").max()
    same = (pl.col("profile") == pl.col("profile_day")) & (pl.col("steps") == pl.col("steps_day")) & (pl.col("different") == pl.col("different_day"))
    past = beside.group_by("register_key", "day").agg(
        past_days=pl.len(), past_least=pl.col("least_per_h").min(), past_greatest=pl.col("greatest_per_h").max(),
        past_usual=pl.col("usual_per_h").median(),
        past_changed_us=pl.col("changed_at").max().to_physical(), past_unchanged=pl.col("unchanged").filter(pl.col("of") >= last).sum(),
        copied=same.any(),
    )
    return wanted.rename({"profile": "day_profile", "steps": "day_steps", "different": "day_different"}).join(
        past, on=["register_key", "day"], how="left",
    )


def _verdicts(
    part: pl.DataFrame, readings: pl.DataFrame, keys: pl.Series, registers: pl.DataFrame, limits: pl.DataFrame, history: pl.DataFrame,
    before: pl.DataFrame,
) -> pl.DataFrame:
    """READING_VERDICT of a part."""
    past = _past(history, before)
    past = past.with_columns(position=position_of(past["register_key"], keys)).drop("register_key")
    part = part.join(past, on=["position", "day"], how="left", maintain_order="left")
    inside = pl.col("moved_in") == pl.col("group")
    first_nth = (pl.col("nth") - pl.col("counted")).first().over("group")
    part = part.with_columns(
        changed_us=pl.when(inside).then("moved_at").otherwise("past_changed_us"),
        unchanged=pl.when(inside).then(pl.col("nth") - pl.col("moved_nth") + 1).otherwise(pl.col("nth") - first_nth + pl.col("past_unchanged")),
    )
    asked = _Asked(part, _register_rows(registers, keys), _limits(limits, keys))
    asked.frame = part.with_columns(unit_factor=_unit_factors(asked))
    found = _judgements(asked, _JUDGED)
    table = asked.table()
    broken, unknown = (
        pl.sum_horizontal([pl.lit(0, pl.Int64), *(test.cast(pl.Int64) * _BITS[name] for name, test in said.items() if test is not None)])
        for said in ({name: one.broken for name, one in found.items()}, {name: one.unknown for name, one in found.items()})
    )
    bits = table.select(broken=broken, unknown=unknown, aside="aside")
    # A rule that the interval rules have too counts once.
    bits = bits.with_columns(broken=pl.col("broken").or_(pl.col("aside")), unknown=pl.col("unknown").and_(~pl.col("broken").or_(pl.col("aside"))))
    scale_broken = (bits["broken"] // _BITS["unit_scale"]) % 2 == 1
    severity = _severities(bits["broken"], asked)
    factors = table["unit_factor"].zip_with(scale_broken, pl.repeat(None, table.height, dtype=pl.Float64, eager=True))
    verdict = bits.select(
        pl.when(pl.col("broken") > 0).then(pl.lit("failed")).when(pl.col("unknown") > 0).then(pl.lit("unknown")).otherwise(pl.lit("passed")),
    ).to_series()
    rows = readings[table["row"]].select(READING.names())
    return rows.with_columns(
        verdict=verdict, severity=severity, broken_rules=_named(bits["broken"]), unknown_rules=_named(bits["unknown"]), unit_factor=factors,
    )


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


def _severities(broken: pl.Series, asked: _Asked) -> pl.Series:
    """The worst severity of the rules that each reading broke; null where it broke none."""
    rows = (broken > 0).arg_true()
    worst = pl.repeat(None, len(broken), dtype=pl.Int8, eager=True)
    if not len(rows):
        return worst.replace_strict({}, default=None, return_dtype=pl.String())
    some = broken.gather(rows)
    position, at = (asked.frame[name].gather(rows) for name in ("position", "at"))
    found = pl.repeat(-1, len(rows), dtype=pl.Int8, eager=True)
    for name, bit in _BITS.items():
        hit = some // bit % 2 == 1
        if hit.any():
            own = pl.repeat(len(SEVERITIES) - 1, len(rows), dtype=pl.Int8, eager=True)  # of a rule without a row
            if name in asked.limits:
                dated = asked.limits[name]
                own = dated.rows["severity"].gather(dated.at(position, at)).fill_null(len(SEVERITIES) - 1)
            found = pl.select(pl.max_horizontal(found, own.set(~hit, -1))).to_series()
    return worst.scatter(rows, found).replace_strict(dict(enumerate(SEVERITIES)), default=None, return_dtype=pl.String())


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
