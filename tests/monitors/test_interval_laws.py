"""Laws of the interval rules: known series with labelled faults give back what was used, and exactly the labels."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from config import calendar
from config.schemas import EVENT, READING, REGISTER
from monitors import axis
from monitors.intervals import Grain, counted, intervals, spread

SHANGHAI = "Asia/Shanghai"
START = datetime(2025, 6, 1, 2, tzinfo=UTC)
APART = 8  # good readings between two faults
NO_EVENTS = pl.DataFrame(schema=EVENT)
Labels = set[tuple[str, int, int]]  # flag, and the numbers of the readings between which it stands


def register(**given: Any) -> pl.DataFrame:
    known = {"register_key": 1, "meter": "M", "register": "main", "medium": "electricity", "unit": "kWh", "kind": "cumulative", "stamp": "end"}
    return pl.DataFrame([{**dict.fromkeys(REGISTER), **known, **given}], schema=REGISTER)


@dataclass
class Series:
    """A register that is known to the last reading, and what was done to it.

    Readings are numbered; `shown` of None is a reading that never came.
    """

    used: list[float]  # in each step
    minutes: int
    first: float
    shown: list[float | None] = field(init=False)
    aside: dict[int, set[str]] = field(default_factory=dict)  # label of each reading that must not count
    flags: Labels = field(default_factory=set)
    lost: float = 0.0  # used across a reset: nobody can know it
    events: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shown = [self.first + sum(self.used[:place]) for place in range(len(self.used) + 1)]

    def at(self, place: float) -> datetime:
        return START + timedelta(minutes=self.minutes * place)

    def value(self, place: int) -> float:
        value = self.shown[place]
        assert value is not None
        return value

    def lower_from(self, place: int, by: float) -> None:
        self.shown = [value if value is None or other < place else value - by for other, value in enumerate(self.shown)]

    def bridged(self, before: int, after: int) -> None:
        """Label the step between two counted readings with others, missing or set aside, in between."""
        if (after - before) * self.minutes > 60 and after - before > 1:
            self.flags.add(("gap", before, after))

    # --- faults ---

    def glitch(self, place: int, length: int, values: list[float], rule: str) -> None:
        for other, value in zip(range(place, place + length), values, strict=True):
            self.shown[other] = value
            self.aside[other] = {rule}
        self.bridged(place - 1, place + length)

    def zeros(self, place: int, length: int) -> None:
        self.glitch(place, length, [0.0] * length, "transient")

    def dip(self, place: int, length: int, share: float) -> None:
        low = self.value(place) * share * 0.5
        self.glitch(place, length, [low] * length, "transient")

    def spike(self, place: int, length: int, share: float) -> None:
        high = 20_000 * (1 + share)
        self.glitch(place, length, [self.value(other) + high for other in range(place, place + length)], "spike")

    def spike_and_zeros(self, place: int, length: int, share: float) -> None:
        above = self.value(place) + 20_000 * (1 + share)
        self.glitch(place, length + 1, [above] + [0.0] * length, "transient")
        self.aside[place] = {"spike"}

    def restored(self, place: int, length: int, share: float) -> None:
        """After false zeros the meter shows a count from some minutes before the cut."""
        self.zeros(place, length)
        before = self.value(place - 1)
        back = self.value(place + length) - before * (1 - max(0.01, 0.99 * share) * 1e-3)
        self.lost += back
        self.lower_from(place + length, back)
        self.flags.add(("jitter", place - 1, place + length))

    def gap(self, place: int, length: int) -> None:
        for other in range(place, place + length):
            self.shown[other] = None
        self.bridged(place - 1, place + length)

    def jitter(self, place: int, share: float) -> None:
        """One reading a little below the one before it; the next is above both."""
        before = self.value(place - 1)
        self.shown[place] = before * (1 - max(1e-6, 0.99 * share * 1e-3))
        self.flags.add(("jitter", place - 1, place))

    def reset(self, place: int) -> None:
        self.lost += self.used[place - 1]
        self.lower_from(place, self.value(place) - 500)
        self.flags.add(("reset", place - 1, place))

    def change(self, place: int, share: float) -> None:
        """A declared change between two readings."""
        closing = self.value(place - 1) + share * self.used[place - 1]
        opening = 500.0
        self.events.append((1, self.at(place - 0.5), "change", closing, opening, None))
        self.lower_from(place, closing - opening)

    # --- what comes out ---

    def readings(self) -> pl.DataFrame:
        return pl.DataFrame(
            [(1, self.at(place), 0, value, 0, self.at(place), place) for place, value in enumerate(self.shown) if value is not None],
            schema=READING, orient="row",
        )

    def check(self, **known: Any) -> None:
        """The known consumption, and the labels: neither fewer nor more."""
        done = counted(self.readings(), register(**known), pl.DataFrame(self.events, schema=EVENT, orient="row"), zone=SHANGHAI)
        total = sum(self.used) - self.lost
        assert {row["message"]: set(row["broken_rules"]) for row in done.set_aside.iter_rows(named=True)} == self.aside
        place = {self.at(other): other for other in range(len(self.shown))}
        assert {(row["flag"], place[row["start"]], place[row["end"]]) for row in done.flags.iter_rows(named=True)} == self.flags
        for by in ("reading", "hour"):
            found = spread(done, by)["quantity"]
            assert found.sum() == pytest.approx(total, rel=1e-9)
            assert (found >= 0).all()


steps = st.integers(50, 500).map(lambda cents: cents / 100)
shares = st.floats(0.0, 1.0).map(lambda share: round(share, 3))
short = st.integers(1, 4)


@st.composite
def series(draw: st.DrawFn, faults: int = 0, longest: int = 4) -> tuple[Series, list[int]]:
    """A series, and the places of faults of up to `longest` readings that leave APART good ones on either side."""
    gaps = [draw(st.integers(APART + 1, APART + 12)) + longest for _ in range(faults)]
    places = [APART + 1 + sum(gaps[:number]) for number in range(faults)]
    count = (places[-1] if places else 20) + longest + APART + draw(st.integers(0, 30))
    few = draw(st.lists(steps, min_size=5, max_size=12))
    used = [few[(place * place + place) % len(few)] for place in range(count)]
    return Series(used, draw(st.sampled_from([15, 30, 60])), draw(st.integers(2000, 9000))), places


# --- labelled faults --------------------------------------------------------------------------------------------------

@settings(max_examples=20)
@given(series())
def test_a_register_without_faults_has_no_flags(made: tuple[Series, list[int]]) -> None:
    made[0].check()


@settings(max_examples=20)
@given(series(1), short, shares, st.sampled_from(["zeros", "dip", "spike", "gap"]))
def test_a_short_fault_gives_back_the_known_consumption_and_its_label(made: tuple[Series, list[int]], length: int, share: float, kind: str) -> None:
    known, [place] = made
    getattr(known, kind)(place, length, *([share] if kind in ("dip", "spike") else []))
    known.check()


@settings(max_examples=8)
@given(series(1, longest=300), st.integers(5, 300), shares, st.sampled_from(["zeros", "dip", "spike", "gap"]))
def test_a_fault_of_many_readings_is_one_too(made: tuple[Series, list[int]], length: int, share: float, kind: str) -> None:
    known, [place] = made
    if kind in ("dip", "spike"):
        known.first += 200_000  # the step is nine tenths of the climb, whatever is used meanwhile
        known.__post_init__()
    getattr(known, kind)(place, length, *([share] if kind in ("dip", "spike") else []))
    known.check()


@settings(max_examples=20)
@given(series(1, longest=5), st.integers(1, 3), shares, st.sampled_from(["spike_and_zeros", "restored"]))
def test_two_faults_at_once_are_told_apart(made: tuple[Series, list[int]], length: int, share: float, kind: str) -> None:
    known, [place] = made
    getattr(known, kind)(place, length, share)
    known.check()


@settings(max_examples=20)
@given(series(1), short)
def test_a_spike_of_less_than_a_thousandth_is_no_jitter(made: tuple[Series, list[int]], length: int) -> None:
    known, [place] = made
    known.first += 400_000
    known.__post_init__()
    known.glitch(place, length, [known.value(other) + 350 for other in range(place, place + length)], "spike")
    known.check()


@settings(max_examples=20)
@given(series(1), st.booleans())
def test_zeros_before_the_first_true_value_are_no_start_of_counting(made: tuple[Series, list[int]], rated: bool) -> None:
    known, [place] = made
    known.lost = sum(known.used[:place])
    known.shown[:place] = [0.0] * place
    known.flags = {("reset", place - 1, place)}
    known.check(max_rate_per_h=5.0 * 60 / known.minutes if rated else None)


@settings(max_examples=20)
@given(series(1))
def test_a_new_meter_that_starts_at_zero_counts_from_there(made: tuple[Series, list[int]]) -> None:
    known, [place] = made
    known.used[:place - 1] = [0.0] * (place - 1)
    known.first = 0.0
    known.__post_init__()
    known.check()


@settings(max_examples=20)
@given(series(1), st.integers(3, 40))
def test_a_reset_far_from_the_modulus_is_no_wrap(made: tuple[Series, list[int]], percent: int) -> None:
    known, [place] = made
    known.reset(place)
    before = known.value(place - 1)
    known.check(modulus=before / (1 - percent / 100))


@settings(max_examples=20)
@given(series(1), shares)
def test_a_small_step_back_is_flagged_and_nothing_else(made: tuple[Series, list[int]], share: float) -> None:
    known, [place] = made
    known.jitter(place, share)
    known.check()


@settings(max_examples=20)
@given(series(1))
def test_a_reset_counts_on_from_the_new_value(made: tuple[Series, list[int]]) -> None:
    known, [place] = made
    known.reset(place)
    known.check()


@settings(max_examples=20)
@given(series(1), shares)
def test_a_declared_change_carries_the_energy_over(made: tuple[Series, list[int]], share: float) -> None:
    known, [place] = made
    known.change(place, share)
    known.check()


@settings(max_examples=20)
@given(series(1), st.booleans(), st.integers(0, 8))
def test_a_wrap_loses_nothing(made: tuple[Series, list[int]], rated: bool, missing: int) -> None:
    known, [place] = made
    modulus = 100_000.0
    after = min(place + missing, len(known.shown) - APART)
    if after > place:
        known.gap(place, after - place)
    known.lower_from(0, known.value(place - 1) - (modulus - 0.25))
    known.lower_from(place, modulus)
    known.flags.add(("wrap", place - 1, after))
    known.check(modulus=modulus, max_rate_per_h=5.0 * 60 / known.minutes if rated else None)


KINDS = ("zeros", "dip", "spike", "spike_and_zeros", "restored", "gap", "jitter", "change", "reset")


@settings(max_examples=20)
@given(st.data())
def test_faults_of_all_kinds_together_keep_their_labels(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=7))
    known, places = data.draw(series(len(kinds)))
    for kind, place in zip(kinds, places, strict=True):
        if kind in ("zeros", "gap"):
            getattr(known, kind)(place, data.draw(short))
        elif kind in ("dip", "spike", "spike_and_zeros", "restored"):
            getattr(known, kind)(place, data.draw(st.integers(1, 3)), data.draw(shares))
        elif kind == "reset":
            known.reset(place)
        else:
            getattr(known, kind)(place, data.draw(shares))
    known.check()


@settings(max_examples=20)
@given(series(1), st.sampled_from([("marked_bad", 2), ("not_finite", float("nan")), ("not_finite", float("inf")), ("negative", -3.0)]))
def test_a_reading_that_is_bad_in_itself_is_set_aside(made: tuple[Series, list[int]], fault: tuple[str, float]) -> None:
    known, [place] = made
    rule, value = fault
    readings = known.readings()
    bad = pl.col("message") == place
    if rule == "marked_bad":
        readings = readings.with_columns(quality=pl.when(bad).then(pl.lit(2, dtype=pl.UInt8)).otherwise("quality"))
    else:
        readings = readings.with_columns(value=pl.when(bad).then(pl.lit(value)).otherwise("value"))
    found = intervals(readings, register(modulus=1e6, range_high=9e5), NO_EVENTS, by="reading", zone=SHANGHAI)
    assert found.set_aside.select("message", pl.col("broken_rules").list.join(" ")).rows() == [(place, rule)]
    assert found.intervals["quantity"].sum() == pytest.approx(sum(known.used), rel=1e-9)


@settings(max_examples=20)
@given(series(1), st.integers(2, 40))
def test_a_step_above_the_rating_is_kept_and_flagged(made: tuple[Series, list[int]], times: int) -> None:
    known, [place] = made
    rate = 5.0 * 60 / known.minutes
    known.used[place - 1] = 5.0 * times
    known.__post_init__()
    known.flags = {("over_rating", place - 1, place)}
    known.check(max_rate_per_h=rate)


# --- arrival ----------------------------------------------------------------------------------------------------------

@st.composite
def registers_with_faults(draw: st.DrawFn) -> pl.DataFrame:
    """READING of some registers, each with a short fault and a reset."""
    tables = []
    for key in range(draw(st.integers(1, 4))):
        known, [first, second] = draw(series(2))
        known.zeros(first, draw(short))
        known.reset(second)
        tables.append(known.readings().with_columns(pl.lit(3 * key, dtype=pl.UInt32).alias("register_key"), pl.col("message") + 10_000 * key))
    return pl.concat(tables)


def rows_for(readings: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([register(register_key=key) for key in readings["register_key"].unique().sort()])


@settings(max_examples=8)
@given(registers_with_faults(), st.integers(0, 1000))
def test_order_repetition_and_chunks_change_nothing(readings: pl.DataFrame, seed: int) -> None:
    rows = rows_for(readings)
    by: Grain = "hour"
    expected = intervals(readings, rows, NO_EVENTS, by=by, zone=SHANGHAI)
    again = readings.sample(fraction=0.3, seed=seed).with_columns(
        copy=pl.lit(1, dtype=pl.UInt8), received_at=pl.col("received_at") + timedelta(days=1), message=pl.col("message") + 1_000_000,
    )
    mixed = pl.concat([readings, again]).sample(fraction=1, shuffle=True, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(axis, "CHUNK_READINGS", 1 + seed % 200)
        found = intervals(mixed, rows, NO_EVENTS, by=by, zone=SHANGHAI)
    assert_frame_equal(found.intervals, expected.intervals, check_exact=True)
    assert_frame_equal(found.flags, expected.flags, check_exact=True)
    repeated = pl.col("message") >= 1_000_000
    assert_frame_equal(found.set_aside.filter(~repeated), expected.set_aside, check_exact=True)
    assert found.set_aside.filter(repeated).select("message", "broken_rules").rows() == [
        (message, ["duplicate"]) for message in found.set_aside.filter(repeated)["message"]
    ]
    assert found.set_aside.filter(repeated).height == again.height


@settings(max_examples=8)
@given(registers_with_faults(), st.integers(0, 1000))
def test_registers_do_not_know_of_each_other(readings: pl.DataFrame, seed: int) -> None:
    together = intervals(readings.sample(fraction=1, shuffle=True, seed=seed), rows_for(readings), NO_EVENTS, by="hour", zone=SHANGHAI)
    alone = [intervals(its, rows_for(its), NO_EVENTS, by="hour", zone=SHANGHAI) for its in readings.partition_by("register_key", maintain_order=True)]
    for name in ("intervals", "set_aside", "flags"):
        assert_frame_equal(getattr(together, name), pl.concat([getattr(one, name) for one in alone]), check_exact=True)


@settings(max_examples=6)
@given(st.data())
def test_a_day_computed_with_what_lies_within_reach_is_the_day_of_the_whole_history(data: st.DataObject) -> None:
    """The longest glitch and the floor reach 31 days, so what lies within 62 decides, wherever the history is cut beyond."""
    kinds = data.draw(st.lists(st.sampled_from(["zeros", "gap", "jitter", "reset"]), min_size=3, max_size=6))
    known, places = data.draw(series(len(kinds), longest=500))
    known.minutes = 180
    for kind, place in zip(kinds, places, strict=True):
        match kind:
            case "reset":
                known.reset(place)
            case "jitter":
                known.jitter(place, data.draw(shares))
            case _:
                getattr(known, kind)(place, data.draw(st.integers(1, 200)))
    readings = known.readings()
    whole = counted(readings, register(), NO_EVENTS, zone=SHANGHAI)
    days = spread(whole, "day")["start"]
    start, end = calendar.day_span(calendar.local_day(days[data.draw(st.integers(0, len(days) - 1))], SHANGHAI), SHANGHAI)
    before, after = (timedelta(days=data.draw(st.integers(62, 90))) for _ in range(2))
    part = counted(readings.filter(pl.col("read_at").is_between(start - before, end + after)), register(), NO_EVENTS, zone=SHANGHAI)
    for by in ("hour", "day"):
        of_day = pl.col("start").is_between(start, end, closed="left")
        assert_frame_equal(spread(part, by).filter(of_day), spread(whole, by).filter(of_day), check_exact=True)


# --- hours, days, months, years ---------------------------------------------------------------------------------------

CLOCKS = [  # a place, a local day on which its clock moves, and how long that day is
    ("Asia/Shanghai", date(1986, 5, 4), 23.0), ("Asia/Shanghai", date(1986, 9, 14), 25.0), ("Asia/Shanghai", date(1991, 4, 14), 23.0),
    ("Asia/Shanghai", date(1991, 9, 15), 25.0), ("Europe/Madrid", date(2016, 3, 27), 23.0), ("Europe/Madrid", date(2016, 10, 30), 25.0),
    ("America/St_Johns", date(2025, 3, 9), 23.0), ("America/St_Johns", date(2025, 11, 2), 25.0),
    ("Australia/Lord_Howe", date(2025, 4, 6), 24.5), ("Australia/Lord_Howe", date(2025, 10, 5), 23.5),
]


@pytest.mark.parametrize(("zone", "day", "hours"), CLOCKS)
@settings(max_examples=3)
@given(st.integers(1, 400), st.integers(0, 86_399), st.lists(steps, min_size=4, max_size=9))
def test_every_grain_telescopes_where_clocks_move(zone: str, day: date, hours: float, minutes: int, offset: int, few: list[float]) -> None:
    """Bounds of each interval are local bounds, they follow each other, and each is the sum of the finer ones inside."""
    count = max(20, 6 * 1440 // minutes)
    begin = calendar.day_span(day, zone)[0] - timedelta(days=3, seconds=offset)
    values, shown = 1000.0, []
    for place in range(count):
        shown.append((1, begin + timedelta(minutes=minutes * place), 0, values, 0, begin, place))
        values += few[place * place % len(few)]
    done = counted(pl.DataFrame(shown, schema=READING, orient="row"), register(), NO_EVENTS, zone=zone)
    tables = {by: spread(done, by) for by in ("reading", "hour", "day", "month", "year")}
    total = shown[-1][3] - 1000.0
    finest = tables["reading"]
    for by, table in tables.items():
        assert table["quantity"].sum() == pytest.approx(total, rel=1e-9)
        assert (table["start"].shift(-1) == table["end"]).all()
        known = table.select((pl.col("covered_ratio") * (pl.col("end") - pl.col("start")).dt.total_seconds()).sum()).item()
        assert known == pytest.approx((shown[-1][1] - begin).total_seconds(), rel=1e-9)
        if by in ("reading", "hour"):
            finest = table
            continue
        assert table["start"][1:].is_in(finest["start"].implode()).all()
        within = finest.join_asof(table.select(at="start"), left_on="start", right_on="at")
        summed = within.group_by("at", maintain_order=True).agg(pl.col("quantity").sum())
        assert summed["quantity"].to_list() == pytest.approx(table["quantity"].to_list(), rel=1e-9, abs=1e-9 * total)
        finest = table
    moved = tables["day"].filter(pl.col("start") == calendar.day_span(day, zone)[0])
    assert moved.select((pl.col("end") - pl.col("start")).dt.total_seconds() / 3600).item() == hours
