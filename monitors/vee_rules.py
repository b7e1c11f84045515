"""The validation rules, each by itself.

What each rule asks, with `low` and `high` its bounds (`config.data_rules.vee_rules`, and the sheet `rule` of the register):

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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from monitors.axis import HOUR_US, position_of
from monitors.vee_bounds import Dated

LOOK_BACK: Final = 7  # days of history
FACTORS: Final = (1000.0, 100.0, 10.0, 3.6, 1 / 3.6, 0.1, 0.01, 0.001)
INTERVAL_RULES: Final = (  # names that the interval rules, formulas and edits give
    "not_finite", "no_register_row", "outside_range", "marked_bad", "negative", "duplicate", "conflicting_copy", "transient", "spike",
    "length_unknown", "edited", "not_steam", "impossible_state",
)
POINT_RULES: Final = ("not_finite", "range", "resolution", "negative", "future", "clock_drift")
STEP_RULES: Final = ("rating", "step_back", "frozen", "copied_pattern", "jump", "unit_scale")
JUDGED: Final = (*POINT_RULES, *STEP_RULES)
RULES: Final = tuple(dict.fromkeys((*JUDGED, *INTERVAL_RULES)))  # of readings; the place of a rule is its bit
BITS: Final = {name: 1 << place for place, name in enumerate(RULES)}
CUMULATIVE, INTERVAL, RATE, OTHER = 0, 1, 2, 3
_KINDS: Final = {"cumulative": CUMULATIVE, "interval": INTERVAL, "rate": RATE}
_STEP_ROUNDING: Final = 1e-6  # of a step of resolution: what floating point may add
_FLOAT_ROUNDING: Final = 1e-15
RATE_ROUNDING: Final = 1e-9
_SCALE_ROUNDING: Final = 1e-6
_v, _at, _kind, _per_h, _position = pl.col("v"), pl.col("at"), pl.col("kind"), pl.col("per_h"), pl.col("position")
_used = _kind != OTHER  # consumption follows from it: not what a temperature or pressure is
_late, _none_before = pl.col("received_us") - _at, pl.col("prev_v").is_null()
_ALWAYS: Final = pl.lit(value=True)


class Asked:
    """Columns that the rules look at: those of the readings, and of bounds and registers only what differs between registers."""

    def __init__(self, frame: pl.DataFrame, registers: Dated, limits: Mapping[str, Dated]) -> None:
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

    def with_limits(self, frame: pl.DataFrame, limits: Mapping[str, Dated]) -> "Asked":
        """The same registers, of which more can be asked."""
        return Asked(frame, self._registers, limits)

    def table(self) -> pl.DataFrame:
        """The frame with the columns that were asked for."""
        return self.frame.with_columns(values.alias(name) for name, values in self._columns.items())

    def _value(self, name: str, dated: Dated, attribute: str) -> pl.Expr | None:
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
class Judged:
    """Of each rule whether a reading broke it, and whether that could not be told; None where no register can give that."""

    broken: pl.Expr | None
    unknown: pl.Expr | None


def _range(asked: Asked) -> Judged:
    low, high = (_first(asked.bound("range", bound), asked.own(f"range_{bound}")) for bound in ("low", "high"))
    modulus = asked.own("modulus")
    none = [bound.is_null() for bound in (low, high, modulus) if bound is not None]
    return Judged(_any((low, _v.lt), (high, _v.gt), (modulus, _v.ge)), pl.all_horizontal(none) if none else _ALWAYS)


def _resolution(asked: Asked) -> Judged:
    step = asked.own("resolution")
    if step is None:
        return Judged(None, _ALWAYS)
    in_steps = _v / step
    return Judged((in_steps - in_steps.round()).abs() > _STEP_ROUNDING + in_steps.abs() * _FLOAT_ROUNDING, step.is_null())


def _negative(asked: Asked) -> Judged:
    net, kind = asked.own("net"), asked.own("kind")
    assert net is not None and kind is not None  # noqa: PT018 - filled where they are read
    return Judged((_v < 0) & ~net & (kind != OTHER), None)


def _future(asked: Asked) -> Judged:
    return Judged(_any((asked.bound("future", "high"), lambda high: _late < -high * 1e6)), pl.col("received_us").is_null())


def _clock_drift(asked: Asked) -> Judged:
    low, high = (asked.bound("clock_drift", bound) for bound in ("low", "high"))
    return Judged(_any((low, lambda low: _late < low * 1e6), (high, lambda high: _late > high * 1e6)), pl.col("received_us").is_null())


def _rating(asked: Asked) -> Judged:
    rate, times = asked.own("max_rate_per_h"), asked.bound("rating", "high")
    if rate is None or times is None:
        return Judged(None, _used)
    unknown = rate.is_null() | times.is_null() | _per_h.is_null()
    return Judged(_per_h.abs() > rate * times * (1 + RATE_ROUNDING), _used & unknown)


def _step_back(_: Asked) -> Judged:
    return Judged(pl.col("fell"), _none_before)


def _frozen(asked: Asked) -> Judged:
    hours, readings = asked.bound("frozen", "high"), asked.bound("frozen", "low")
    since, count = _at - pl.col("changed_us"), pl.col("unchanged")
    long = since >= (24.0 if hours is None else hours) * HOUR_US
    if readings is not None:
        long &= count >= readings.fill_null(0)
    return Judged(pl.col("still") & long, pl.col("still") & pl.col("changed_us").is_null() & pl.col("past_days").is_null())


def _copied_pattern(asked: Asked) -> Judged:
    steps, different = asked.bound("copied_pattern", "low"), asked.bound("copied_pattern", "high")
    enough = pl.col("day_profile").is_not_null()
    for least, found in ((steps, pl.col("day_steps")), (different, pl.col("day_different"))):
        if least is not None:
            enough &= (found >= least).fill_null(True)
    unknown = ~enough | pl.col("past_days").is_null()
    return Judged(pl.col("counted") & enough & pl.col("copied"), pl.col("counted") & unknown)


def _jump(asked: Asked) -> Judged:
    rate, times = asked.own("max_rate_per_h"), asked.bound("jump", "high")
    asks = _used if rate is None else _used & rate.is_null()
    if times is None:
        return Judged(None, asks)
    known = _enough_history(asked, "jump") & pl.col("past_greatest").is_not_null() & _per_h.is_not_null() & times.is_not_null()
    return Judged(asks & known & (_per_h.abs() > times * pl.col("past_greatest")), asks & ~known)


def _unit_scale(asked: Asked) -> Judged:
    known = _enough_history(asked, "unit_scale") & pl.col("past_greatest").is_not_null() & ~((_kind == CUMULATIVE) & _none_before)
    return Judged(known & pl.col("unit_factor").is_not_null(), _used & ~known)


def _enough_history(asked: Asked, rule: str) -> pl.Expr:
    least = asked.bound(rule, "low")
    return (pl.col("past_days") >= (1.0 if least is None else least.fill_null(1.0))).fill_null(False)


_JUDGES: Final[Mapping[str, Callable[[Asked], Judged]]] = {
    "not_finite": lambda _: Judged(~_v.is_finite().fill_null(False), None), "range": _range, "resolution": _resolution, "negative": _negative,
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


def judgements(asked: Asked, names: tuple[str, ...]) -> dict[str, Judged]:
    """What the rules that are asked of some register say, each only where it is asked."""
    found = {}
    for name in names:
        if asked.enabled(name):
            judged, enabled = _JUDGES[name](asked), asked.bound(name, "enabled")
            assert enabled is not None
            broken = None if judged.broken is None else (judged.broken & enabled).fill_null(False)
            unknown = None if judged.unknown is None else (judged.unknown & enabled).fill_null(False)
            found[name] = Judged(broken, unknown)
    return found


def unit_factors(asked: Asked) -> pl.Series:
    """By which of FACTORS a value that lies beyond its history must be divided to lie within it; null where it does not or none fits."""
    part = asked.frame
    nothing = pl.repeat(None, part.height, dtype=pl.Float64, eager=True)
    if not asked.enabled("unit_scale"):
        return nothing
    times = asked.bound("unit_scale", "high")
    room = pl.lit(1.0) if times is None else times.fill_null(1.0)
    hours, multiplier = (_at - pl.col("prev_at")) / HOUR_US, pl.col("multiplier")
    cumulative = _kind == CUMULATIVE
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


def register_rows(registers: pl.DataFrame, keys: pl.Series) -> Dated:
    """What the rules ask of registers (REGISTER), by their place in `keys`."""
    rows = registers.with_columns(position=position_of(registers["register_key"], keys)).select(
        "position", "range_low", "range_high", "modulus", "max_rate_per_h", pl.col("net").fill_null(False),
        from_us=pl.col("valid_from").to_physical(), resolution=pl.when(pl.col("resolution") > 0).then("resolution"),
        kind=pl.col("kind").sort_by("valid_from", nulls_last=False).last().over("position").replace_strict(
            _KINDS, default=OTHER, return_dtype=pl.Int8,
        ),
    )
    return Dated(rows, len(keys))
