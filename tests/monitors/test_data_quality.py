"""The six parts of the data-quality index by hand, and the laws that hold of their sums."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schemas import (
    ARRIVAL,
    CALIBRATION,
    INSTANT,
    QUALITY_COUNT,
    QUALITY_PARTS,
    QUALITY_WEIGHT,
    READING,
    REGISTER,
    conform,
)
from monitors.completeness import completeness, due_spans, received_runs
from monitors.data_quality import (
    accuracy_counts,
    arrivals,
    completeness_counts,
    conformity_counts,
    data_quality,
    timeliness_counts,
    validity_counts,
    verifiability_counts,
)

ZONE = "Asia/Shanghai"
DAY = date(2026, 3, 2)
MIDNIGHT = datetime(2026, 3, 1, 16, tzinfo=UTC)  # of that day in Shanghai
SLOT = timedelta(minutes=15)
NAMES = pl.DataFrame(
    {"register_key": [1, 2, 3], "enterprise": ["E", "E", "F"], "meter": ["M", "N", "M"]}, schema_overrides={"register_key": pl.UInt32()},
)
PERIODS = pl.DataFrame({"period": ["2026-03"], "first": [date(2026, 3, 1)], "last": [date(2026, 3, 31)]})
WEIGHTS = pl.DataFrame(
    [(part, 1.0, 7200 if part == "timeliness" else None, date(2020, 1, 1), "assumption") for part in QUALITY_PARTS],
    schema=QUALITY_WEIGHT, orient="row",
)
METERS = pl.DataFrame({"enterprise": ["E", "E", "F"], "meter": ["M", "N", "M"], "park": ["P", "P", "P"]})
MESSAGES_OF = pl.DataFrame({"enterprise": ["E", "F"], "meter": [None, None], "park": ["P", "P"]}, schema_overrides={"meter": pl.String()})


def sent(*rows: tuple[datetime, int], key: int = 1, **of: object) -> pl.DataFrame:
    """READING of (instant, seconds until it arrived)."""
    frame = pl.DataFrame({
        "register_key": key, "read_at": [at for at, _ in rows], "received_at": [at + timedelta(seconds=took) for at, took in rows], "copy": 0,
        "quality": 0, "value": 1.0, "message": 5,
    })
    return conform(frame.with_columns(**{name: pl.lit(value) for name, value in of.items()}), READING)


def whole_day(key: int = 1, *, took: int = 60, first: timedelta = timedelta()) -> pl.DataFrame:
    return sent(*((MIDNIGHT + SLOT * slot + (first if slot == 0 else timedelta()), took) for slot in range(96)), key=key)


def shown(counts: pl.DataFrame) -> dict[tuple[str, str | None], tuple[int | None, int | None]]:
    assert counts.schema == QUALITY_COUNT
    return {(row["enterprise"], row["meter"]): (row["good"], row["total"]) for row in counts.to_dicts()}


# --- the parts --------------------------------------------------------------------------------------------------------

def test_arrivals_are_counted_by_local_day_without_copies():
    late_evening = MIDNIGHT - timedelta(seconds=1)
    readings = pl.concat([
        sent((late_evening, 10), (MIDNIGHT, 900), (MIDNIGHT + SLOT, 901), (MIDNIGHT + 2 * SLOT, 86_401)), sent((MIDNIGHT, 1), copy=1),
        sent((MIDNIGHT + 3 * SLOT, 1), quality=2), sent((MIDNIGHT + 4 * SLOT, 1), message=None),
    ])
    found = arrivals(readings, ZONE)
    assert found.schema == ARRIVAL
    columns = ["day", "start", "readings", "with_message", "within_900_s", "within_1800_s", "within_86400_s"]
    assert found.select(columns).rows() == [
        (date(2026, 3, 1), MIDNIGHT - timedelta(days=1), 1, 1, 1, 1, 1), (DAY, MIDNIGHT, 5, 4, 3, 4, 4),
    ]


def test_completeness_is_points_that_came_of_points_due_of_all_registers_of_a_meter():
    received = received_runs(pl.concat([whole_day(1).head(90), whole_day(2)]), ZONE)
    registers = conform(NAMES.head(2).select("register_key"), REGISTER)
    complete = completeness(received, due_spans(received, registers, MIDNIGHT, MIDNIGHT + timedelta(days=1)), ZONE)
    assert shown(completeness_counts(complete, NAMES, PERIODS)) == {("E", "M"): (90, 96), ("E", "N"): (96, 96)}
    one_meter = NAMES.with_columns(meter=pl.lit("M"))
    assert shown(completeness_counts(complete, one_meter, PERIODS)) == {("E", "M"): (186, 192)}


@pytest.mark.parametrize(("state", "count"), [
    ("valid", (1, 1)), ("due_soon", (1, 1)), ("overdue", (0, 1)), ("never", (None, None)), ("no_due_date", (None, None)),
])
def test_accuracy_counts_meters_and_what_is_not_entered_is_not_known(state, count):
    verified = conform(pl.DataFrame({"enterprise": ["E"], "meter": ["M"], "state": [state]}), CALIBRATION)
    assert shown(accuracy_counts(verified, "2026-03")) == {("E", "M"): count}


@pytest.mark.parametrize(("took", "good"), [(7200, 1), (7201, 0), (-30, 1)])
def test_a_reading_is_late_after_its_bound(took, good):
    readings = sent((MIDNIGHT, took))
    found = timeliness_counts(arrivals(readings, ZONE), received_runs(readings, ZONE), WEIGHTS, NAMES, PERIODS)
    assert shown(found) == {("E", "M"): (good, 1)}


def test_the_bound_is_that_of_the_first_day_of_the_period():
    readings = sent((MIDNIGHT, 1000))
    strict = WEIGHTS.filter(part="timeliness").with_columns(late_after_s=pl.lit(900, pl.Int64), valid_from=pl.lit(date(2026, 3, 1)))
    stricter = pl.concat([WEIGHTS, strict])
    later = stricter.with_columns(valid_from=pl.when(pl.col("late_after_s") == 900).then(date(2026, 3, 2)).otherwise("valid_from"))
    came, received = arrivals(readings, ZONE), received_runs(readings, ZONE)
    assert shown(timeliness_counts(came, received, stricter, NAMES, PERIODS)) == {("E", "M"): (0, 1)}
    assert shown(timeliness_counts(came, received, later, NAMES, PERIODS)) == {("E", "M"): (1, 1)}


def test_readings_whose_arrival_was_never_counted_make_the_meter_unknown_and_no_other():
    readings = pl.concat([whole_day(1), whole_day(2), sent((MIDNIGHT + timedelta(days=1), 5))])
    came = arrivals(readings, ZONE).filter(~((pl.col("register_key") == 1) & (pl.col("day") == DAY)))
    found = timeliness_counts(came, received_runs(readings, ZONE), WEIGHTS, NAMES, PERIODS)
    assert shown(found) == {("E", "M"): (None, None), ("E", "N"): (96, 96)}


@pytest.mark.parametrize(("message", "checked", "good"), [(5, [1], 1), (5, [2], 0), (None, [1], 0)])
def test_a_figure_is_verifiable_when_it_can_be_walked_back_and_was_held_against_a_second_source(message, checked, good):
    readings = pl.concat([sent((MIDNIGHT, 1), message=message), sent((MIDNIGHT + SLOT, 1))])
    held = pl.DataFrame({"register_key": checked, "period": ["2026-03"]}, schema_overrides={"register_key": pl.UInt32()})
    found = verifiability_counts(arrivals(readings, ZONE), received_runs(readings, ZONE), held, NAMES, PERIODS)
    assert shown(found) == {("E", "M"): (good, 1)}


def test_where_nobody_looked_for_a_second_source_verifiability_is_not_known():
    readings = sent((MIDNIGHT, 1))
    assert shown(verifiability_counts(arrivals(readings, ZONE), received_runs(readings, ZONE), None, NAMES, PERIODS)) == {("E", "M"): (None, None)}
    held = pl.DataFrame({"register_key": [1], "period": ["2026-03"]}, schema_overrides={"register_key": pl.UInt32()})
    uncounted = verifiability_counts(pl.DataFrame(schema=ARRIVAL), received_runs(readings, ZONE), held, NAMES, PERIODS)
    assert shown(uncounted) == {("E", "M"): (None, None)}


def test_validity_is_what_passed_of_what_passed_or_failed_and_unknown_where_validation_did_not_look():
    readings = pl.concat([whole_day(1), whole_day(2)])
    judged = verdicts((1, DAY, 94, 2, 0))
    received = received_runs(readings, ZONE)
    assert shown(validity_counts(judged, received, NAMES, PERIODS)) == {("E", "M"): (94, 96), ("E", "N"): (None, None)}
    assert shown(validity_counts(None, received, NAMES, PERIODS)) == {("E", "M"): (None, None), ("E", "N"): (None, None)}


def verdicts(*rows):
    return pl.DataFrame(
        rows, orient="row",
        schema={"register_key": pl.UInt32(), "day": pl.Date(), "passed": pl.UInt32(), "failed": pl.UInt32(), "unknown": pl.UInt32()},
    )


@pytest.mark.parametrize(("rows", "count"), [
    ([(1, DAY, 96, 0, 0)], (96, 96)), ([(1, DAY, 0, 96, 0)], (0, 96)), ([(1, DAY, 95, 0, 1)], (None, None)), ([(1, DAY, 0, 2, 94)], (None, None)),
    ([(1, DAY, 90, 6, 0), (1, DAY + timedelta(days=1), 90, 5, 1)], (90, 96)),
    ([(1, DAY, 90, 6, 0), (3, DAY, 80, 1, 0)], (170, 177)), ([(1, DAY, 96, 0, 0), (3, DAY, 95, 0, 1)], (None, None)),
])
def test_a_reading_that_could_not_be_judged_is_neither_good_nor_bad(rows, count):
    """Registers 1 and 3 are of one meter."""
    names = pl.concat([NAMES.filter(pl.col("register_key") == 1), NAMES.filter(pl.col("register_key") == 1).with_columns(
        register_key=pl.lit(3, pl.UInt32()))])
    received = received_runs(whole_day(1), ZONE)
    assert shown(validity_counts(verdicts(*rows), received, names, PERIODS)) == {("E", "M"): count}


@pytest.mark.parametrize(("verdict", "count"), [("passed", (97, 97)), ("failed", (96, 97)), ("unknown", (None, None)), (None, (96, 96))])
def test_the_start_of_a_day_is_one_more_thing_that_conforms_or_not(verdict, count):
    """None: the rule is not asked of this register."""
    assert shown(conformity(whole_day(), verdict=verdict)) == {("E", "M"): count}


@pytest.mark.parametrize(("owed_from", "count"), [(MIDNIGHT, (96, 97)), (MIDNIGHT + SLOT, (96, 96))])
def test_a_start_is_due_only_of_a_day_that_begins_while_readings_are_owed(owed_from, count):
    assert shown(conformity(whole_day(), verdict="failed", owed_from=owed_from)) == {("E", "M"): count}


def test_where_validation_did_not_look_conformity_is_not_known():
    assert shown(conformity(whole_day(), looked=False)) == {("E", "M"): (None, None)}


def test_what_was_refused_does_not_conform_and_counts_for_its_enterprise_where_no_meter_can_be_named():
    refused = pl.DataFrame({"enterprise": ["E", "E", "E", "F"], "meter": ["M", "X", None, None], "day": [DAY] * 4, "refused": [3, 2, 1, 4]})
    assert shown(conformity(whole_day(), refused)) == {("E", "M"): (97, 100), ("E", None): (0, 3), ("F", None): (0, 4)}
    next_month = refused.with_columns(day=pl.lit(date(2026, 4, 1)))
    assert shown(conformity(whole_day(), next_month)) == {("E", "M"): (97, 97)}


def conformity(
    readings: pl.DataFrame, refused: pl.DataFrame | None = None, *, verdict: str | None = "passed", owed_from: datetime = MIDNIGHT,
    looked: bool = True,
) -> pl.DataFrame:
    received = received_runs(readings, ZONE)
    day = received.select("register_key", "day").unique()
    spans = pl.DataFrame({"register_key": [1], "start": [owed_from], "end": [MIDNIGHT + timedelta(days=1)]}, schema_overrides={
        "register_key": pl.UInt32(), "start": INSTANT, "end": INSTANT,
    })
    starts = day.with_columns(start=pl.lit(MIDNIGHT, INSTANT), verdict=pl.lit(verdict)).filter(pl.lit(verdict is not None))
    nothing = pl.DataFrame(schema={"enterprise": pl.String, "meter": pl.String, "day": pl.Date, "refused": pl.Int64})
    judged = day if looked else day.clear()
    return conformity_counts(received, nothing if refused is None else refused, judged, starts, spans, NAMES, PERIODS)


# --- the index --------------------------------------------------------------------------------------------------------

def counted(*rows: tuple[str, str | None, str, int | None, int | None]) -> pl.DataFrame:
    return conform(pl.DataFrame(
        [(enterprise, meter, "2026-03", part, good, total) for enterprise, meter, part, good, total in rows], schema=QUALITY_COUNT, orient="row",
    ), QUALITY_COUNT)


def six(enterprise: str, meter: str, goods: list[int | None], total: int = 10) -> list[tuple[str, str, str, int | None, int | None]]:
    return [(enterprise, meter, part, good, None if good is None else total) for part, good in zip(QUALITY_PARTS, goods, strict=True)]


def test_the_index_is_the_weighted_mean_of_the_parts_ratios():
    counts = counted(*six("E", "M", [10, 10, 9, 8, 7, 6]))
    weighted = WEIGHTS.with_columns(weight=pl.when(pl.col("part") == "completeness").then(5.0).otherwise(1.0))
    row, = data_quality(counts, METERS.head(1), PERIODS, WEIGHTS, "meter").to_dicts()
    assert (row["state"], row["missing"], row["known_weight_ratio"], row["meters"], row["source"]) == ("complete", [], 1.0, 1, "assumption")
    assert row["index_ratio"] == row["known_index_ratio"] == pytest.approx((1 + 1 + 0.9 + 0.8 + 0.7 + 0.6) / 6)
    assert (row["timeliness_good"], row["timeliness_total"], row["timeliness_ratio"]) == (9, 10, 0.9)
    row, = data_quality(counts, METERS.head(1), PERIODS, weighted, "meter").to_dicts()
    assert row["index_ratio"] == pytest.approx((5 + 1 + 0.9 + 0.8 + 0.7 + 0.6) / 10)


def test_a_part_that_is_not_known_makes_the_index_incomplete_and_is_named():
    row, = data_quality(counted(*six("E", "M", [10, None, 9, 8, 7, 6])), METERS.head(1), PERIODS, WEIGHTS, "meter").to_dicts()
    assert (row["state"], row["index_ratio"], row["missing"]) == ("incomplete", None, ["accuracy"])
    assert (row["accuracy_good"], row["accuracy_total"], row["accuracy_ratio"], row["accuracy_unknown"]) == (None, None, None, 1)
    assert row["known_index_ratio"] == pytest.approx((1 + 0.9 + 0.8 + 0.7 + 0.6) / 5)
    assert row["known_weight_ratio"] == pytest.approx(5 / 6)


def test_a_part_of_which_there_was_nothing_makes_the_index_incomplete_too():
    counts = counted(*six("E", "M", [10, 10, 9, 8, 7, 6])).filter(pl.col("part") != "validity")
    row, = data_quality(counts, METERS.head(1), PERIODS, WEIGHTS, "meter").to_dicts()
    assert (row["state"], row["missing"]) == ("incomplete", ["validity"])
    assert (row["validity_total"], row["validity_ratio"], row["validity_unknown"]) == (0, None, 0)


def test_a_part_that_weighs_nothing_lacks_nothing_and_one_without_a_weight_does():
    counts = counted(*six("E", "M", [10, None, 10, 10, 10, 0]))
    free = WEIGHTS.with_columns(weight=pl.when(pl.col("part") == "accuracy").then(0.0).otherwise(1.0))
    row, = data_quality(counts, METERS.head(1), PERIODS, free, "meter").to_dicts()
    assert (row["state"], row["index_ratio"]) == ("complete", pytest.approx(0.8))
    later = WEIGHTS.with_columns(valid_from=pl.when(pl.col("part") == "conformity").then(date(2026, 3, 2)).otherwise("valid_from"))
    row, = data_quality(counted(*six("E", "M", [10] * 6)), METERS.head(1), PERIODS, later, "meter").to_dicts()
    assert (row["state"], row["missing"]) == ("incomplete", ["conformity"])


def test_an_enterprise_of_which_one_meter_is_not_known_is_incomplete_and_says_how_many():
    counts = counted(*six("E", "M", [10] * 6), *six("E", "N", [5, 5, None, 5, 5, 5]))
    row, = data_quality(counts, METERS.head(2), PERIODS, WEIGHTS, "enterprise").to_dicts()
    assert (row["state"], row["missing"], row["meters"], row["timeliness_unknown"]) == ("incomplete", ["timeliness"], 2, 1)
    assert (row["timeliness_good"], row["timeliness_total"], row["timeliness_ratio"]) == (10, 10, 1.0)
    assert row["completeness_ratio"] == 0.75


def test_the_ratio_of_an_enterprise_is_sum_over_sum_and_no_mean_of_ratios():
    counts = counted(*six("E", "M", [1000] * 6, total=1000), *six("E", "N", [0] * 6))
    row, = data_quality(counts, METERS.head(2), PERIODS, WEIGHTS, "enterprise").to_dicts()
    assert row["completeness_ratio"] == row["index_ratio"] == pytest.approx(1000 / 1010)


def test_messages_that_no_meter_sent_count_for_enterprise_and_park_and_for_no_meter():
    counts = counted(*six("E", "M", [10] * 6), ("E", None, "conformity", 0, 10))
    cells = pl.concat([METERS.head(1), MESSAGES_OF.head(1)])
    by = {level: data_quality(counts, cells, PERIODS, WEIGHTS, level).row(0, named=True) for level in ("meter", "enterprise", "park")}
    assert [by[level]["conformity_ratio"] for level in by] == [1.0, 0.5, 0.5]
    assert [by[level]["meters"] for level in by] == [1, 1, 1]
    assert [(one["park"], one["enterprise"], one["meter"]) for one in by.values()] == [(None, "E", "M"), (None, "E", None), ("P", None, None)]


COUNT = st.one_of(st.none(), st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: (min(pair), max(pair))))


@given(st.lists(st.lists(COUNT, min_size=6, max_size=6), min_size=3, max_size=3), st.tuples(COUNT, COUNT))
def test_numerators_and_denominators_by_meter_add_up_to_enterprise_and_park(of_meters, unnamed):
    rows = [
        (enterprise, meter, part, *(count or (None, None)))
        for (enterprise, meter, _), parts in zip(METERS.rows(), of_meters, strict=True) for part, count in zip(QUALITY_PARTS, parts, strict=True)
    ]
    rows += [(enterprise, None, "conformity", *count) for enterprise, count in zip("EF", unnamed, strict=True) if count]
    cells = pl.concat([METERS, MESSAGES_OF])
    counts = counted(*rows)
    columns = [f"{part}_{name}" for part in QUALITY_PARTS for name in ("good", "total", "unknown")]
    meters = data_quality(counts, cells, PERIODS, WEIGHTS, "meter").select("enterprise", pl.col(columns).fill_null(0))
    enterprises = data_quality(counts, cells, PERIODS, WEIGHTS, "enterprise")
    park = data_quality(counts, cells, PERIODS, WEIGHTS, "park")
    summed = enterprises.select(pl.col(columns).fill_null(0).sum())
    assert summed.equals(park.select(pl.col(columns).fill_null(0)))
    no_meter = pl.DataFrame({"enterprise": ["E", "F"], "conformity_good": [count[0] if count else 0 for count in unnamed],
                             "conformity_total": [count[1] if count else 0 for count in unnamed]})
    by_hand = pl.concat([meters, no_meter], how="diagonal").group_by("enterprise").agg(pl.col(columns).sum()).sort("enterprise")
    assert by_hand.equals(enterprises.select("enterprise", pl.col(columns).fill_null(0)))
    for row in enterprises.to_dicts():
        ratios = [row[f"{part}_ratio"] for part in QUALITY_PARTS]
        assert all(ratio is None or 0 <= ratio <= 1 for ratio in ratios)
        assert (row["state"] == "complete") == (row["index_ratio"] is not None) == (None not in ratios and not row["missing"])


@given(st.permutations(range(18)), st.integers(1, 17))
def test_the_order_of_the_counts_changes_nothing(order, cut):
    rows = [*six("E", "M", [9, 8, 7, 6, 5, 4]), *six("E", "N", [1, 2, 3, 4, 5, 6]), *six("F", "M", [10] * 6)]
    mixed = pl.concat([counted(*(rows[place] for place in order[:cut])), counted(*(rows[place] for place in order[cut:]))])
    for level in ("meter", "enterprise", "park"):
        assert data_quality(mixed, METERS, PERIODS, WEIGHTS, level).equals(data_quality(counted(*rows), METERS, PERIODS, WEIGHTS, level))
