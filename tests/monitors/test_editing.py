"""What checked edits do to readings and consumption, on both sides of each bound, and the laws of estimates."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schemas import EDIT, EVENT, INSTANT, INTERVAL, READING, REGISTER, SET_ASIDE, WINDOW, conform
from monitors.editing import confirmed, edited, effects, explained, filled, unconfirmed
from monitors.intervals import Grain, counted, intervals, spread, uncovered

DAY = datetime(2026, 3, 1, tzinfo=UTC)
US = timedelta(microseconds=1)
ZONES = ("Asia/Shanghai", "Europe/Berlin", "Australia/Lord_Howe", "UTC")


def at(hours: float) -> datetime:
    return DAY + timedelta(hours=hours)


def edits(*rows: dict[str, Any]) -> pl.DataFrame:
    numbered = [{"edit": number, "register_key": 1, "known_from": at(99), **row} for number, row in enumerate(rows, start=1)]
    return conform(pl.DataFrame(numbered, infer_schema_length=None), EDIT) if rows else pl.DataFrame(schema=EDIT)


def excluded(start: datetime, end: datetime, key: int = 1) -> dict[str, Any]:
    return {"kind": "exclude", "start": start, "end": end, "register_key": key}


def replaced(start: datetime, value: float) -> dict[str, Any]:
    return {"kind": "replace", "start": start, "value": value}


def estimated(start: datetime, end: datetime, value: float) -> dict[str, Any]:
    return {"kind": "estimate", "start": start, "end": end, "value": value, "method": "manual"}


def readings(*values: tuple[datetime, float], key: int = 1) -> pl.DataFrame:
    rows = [{"register_key": key, "read_at": instant, "value": value, "copy": 0, "quality": 0, "message": 7} for instant, value in values]
    return conform(pl.DataFrame(rows), READING)


def window(*spans: tuple[datetime, datetime]) -> pl.DataFrame:
    return pl.DataFrame([(1, *span) for span in spans], schema=WINDOW, orient="row")


def shown(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(frame.select("register_key", "read_at", "value").rows())


HOURLY = readings(*((at(hour), float(hour)) for hour in range(6)))
NOTHING = pl.DataFrame(schema=INTERVAL)


def test_without_edits_nothing_changes() -> None:
    kept, aside = edited(HOURLY, edits())
    assert kept.equals(HOURLY)
    assert (aside.schema, aside.height) == (SET_ASIDE, 0)


def test_an_excluded_span_holds_its_start_and_not_its_end() -> None:
    kept, aside = edited(HOURLY, edits(excluded(at(1), at(3))))
    assert [value for _, _, value in shown(kept)] == [0.0, 3.0, 4.0, 5.0]
    assert aside.select("value", "broken_rules", "message").rows() == [(1.0, ["edited"], 7), (2.0, ["edited"], 7)]
    kept, _ = edited(HOURLY, edits(excluded(at(1) + US, at(2) + US)))
    assert [value for _, _, value in shown(kept)] == [0.0, 1.0, 3.0, 4.0, 5.0]


def test_a_long_exclusion_is_not_ended_by_a_short_one_inside_it() -> None:
    kept, _ = edited(HOURLY, edits(excluded(at(0), at(5)), excluded(at(1), at(2))))
    assert [value for _, _, value in shown(kept)] == [5.0]


def test_an_edit_concerns_its_own_register_only() -> None:
    both = pl.concat([HOURLY, readings((at(1), 9.0), key=2)])
    kept, aside = edited(both, edits(excluded(at(0), at(6), key=2), replaced(at(1), 1.5)))
    assert shown(kept) == [(1, at(hour), 1.5 if hour == 1 else float(hour)) for hour in range(6)]
    assert aside["value"].to_list() == [1.0, 9.0]


def test_a_replaced_value_counts_and_every_copy_of_the_original_is_set_aside() -> None:
    copies = pl.concat([HOURLY, readings((at(2), 2.5)).with_columns(copy=pl.lit(1, pl.UInt8))])
    kept, aside = edited(copies, edits(replaced(at(2), 2.2)))
    assert [value for _, _, value in shown(kept)] == [0.0, 1.0, 2.2, 3.0, 4.0, 5.0]
    assert aside["value"].to_list() == [2.0, 2.5]
    new = kept.filter(pl.col("value") == 2.2).row(0, named=True)
    assert (new["copy"], new["quality"], new["received_at"], new["message"]) == (0, 0, at(99), None)


@pytest.mark.parametrize(("hours", "counts"), [(0, True), (2.5, True), (5, True), (-0.5, False), (5.5, False)])
def test_a_value_read_off_by_a_person_counts_where_readings_lie_on_both_sides(hours: float, counts: bool) -> None:
    kept, _ = edited(HOURLY, edits(replaced(at(hours), 77.0)))
    assert (77.0 in kept["value"].to_list()) is counts


def test_a_replaced_value_counts_inside_an_excluded_span() -> None:
    kept, aside = edited(HOURLY, edits(excluded(at(0), at(6)), replaced(at(2), 2.2)))
    assert kept["value"].to_list() == [2.2]
    assert aside.height == 6


@given(st.permutations(range(6)), st.permutations(range(3)))
def test_the_order_of_readings_and_of_edits_makes_no_difference(order: list[int], turn: list[int]) -> None:
    some = edits(excluded(at(1), at(3)), replaced(at(2), 2.2), excluded(at(4), at(5)))
    expected, aside = edited(HOURLY, some)
    kept, left = edited(HOURLY[order], some[turn])
    assert shown(kept) == shown(expected)
    assert left.equals(aside)


def test_a_step_that_confirmed_time_holds_is_no_longer_suspect() -> None:
    suspect = window((at(0), at(1)), (at(1), at(2)), (at(5), at(6))).with_columns(flag=pl.Series(["over_rating", "reset", "over_rating"]))
    whole = edits({"kind": "confirm", "start": at(0), "end": at(1)})
    assert unconfirmed(suspect, whole)["start"].to_list() == [at(1), at(5)]
    assert unconfirmed(suspect, whole)["flag"].to_list() == ["reset", "over_rating"]
    assert unconfirmed(suspect, edits({"kind": "confirm", "start": at(0), "end": at(1) - US})).equals(suspect)
    assert unconfirmed(suspect, edits({"kind": "confirm", "start": at(0) + US, "end": at(1)})).equals(suspect)
    assert unconfirmed(suspect, edits({"kind": "confirm", "start": at(0), "end": at(1), "register_key": 2})).equals(suspect)
    together = edits(*({"kind": "confirm", "start": at(hours), "end": at(hours + 0.5)} for hours in (0, 0.5, 1, 1.5)))
    assert unconfirmed(suspect, together)["start"].to_list() == [at(5)]
    assert unconfirmed(suspect, together[[3, 1, 0, 2]])["start"].to_list() == [at(5)]
    assert unconfirmed(suspect, together.clear()).equals(suspect)


def test_a_confirmation_is_cut_where_a_reading_that_counts_arrived_after_its_check() -> None:
    right = edits({"kind": "confirm", "start": at(0), "end": at(10), "known_from": at(20)})
    came = readings((at(1), 1.0), (at(4), 2.0), (at(6), 3.0), (at(11), 4.0)).with_columns(
        received_at=pl.Series([at(20), at(20) + US, at(21), at(21)], dtype=INSTANT),
    )
    nothing = pl.DataFrame(schema=SET_ASIDE)
    assert confirmed(right, came, nothing).rows() == [(1, at(0), at(4) - US), (1, at(4) + US, at(6) - US), (1, at(6) + US, at(10))]
    assert confirmed(right, came, conform(came[1:3], SET_ASIDE)).rows() == [(1, at(0), at(10))]
    assert confirmed(right, came.with_columns(register_key=pl.lit(2, pl.UInt32)), nothing).rows() == [(1, at(0), at(10))]
    assert confirmed(edits(), came, nothing).is_empty()


def test_of_each_replacement_it_is_told_whether_its_value_counts() -> None:
    made = edits(replaced(at(1), 4.0), replaced(at(3), 900.0), replaced(at(9), 9.5))
    kept, _ = edited(HOURLY, made)
    aside = conform(kept.filter(pl.col("value") == 900.0), SET_ASIDE)
    assert effects(made, kept, aside).select("start", "end", "flag", "after").rows() == [
        (at(1), at(1), "replaced", 4.0), (at(3), at(3), "replaced_set_aside", 900.0), (at(9), at(9), "replaced_set_aside", 9.5),
    ]
    assert effects(edits(), kept, aside).rows() == []


def test_an_estimate_fills_what_is_not_covered_and_only_its_share() -> None:
    found = filled(NOTHING, window((at(0), at(10))), edits(estimated(at(8.5), at(12.5), 40.0)), "hour", "UTC")
    assert found.select("start", "quantity", "covered_ratio", "estimated_ratio").rows() == [(at(8), 5.0, 0.5, 1.0), (at(9), 10.0, 1.0, 1.0)]
    assert found["quality"].to_list() == ["estimated"] * 2
    assert found["end"].to_list() == [at(9), at(10)]


def test_without_uncovered_time_an_estimate_adds_nothing() -> None:
    measured = intervals(HOURLY, conform(pl.DataFrame({"register_key": [1], "kind": ["cumulative"]}), REGISTER), pl.DataFrame(schema=EVENT),
                         by="hour", zone="UTC").intervals
    assert filled(measured, window(), edits(estimated(at(0), at(5), 40.0)), "hour", "UTC").equals(measured)
    assert filled(measured, window((at(5), at(9))), edits(estimated(at(0), at(5), 40.0)), "hour", "UTC").equals(measured)


@pytest.mark.parametrize(("before", "after"), [("measured", "estimated"), ("estimated", "estimated"), ("suspect", "suspect")])
def test_a_partly_measured_interval_becomes_estimated_and_a_suspect_one_stays_so(before: str, after: str) -> None:
    half = conform(pl.DataFrame({
        "register_key": [1], "start": [at(8)], "end": [at(9)], "quantity": [3.0], "quality": [before], "covered_ratio": [0.5],
        "estimated_ratio": [0.2],
    }), INTERVAL)
    [row] = filled(half, window((at(8.5), at(9))), edits(estimated(at(8), at(9), 4.0)), "hour", "UTC").to_dicts()
    assert (row["quantity"], row["covered_ratio"], row["quality"]) == (5.0, 1.0, after)
    assert row["estimated_ratio"] == pytest.approx(0.5 * 0.2 + 0.5)


def test_of_overlapping_estimates_the_later_start_is_left_out_whatever_their_order() -> None:
    some = edits(estimated(at(2), at(4), 100.0), estimated(at(0), at(3), 3.0), estimated(at(4), at(5), 7.0), estimated(at(0), at(1), 50.0))
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        found = filled(NOTHING, window((at(0), at(9))), some[order], "hour", "UTC")
        assert found["quantity"].to_list() == [1.0, 1.0, 1.0, 7.0]


instants = st.integers(0, 90 * 24 * 60).map(lambda minutes: datetime(2026, 2, 20, tzinfo=UTC) + timedelta(minutes=minutes))


@st.composite
def spans(draw: st.DrawFn, most: int) -> list[tuple[datetime, datetime]]:
    """Spans in order that do not overlap; some touch."""
    bounds = sorted(draw(st.lists(instants, min_size=2, max_size=2 * most, unique=True)))
    return [(bounds[at], bounds[at + 1]) for at in range(0, len(bounds) - 1, draw(st.sampled_from([1, 2])))]


@given(spans(4), spans(4), st.lists(st.floats(0, 1e6), min_size=8, max_size=8), st.sampled_from(ZONES))
def test_estimates_telescope_over_all_grains_and_keep_the_uncovered_share_of_their_quantity(
    holes: list[tuple[datetime, datetime]], guessed: list[tuple[datetime, datetime]], values: list[float], zone: str,
) -> None:
    some = edits(*(estimated(*span, value) for span, value in zip(guessed, values, strict=False)))
    expected = sum(
        value * max(min(end, hole_end) - max(start, hole_start), timedelta()) / (end - start)
        for (start, end), value in zip(guessed, values, strict=False) for hole_start, hole_end in holes
    )
    grains: dict[Grain, pl.DataFrame] = {
        "hour": filled(NOTHING, window(*holes), some, "hour", zone), "day": filled(NOTHING, window(*holes), some, "day", zone),
        "month": filled(NOTHING, window(*holes), some, "month", zone),
    }
    for found in grains.values():
        assert found["quantity"].sum() == pytest.approx(expected, rel=1e-9, abs=1e-6)
        assert found.select(pl.col("start") < pl.col("end")).to_series().all()
        assert found["covered_ratio"].is_between(0, 1).all()
    local = grains["hour"].group_by(pl.col("start").dt.convert_time_zone(zone).dt.date().alias("day")).agg(pl.col("quantity").sum()).sort("day")
    assert local["quantity"].to_list() == pytest.approx(grains["day"]["quantity"].to_list(), rel=1e-9, abs=1e-6)


@given(spans(4), spans(3), st.integers(0, 90))
def test_a_day_filled_alone_is_the_day_filled_with_all_others(
    holes: list[tuple[datetime, datetime]], guessed: list[tuple[datetime, datetime]], ahead: int,
) -> None:
    some = edits(*(estimated(*span, 1000 / 3) for span in guessed))
    start, end = datetime(2026, 2, 20, tzinfo=UTC) + timedelta(days=ahead), datetime(2026, 2, 21, tzinfo=UTC) + timedelta(days=ahead)
    inside = [(max(low, start), min(high, end)) for low, high in holes if low < end and high > start]
    every = filled(NOTHING, window(*holes), some, "hour", "UTC").filter(pl.col("start").is_between(start, end, closed="left"))
    assert filled(NOTHING, window(*inside), some, "hour", "UTC").equals(every)


@pytest.mark.parametrize("zone", ZONES)
def test_hours_that_only_an_estimate_knows_are_the_hours_that_readings_know(zone: str) -> None:
    start = datetime(2026, 3, 25, tzinfo=UTC)
    counted = readings((start, 0.0), (start + timedelta(days=20), 480.0))
    register = conform(pl.DataFrame({"register_key": [1], "kind": ["cumulative"]}), REGISTER)
    known = intervals(counted, register, pl.DataFrame(schema=EVENT), by="hour", zone=zone).intervals
    found = filled(NOTHING, window((start, start + timedelta(days=20))), edits(estimated(start, start + timedelta(days=20), 480.0)), "hour", zone)
    assert found.select("start", "end").equals(known.select("start", "end"))
    assert found["quantity"].to_list() == pytest.approx(known["quantity"].to_list())


@pytest.mark.parametrize(("kind", "filled_in"), [("interval", [100.0, 100.0, 100.0, 77.0]), ("rate", [100.0] * 4)])  # 11:45 to 12:00 is measured
def test_measured_data_that_come_late_replace_an_estimate_by_themselves(kind: str, filled_in: list[float]) -> None:
    register = conform(pl.DataFrame({"register_key": [1], "kind": [kind], "stamp": ["end"]}), REGISTER)
    day = readings(*((at(quarter / 4), 2.0) for quarter in range(97)))
    gone = day.filter(~pl.col("read_at").is_between(at(8), at(12), closed="none"))
    some = edits(estimated(at(7), at(13), 600.0))

    def hours(came: pl.DataFrame) -> pl.DataFrame:
        what = counted(came, register, pl.DataFrame(schema=EVENT), zone="UTC")
        gaps = uncovered(what, window((at(0), at(24))))
        return filled(spread(what, "hour"), gaps, some, "hour", "UTC").filter(pl.col("start").is_between(at(0), at(23)))

    measured, estimate, late = hours(day), hours(gone), hours(pl.concat([gone, day.filter(pl.col("read_at").is_between(at(8), at(10)))]))
    missing = estimate.filter(pl.col("quality") == "estimated")
    assert missing["quantity"].to_list() == pytest.approx(filled_in)
    assert missing["start"].to_list() == [at(8), at(9), at(10), at(11)]
    assert estimate["covered_ratio"].to_list() == pytest.approx([1.0] * 24)
    assert measured["quality"].unique().to_list() == ["measured"]
    assert late.filter(pl.col("start") < at(9)).equals(measured.filter(pl.col("start") < at(9)))
    assert hours(pl.concat([gone, day])).equals(measured)  # repeated readings are duplicates


def test_an_excluded_spike_of_a_cumulative_register_leaves_its_total_as_it_was() -> None:
    register = conform(pl.DataFrame({"register_key": [1], "kind": ["cumulative"]}), REGISTER)
    spiked = pl.concat([HOURLY.filter(pl.col("read_at") != at(3)), readings((at(3), 1000.0))])

    def total(came: pl.DataFrame) -> float:
        return float(intervals(came, register, pl.DataFrame(schema=EVENT), by="hour", zone="UTC").intervals["quantity"].sum())

    kept, aside = edited(spiked, edits(excluded(at(3), at(3) + US)))
    assert total(kept) == total(HOURLY) == 5.0
    assert aside["value"].to_list() == [1000.0]
    assert total(edited(spiked, edits(replaced(at(3), 3.0)))[0]) == 5.0


def test_an_interval_names_the_edits_whose_time_overlaps_it() -> None:
    hours = window(*((at(hour), at(hour + 1)) for hour in range(9))).with_columns(further=pl.lit("kept"))
    some = edits(estimated(at(1), at(3), 1.0), {"kind": "confirm", "start": at(2), "end": at(2.5)}, replaced(at(6), 1.0))
    found = explained(hours, some)
    assert found["edits"].to_list() == [[], [1], [1, 2], [], [], [3], [3], [3], []]  # a replaced reading ends one step and begins another
    assert found["further"].unique().to_list() == ["kept"]
    assert explained(hours, edits())["edits"].to_list() == [[]] * 9
    assert explained(hours, edits(excluded(at(0), at(9), key=2)))["edits"].to_list() == [[]] * 9
