"""Where a cumulative register falls that should only rise: glitch, jitter, wrap or reset (rule 4 of monitors/intervals.py).

Falls are few, so all of this works on what lies around them; the other readings are only compared with their neighbours, once.
It is some thousand operations on some hundred numbers each: NumPy's cost a hundredth of a table's (decision 0025).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from monitors.axis import HOUR_US, Floats, Ints, Rows, Truths, ragged

NEARBY: Final = 4  # readings in a row that a glitch may always last
LONGEST_GLITCH: Final = timedelta(days=31)  # from the last good reading before to the first after; NEARBY zeros, or one reading, may last longer
FLOOR_HOLDS: Final = timedelta(days=31)  # how long a register that has stepped back a little is taken to stand where it was
SMALL_SHARE: Final = 1e-3  # of its value: a smaller step back is no reset
TINY_SHARE: Final = 1e-6  # a smaller one is no spike either
SHORT_STEP_SHARE: Final = 0.5  # of the climb that one step makes into or out of a glitch of up to NEARBY readings
LONG_STEP_SHARE: Final = 0.9
LITTLE_SHARE: Final = 0.1  # of the climb: where at most so much was used meanwhile, a glitch is plain
WRAP_AT_MOST: Final = 1 / 2, 1 / 10, 1 / 100  # of the modulus, where no rating tells: ever, without neighbours, whatever they are
WRAP_FASTER: Final = 10.0  # than the steps beside it, at most
LOST_COUNT_FASTER: Final = 100.0  # a step out of zero that is so much faster than what follows is no consumption
RATE_ROUNDING: Final = 1e-9  # by how much floating point may carry a consumption over its greatest rate
_MARGIN: Final = 24  # readings around a fall that can matter to the short glitches: each pass sets aside up to NEARBY, and looks one further
_SOON: Final = 16  # readings after which most registers are back where they had been
_AT_ONCE: Final = 2_000_000  # readings looked at together
_US: Final = timedelta(microseconds=1)
_LONGEST_US: Final = LONGEST_GLITCH // _US
_FLOOR_US: Final = FLOOR_HOLDS // _US
_TRANSIENT, _SPIKE = 1, 2
_RULES: Final = pl.Series([[], ["transient"], ["spike"], ["spike", "transient"]], dtype=pl.List(pl.String))  # by the sum of their numbers


@dataclass(frozen=True, slots=True)
class Judged:
    """What is left of runs of readings, and what their falls are."""

    frame: pl.DataFrame  # as given, without glitches
    starts: pl.Series  # the places at which its runs start; resets not among them
    wraps: pl.DataFrame  # at (place after the fall), a, b (packed), before, now, modulus
    resets: pl.DataFrame  # at, a, b, before, now
    jitter: pl.DataFrame  # at, a, b, before, now
    left: pl.DataFrame  # row, rules: readings set aside


NONE_LEFT: Final = pl.DataFrame(schema={"row": pl.UInt32, "rules": pl.List(pl.String)})


class _Table:
    """The register rows as arrays: NaN where a number is null."""

    def __init__(self, rows: Rows) -> None:
        self._at = rows.at.to_numpy()
        self._multiplier, self._multiplier_at = rows.multiplier.to_numpy(), rows.multiplier_at.to_numpy()
        numbers = rows.frame.select(pl.col("resolution", "modulus", "max_rate_per_h").fill_null(float("nan")))
        self._columns = {column.name: column.to_numpy() for column in numbers}
        self._net = rows.frame["net"].to_numpy()

    def of(self, name: str, packed: Ints) -> Floats:
        return self._columns[name][self._row(packed)]

    def is_net(self, packed: Ints) -> Truths:
        found: Truths = self._net[self._row(packed)]
        return found

    def multiplier(self, packed: Ints) -> Floats:
        found: Floats = self._multiplier[np.searchsorted(self._multiplier_at, packed, side="right") - 1]
        return found

    def _row(self, packed: Ints) -> npt.NDArray[np.intp]:
        return np.searchsorted(self._at, packed, side="right") - 1


class _Falls(NamedTuple):
    """Falls of registers that are not `net`, in order."""

    at: Ints  # the place after the fall
    a: Ints  # packed instants of the readings before and after it
    b: Ints
    before: Floats
    now: Floats
    fall: Floats
    tolerance: Floats
    tiny: Floats

    @classmethod
    def of(cls, k: Ints, v: Floats, at: Ints, table: _Table) -> Self:
        at = at[~table.is_net(k[at - 1])]
        a, before, now = k[at - 1], v[at - 1], v[at]
        resolution, size = np.nan_to_num(table.of("resolution", a), nan=0.0), np.abs(before)
        return cls(
            at, a, k[at], before, now, before - now, np.maximum(size * SMALL_SHARE, resolution), np.maximum(size * TINY_SHARE, resolution),
        )

    def where(self, some: Truths | Ints) -> Self:
        return type(self)._make(column[some] for column in self)

    @property
    def is_deep(self) -> Truths:
        return self.fall > self.tolerance

    @property
    def is_step(self) -> Truths:
        return self.fall > self.tiny

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame({name: getattr(self, name) for name in ("at", "a", "b", "before", "now")})


class _Around(NamedTuple):
    """Stretches of neighbouring readings of a run."""

    at: Ints  # the place among all
    k: Ints
    v: Floats
    stretch: Ints  # its number

    def falls(self, table: _Table) -> _Falls:
        """The falls inside the stretches; `at` is the place among these."""
        at = np.flatnonzero((self.v[1:] < self.v[:-1]) & (self.stretch[1:] == self.stretch[:-1])) + 1
        return _Falls.of(self.k, self.v, at, table)

    def without(self, places: Ints) -> Self:
        return type(self)._make(np.delete(column, places) for column in self)


class _Gone(NamedTuple):
    """Places that are set aside, sorted, each once, and by which rules."""

    at: Ints
    rules: Ints

    @classmethod
    def of(cls, ranges: list[tuple[Ints, Ints, int]]) -> Self:
        """Of ranges of places, ends not included, and the number of their rule."""
        spread = [(ragged(low, high)[1], rule) for low, high, rule in ranges]
        at = np.concatenate([np.empty(0, np.int64), *(places for places, _ in spread)])
        rules = np.concatenate([np.empty(0, np.int64), *(np.full(len(places), rule) for places, rule in spread)])
        return cls._merged(at, rules)

    @classmethod
    def all(cls, parts: list[Self]) -> Self:
        """Of parts that share no place."""
        return cls._merged(*(np.concatenate([np.empty(0, np.int64), *column]) for column in zip(*parts, strict=True))) if parts else cls.of([])

    @classmethod
    def _merged(cls, at: Ints, rules: Ints) -> Self:
        places, of = np.unique(at, return_inverse=True)
        merged = np.zeros(len(places), np.int64)
        np.bitwise_or.at(merged, of, rules)
        return cls(places, merged)


def judge(frame: pl.DataFrame, starts: pl.Series, rows: Rows, turns: pl.Series) -> Judged:
    """Judge the falls of cumulative registers.

    Args:
        frame: k, v, row: one reading for an instant, sorted by k; row is null for declared values.
        starts: the places at which runs start, sorted, the first one 0.
        rows: the register rows.
        turns: packed instants of rollovers that were declared without values, sorted.
    """
    with np.errstate(all="ignore"):
        return _judge(frame, starts, _Table(rows), turns.to_numpy())


def _judge(frame: pl.DataFrame, starts: pl.Series, table: _Table, turns: Ints) -> Judged:
    left = NONE_LEFT
    k, v, begins = frame["k"].to_numpy(), frame["v"].to_numpy(), starts.to_numpy()
    fallen = _falls(k, v, begins, table)
    for stage in (_short_glitches, _long_glitches, _zero_spikes):
        looked_at = fallen.where(fallen.is_deep if stage is _long_glitches else fallen.is_step)
        if not len(looked_at.at):
            continue
        gone = stage(k, v, begins, looked_at, table, turns)
        if len(gone.at):
            places = pl.Series(gone.at)
            named = pl.DataFrame({"row": frame["row"].gather(places), "rules": _RULES.gather(pl.Series(gone.rules))})
            left = pl.concat([left, named.drop_nulls("row")])
            # A run's first reading is never set aside: a dip has a reading before it, a spike too.
            begins = begins - np.searchsorted(gone.at, begins, side="left")
            frame = frame.filter(pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True).scatter(places, False))
            k, v = frame["k"].to_numpy(), frame["v"].to_numpy()
            fallen = _falls(k, v, begins, table)
    deep = fallen.where(fallen.is_deep)
    wrapped = _is_wrap(deep, table, turns, beside=_rates_beside(k, v, begins, deep))
    wraps, resets = deep.where(wrapped), deep.where(~wrapped)
    turned = np.searchsorted(turns, wraps.b, side="right") - np.searchsorted(turns, wraps.a, side="right")
    modulus = table.of("modulus", wraps.a) * np.maximum(turned, 1)
    cuts = np.unique(np.concatenate([begins, wraps.at, resets.at]))
    lost = _lost_counts(k, v, cuts, table)
    return Judged(
        frame, pl.Series(begins), wraps.frame().with_columns(modulus=pl.Series(modulus)), pl.concat([resets.frame(), lost]).sort("at"),
        fallen.where(~fallen.is_deep).frame(), left,
    )


def _falls(k: Ints, v: Floats, starts: Ints, table: _Table) -> _Falls:
    """Where a register that is not `net` falls inside a run."""
    at = np.flatnonzero(v[1:] < v[:-1]) + 1
    return _Falls.of(k, v, at[starts[np.searchsorted(starts, at, side="right") - 1] < at], table)


def _rates_beside(k: Ints, v: Floats, starts: Ints, deep: _Falls) -> Floats:
    """The greater of the rates (value per us) of the steps before and after some falls, of those that rise; NaN without any."""
    ends, last = np.append(starts, len(v)), max(1, len(v) - 1)
    run = np.searchsorted(starts, deep.at, side="right")
    rates = []
    for later, inside in ((deep.at - 1, deep.at - 1 > starts[run - 1]), (deep.at + 1, deep.at + 1 < ends[run])):
        place = np.clip(later, 1, last)
        rise = v[place] - v[place - 1]
        rates.append(np.where(inside & (rise >= 0), rise / (k[place] - k[place - 1]), np.nan))
    return np.fmax(*rates)


def _lost_counts(k: Ints, v: Floats, cuts: Ints, table: _Table) -> pl.DataFrame:
    """Steps out of zero that end a lost count (at, a, b, before, now): much faster than the four readings that follow, and than the rating."""
    at = np.flatnonzero((v[:-1] == 0) & (v[1:] > 0)) + 1
    stretch = np.searchsorted(cuts, at, side="right")
    at = at[(at > cuts[stretch - 1]) & (at + NEARBY < np.append(cuts, len(v))[stretch])]
    a, b, grown = k[at - 1], k[at], v[at + NEARBY] - v[at]
    fast, rating = v[at] / (b - a), table.of("max_rate_per_h", a) * ((1 + RATE_ROUNDING) / HOUR_US)
    lost = ~table.is_net(a) & (grown > 0) & (fast > LOST_COUNT_FASTER * grown / (k[at + NEARBY] - b)) & ~(fast * table.multiplier(a) <= rating)
    at = at[lost]
    return pl.DataFrame({"at": at, "a": a[lost], "b": b[lost], "before": v[at - 1], "now": v[at]})


def on_floor(judged: Judged, cuts: pl.Series, rows: Rows) -> pl.Series:
    """The values of what is left; after a small step back a register stands where it was until that is passed, or for FLOOR_HOLDS.

    Args:
        judged: the readings that are left.
        cuts: the places at which runs start, resets and wraps among them, sorted.
        rows: the register rows; where one is `net`, its readings stand as they are and are no floor.
    """
    k, v, jitter = judged.frame["k"], judged.frame["v"], judged.jitter
    if not jitter.height:
        return v
    begins, ends = cuts.to_numpy(), np.append(cuts.to_numpy(), len(v))
    at = jitter["at"].to_numpy()
    run = np.searchsorted(begins, at, side="right") - 1
    if not rows.frame["net"].any():
        v, is_back = _lifted_nearby(k.to_numpy(), v, jitter, ends[run + 1])
        run = run[~is_back]  # these are worked on whole
        if not len(run):
            return v
    run = np.unique(run)
    owner, place = ragged(begins[run], ends[run + 1])
    places = pl.Series(place)
    sunk = pl.DataFrame({"at": places, "k": k.gather(places), "v": judged.frame["v"].gather(places), "run": owner}).with_columns(
        begins=pl.Series(np.diff(owner, prepend=-1) > 0), may_fall=rows.of("net", k.gather(places)),
    ).with_columns(high=pl.when("may_fall").then(float("-inf")).otherwise("v"))
    sunk = sunk.with_columns(top=pl.col("high").cum_max().over("run"))
    risen_at = pl.when(pl.col("high") == pl.col("top")).then("k").forward_fill()
    sunk = sunk.with_columns(held=pl.col("k") - risen_at < _FLOOR_US)
    if not sunk["held"].all():
        # Windows must not reach into the run before: its places are moved out of their way.
        away = pl.when("begins").then(_FLOOR_US).otherwise(pl.min_horizontal(pl.col("k").diff(), _FLOOR_US)).cum_sum()
        sunk = sunk.with_columns(away=away).with_columns(
            top=pl.col("high").rolling_max_by("away", window_size=f"{_FLOOR_US}i", closed="right"),
        )
    lifted = sunk.filter(~pl.col("may_fall"), pl.col("v") < pl.col("top"))
    return v.clone().scatter(lifted["at"], lifted["top"])


def _lifted_nearby(k: Ints, v: pl.Series, jitter: pl.DataFrame, end: Ints) -> tuple[pl.Series, Truths]:
    """The values, lifted after small steps back until the register is back, and of each whether that is within _SOON readings."""
    at, a, before = (jitter[name].to_numpy() for name in ("at", "a", "before"))
    fall, place = ragged(at, np.minimum(end, at + _SOON))
    back = (v.to_numpy()[place] >= before[fall]) | (k[place] - a[fall] >= _FLOOR_US)
    counted = np.cumsum(back)
    first = np.searchsorted(fall, np.arange(len(at)))
    is_sunk = counted - (counted[first] - back[first])[fall] == 0  # no reading since the fall was back
    is_back = counted[np.append(first[1:], len(fall)) - 1] - counted[first] + back[first] > 0
    places, of = np.unique(place[is_sunk], return_inverse=True)
    floors = np.full(len(places), -np.inf)
    np.maximum.at(floors, of, before[fall[is_sunk]])
    return v.clone().scatter(pl.Series(places), pl.Series(floors)), is_back | (at + _SOON >= end)


def _is_wrap(fallen: _Falls, table: _Table, turns: Ints, *, beside: Floats | None = None) -> Truths:
    """Whether falls are wraps; without the rates beside them, whether they surely are."""
    a, b = fallen.a, fallen.b
    declared = np.searchsorted(turns, b, side="right") > np.searchsorted(turns, a, side="right")
    modulus, rate = table.of("modulus", a), table.of("max_rate_per_h", a)
    forward = modulus - fallen.fall
    allowed = forward * table.multiplier(a) <= rate * (1 + RATE_ROUNDING) * (b - a) / HOUR_US
    if beside is not None:
        ever, alone, always = WRAP_AT_MOST
        like = np.where(np.isnan(beside), forward <= modulus * alone, forward <= WRAP_FASTER * beside * (b - a))
        allowed = np.where(np.isnan(rate), (forward <= modulus * ever) & ((forward <= modulus * always) | like), allowed)
    return (forward >= 0) & (declared | allowed)


def _short_glitches(k: Ints, v: Floats, starts: Ints, fallen: _Falls, table: _Table, turns: Ints) -> _Gone:
    """The places that glitches of up to NEARBY readings set aside."""
    del turns
    around = _around(k, v, starts, fallen.at - _MARGIN, fallen.at + _MARGIN + 1)
    gone = []
    for most in range(1, NEARBY + 1):
        around, found = _passed(around, table, most)
        gone += found
    return _Gone.all(gone)


def _long_glitches(k: Ints, v: Floats, starts: Ints, fallen: _Falls, table: _Table, turns: Ints) -> _Gone:
    """The places that longer glitches set aside."""
    fallen = fallen.where(~_is_wrap(fallen, table, turns))
    gone: list[_Gone] = []
    if len(fallen.at):
        far_back, far_on = _far(k, fallen)
        around = _around(k, v, starts, np.minimum(far_back, fallen.at - NEARBY - 2), np.maximum(far_on, fallen.at + NEARBY + 1))
        most = NEARBY
        while _is_left(around, table, turns):
            most *= 2
            around, found = _passed(around, table, most, turns)
            gone += found
    return _Gone.all(gone)


def _is_left(around: _Around, table: _Table, turns: Ints) -> bool:
    """Whether any fall is the end or the beginning of a glitch, however many readings it has."""
    fallen = around.falls(table)
    fallen = fallen.where(fallen.is_deep & ~_is_wrap(fallen, table, turns))
    return len(_glitches(around, fallen, len(around.k), only_transients=False, from_zero=False).at) > 0


def _zero_spikes(k: Ints, v: Floats, starts: Ints, fallen: _Falls, table: _Table, turns: Ints) -> _Gone:
    """What a last pass sets aside, in which a spike may also be one out of zero and back to zero."""
    del turns
    around = _around(k, v, starts, fallen.at - _MARGIN, fallen.at + _MARGIN + 1)
    return _Gone.all(_passed(around, table, NEARBY, from_zero=True)[1])


def _passed(around: _Around, table: _Table, most: int, turns: Ints | None = None, *, from_zero: bool = False) -> tuple[_Around, list[_Gone]]:
    """One pass: the stretches without glitches of up to `most` readings, and what was set aside (places among all).

    Falls to exactly zero are judged first, as transients: a false zero is no ground on which another reading would be a spike.
    """
    gone = []
    for only_zeros in (True, False):
        fallen = around.falls(table)
        some = fallen.is_step if most <= NEARBY else fallen.is_deep
        if turns is not None:
            some &= ~_is_wrap(fallen, table, turns)
        if only_zeros:
            some &= fallen.is_deep & (fallen.now == 0)
        found = _glitches(around, fallen.where(some), most, only_transients=only_zeros, from_zero=from_zero)
        if len(found.at):
            gone.append(_Gone(around.at[found.at], found.rules))
            around = around.without(found.at)
    return around, gone


def _far(k: Ints, fallen: _Falls) -> tuple[Ints, Ints]:
    """For falls the first place that LONGEST_GLITCH before allows, and the first place beyond what it allows after."""
    return np.searchsorted(k, fallen.b - _LONGEST_US, side="left"), np.searchsorted(k, fallen.a + _LONGEST_US, side="right")


def _around(k: Ints, v: Floats, starts: Ints, low: Ints, high: Ints) -> _Around:
    """The readings in some spans of places, ends not included."""
    low, high = np.clip(low, 0, len(k)), np.clip(high, 0, len(k))
    order = np.argsort(low, kind="stable")
    low, high = low[order], np.maximum.accumulate(high[order])
    apart = np.append(True, low[1:] > high[:-1])
    owner, at = ragged(low[apart], high[np.append(apart[1:], True)])
    run = np.searchsorted(starts, at, side="right")
    begins = np.append(True, (run[1:] != run[:-1]) | (owner[1:] != owner[:-1]))
    return _Around(at, k[at], v[at], np.cumsum(begins))


def _glitches(around: _Around, fallen: _Falls, most: int, *, only_transients: bool, from_zero: bool) -> _Gone:
    """The places among the stretches that glitches of up to `most` readings set aside."""
    if not len(fallen.at):
        return _Gone.of([])
    k, v, stretch, at = around.k, around.v, around.stretch, fallen.at
    own = stretch[at]
    first, end = np.searchsorted(stretch, own, side="left"), np.searchsorted(stretch, own, side="right")
    far_back, far_on = _far(k, fallen)
    to_zero, is_deep = fallen.now == 0, fallen.is_deep
    timeless = np.where(to_zero, NEARBY, 1)  # readings that may last for any time

    def is_glitch(some: Ints, place: Ints, m: Ints, steep: Floats, climb: Floats, used: Floats) -> Truths:
        """Whether it is steep, and short or hardly anything was used meanwhile."""
        in_time = ((place >= far_back[some]) & (place < far_on[some])) | to_zero[some]
        is_steep = steep >= climb * np.where(m <= NEARBY, SHORT_STEP_SHARE, LONG_STEP_SHARE)
        both: Truths = is_steep & (in_time | (used <= LITTLE_SHARE * climb))
        return both

    some = np.flatnonzero(is_deep)
    ahead = np.minimum(end, np.minimum(at + most + 1, np.maximum(far_on, at + timeless + 1)))
    some, place = _nearest(v, some, (at + 1)[some], ahead[some], (fallen.before - fallen.tolerance)[some], "first")
    m, climb = place - at[some], np.maximum(v[place] - fallen.now[some], fallen.fall[some])
    good = is_glitch(some, place, m, v[place] - v[place - 1], climb, v[place] - fallen.before[some])
    dip = np.zeros(len(at), np.int64)
    dip[some[good]] = m[good]
    if only_transients:
        return _Gone.of([(at, at + dip, _TRANSIENT)])

    behind = np.maximum(np.maximum(first, at - 1 - most), np.minimum(far_back, at - 1 - timeless))
    bound = fallen.now + np.where(is_deep, fallen.tolerance, fallen.tiny)
    some, place = _nearest(v, np.arange(len(at)), behind, at - 1, bound, "last")
    some_at, before, base, deep = at[some], fallen.before[some], v[place], is_deep[some]
    later = some_at[:, None] + np.arange(1, NEARBY + 1)
    again = ((later < end[some][:, None]) & (v[np.minimum(later, len(v) - 1)] >= before[:, None])).any(axis=1)  # climbed again so soon: no spike
    m, climb = some_at - 1 - place, np.maximum(before - base, fallen.fall[some])
    good = is_glitch(some, place, m, v[np.minimum(place + 1, len(v) - 1)] - base, climb, fallen.now[some] - base)
    good &= ((m <= NEARBY) | ~to_zero[some]) & (from_zero | (base != 0)) & (deep | (~again & (fallen.fall[some] >= LONG_STEP_SHARE * climb)))
    spike = np.zeros(len(at), np.int64)
    spike[some[good]] = m[good]

    is_dip = (dip > 0) & ((spike == 0) | (dip < spike) | ((dip == spike) & to_zero))
    gone = [(at[is_dip], (at + dip)[is_dip], _TRANSIENT), ((at - spike)[~is_dip], at[~is_dip], _SPIKE)]
    neither = is_deep & (dip == 0) & (spike == 0)
    if 1 < most <= NEARBY and neither.any():
        gone += _both(fallen.where(neither), k, v, first[neither], end[neither], most)
    return _Gone.of(gone)


def _both(fallen: _Falls, k: Ints, v: Floats, first: Ints, end: Ints, most: int) -> list[tuple[Ints, Ints, int]]:
    """A spike and a dip side by side, together of up to `most` readings: ranges of places and their rules."""
    at, tolerance = fallen.at, fallen.tolerance
    places = {away: np.clip(at + away, 0, len(v) - 1) for away in range(-NEARBY, NEARBY)}
    shown = {away: v[place] for away, place in places.items()}
    sides = np.zeros((2, len(at)), np.int64)
    for a, b in sorted(((a, b) for a in range(1, most) for b in range(1, most) if a + b <= most), key=lambda shape: (sum(shape), shape[0])):
        base, back = shown[-a - 1], shown[b]
        above = np.minimum.reduce([shown[-n] for n in range(1, a + 1)]) > back + tolerance
        below = np.maximum.reduce([shown[n] for n in range(b)]) < base - tolerance
        within = (at - a - 1 >= first) & (at + b < end) & (k[places[b]] - k[places[-a - 1]] <= _LONGEST_US)
        rise, dive = fallen.before - base, back - fallen.now
        steep = (shown[-a] - base >= LONG_STEP_SHARE * rise) & (back - shown[b - 1] >= LONG_STEP_SHARE * dive)
        little = back - base <= LITTLE_SHARE * np.minimum(rise, dive)
        fits = within & (base <= back + tolerance) & above & below & steep & little & (sides[0] == 0)
        sides[:, fits] = [[a], [b]]
    return [(at - sides[0], at, _SPIKE), (at, at + sides[1], _TRANSIENT)]


def _nearest(v: Floats, some: Ints, low: Ints, high: Ints, bound: Floats, which: Literal["first", "last"]) -> tuple[Ints, Ints]:
    """Of falls the first place in [low, high) whose value is at least a bound, or the last whose value is at most that: which have one, and it."""
    found: list[Any] = [np.empty((2, 0), np.int64)]
    for part in _parts(np.maximum(high - low, 0)):
        owner, place = ragged(low[part], high[part])
        shown, owner = v[place], owner + part.start
        fits = np.flatnonzero(shown >= bound[owner] if which == "first" else shown <= bound[owner])
        owner, place = owner[fits], place[fits]
        nearest = np.flatnonzero(np.diff(owner, prepend=-1) if which == "first" else np.diff(owner, append=-1))
        found.append(np.stack([owner[nearest], place[nearest]]))
    owner, place = np.concatenate(found, axis=1)
    return some[owner], place


def _parts(lengths: Ints) -> Iterator[slice]:
    """Neighbours that are looked at together, so that memory stays bounded."""
    held = (np.cumsum(lengths) - 1) // _AT_ONCE
    bounds = np.flatnonzero(np.diff(held)) + 1
    for begin, end in zip([0, *bounds.tolist()], [*bounds.tolist(), len(lengths)], strict=True):
        yield slice(begin, end)
