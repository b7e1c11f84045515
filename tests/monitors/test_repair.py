"""Outages of meters and their repair within three working days, and exchanges that are entered in time."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import calendar
from config.schemas import INSTANT, OUTAGE_REPORT, READING, REGISTER, conform
from monitors.completeness import SLOT, due_spans, received_runs
from monitors.repair import exchanges, outages

ZONE = "Asia/Shanghai"
START = datetime(2026, 2, 28, 16, tzinfo=UTC)  # midnight of 1 March, a Sunday, in Shanghai
MONDAY = START + timedelta(days=1)
DUE = START + timedelta(days=5)  # the end of Thursday, for what begins on Monday
HOLIDAYS = calendar.holidays()
NAMES = pl.DataFrame(
    {"register_key": [1, 2, 3], "enterprise": ["E"] * 3, "meter": ["M", "M", "N"]}, schema_overrides={"register_key": pl.UInt32()},
)
NO_REPORTS = pl.DataFrame(schema=OUTAGE_REPORT)


def came(instants: list[datetime], key: int = 1) -> pl.DataFrame:
    rows = pl.DataFrame({"register_key": key, "read_at": instants, "value": [float(one) for one in range(len(instants))], "copy": 0, "quality": 0})
    return conform(rows, READING)


def every(first: datetime, last: datetime, step: timedelta = SLOT) -> list[datetime]:
    """From first until before last."""
    return [first + step * number for number in range(-((first - last) // step))]


def found(readings: pl.DataFrame, now: datetime, reports: pl.DataFrame = NO_REPORTS, *, since: datetime = START) -> list[dict[str, object]]:
    received = received_runs(readings, ZONE)
    keys = readings["register_key"].unique()
    registers = conform(pl.DataFrame({"register_key": keys}, schema_overrides={"register_key": pl.UInt32()}), REGISTER)
    spans = due_spans(received, registers, since, now)
    return outages(received, spans, NAMES, reports, HOLIDAYS, since=since, until=now, now=now, zone=ZONE).to_dicts()


def out(begin: datetime, end: datetime | None, now: datetime, step: timedelta = SLOT) -> pl.DataFrame:
    """Readings from START until now, none from begin until before end."""
    return came([at for at in every(START, now, step) if at < begin or (end is not None and at >= end)])


def report(at: datetime, reported_at: datetime, meter: str = "M") -> pl.DataFrame:
    row = {"enterprise": "E", "meter": meter, "at": at, "reported_at": reported_at, "reported_by": "someone", "report": "broken", "edit": 7}
    return pl.DataFrame([row], schema=OUTAGE_REPORT)


@pytest.mark.parametrize(("lacking", "count"), [(2, 0), (3, 1)])
def test_an_outage_is_longer_than_three_usual_intervals_without_a_reading(lacking, count):
    begin = MONDAY + timedelta(hours=1)
    assert len(found(out(begin, begin + SLOT * lacking, MONDAY + timedelta(hours=4)), MONDAY + timedelta(hours=4))) == count


@pytest.mark.parametrize(("lacking", "count"), [(2, 0), (3, 1)])
def test_a_meter_that_is_read_every_hour_opens_at_the_first_hour_that_lacks(lacking, count):
    hour, begin = timedelta(hours=1), MONDAY + timedelta(hours=5)
    rows = found(out(begin, begin + hour * lacking, MONDAY + timedelta(days=1), hour), MONDAY + timedelta(days=1))
    assert [row["opened_at"] for row in rows] == [begin] * count
    assert [row["repaired_at"] for row in rows] == [begin + hour * lacking] * count


@pytest.mark.parametrize(("repaired", "state"), [
    (DUE - SLOT, "repaired_in_time"), (DUE, "repaired_late"), (DUE + timedelta(days=1), "repaired_late"),
])
def test_a_repair_is_in_time_until_the_third_working_day_is_over(repaired, state):
    row, = found(out(MONDAY, repaired, DUE + timedelta(days=2)), DUE + timedelta(days=2))
    assert (row["opened_at"], row["repaired_at"], row["due_at"], row["state"]) == (MONDAY, repaired, DUE, state)
    assert (row["by_notice"], row["or_earlier"], row["reported_at"]) == (True, False, None)


@pytest.mark.parametrize(("now", "state"), [(DUE - SLOT, "open"), (DUE, "overdue"), (DUE + timedelta(days=30), "overdue")])
def test_an_outage_that_lasts_is_open_and_then_overdue(now, state):
    row, = found(out(MONDAY, None, now), now)
    assert (row["state"], row["repaired_at"], row["due_at"]) == (state, None, DUE)


def test_a_report_is_of_the_outage_in_which_its_instant_lies():
    now = DUE + timedelta(days=1)
    lasting, mended = out(MONDAY, None, now), out(MONDAY, DUE + SLOT, now)
    row, = found(lasting, now, report(MONDAY, DUE - SLOT))
    assert (row["state"], row["reported_by"], row["edit"]) == ("reported", "someone", 7)
    assert found(lasting, now, report(MONDAY - SLOT, DUE))[0]["state"] == "overdue"  # before it
    assert found(lasting, now, report(MONDAY, DUE, meter="N"))[0]["state"] == "overdue"  # another meter
    row, = found(mended, now, report(DUE, DUE))
    assert (row["state"], row["report"]) == ("repaired_late", "broken")  # it came too late, reported or not
    assert found(mended, now, report(DUE + SLOT, DUE))[0]["report"] is None  # after it


def test_of_several_reports_the_first_counts():
    now = DUE + timedelta(days=1)
    both = pl.concat([report(MONDAY, DUE), report(MONDAY + SLOT, DUE - SLOT)])
    assert [row["reported_at"] for row in found(out(MONDAY, None, now), now, both)] == [DUE - SLOT]


def test_registers_of_one_meter_that_are_out_together_are_one_outage():
    now = MONDAY + timedelta(days=1)
    first = out(MONDAY, MONDAY + timedelta(hours=4), now)
    second = out(MONDAY + timedelta(hours=3), MONDAY + timedelta(hours=9), now).with_columns(register_key=pl.lit(2, pl.UInt32()))
    third = second.with_columns(register_key=pl.lit(3, pl.UInt32()))
    rows = found(pl.concat([first, second, third]), now)
    assert [(row["meter"], row["opened_at"], row["repaired_at"]) for row in rows] == [
        ("M", MONDAY, MONDAY + timedelta(hours=9)), ("N", MONDAY + timedelta(hours=3), MONDAY + timedelta(hours=9)),
    ]
    still = pl.concat([first, out(MONDAY + timedelta(hours=3), None, now).with_columns(register_key=pl.lit(2, pl.UInt32()))])
    assert [(row["meter"], row["repaired_at"]) for row in found(still, now)] == [("M", None)]


def test_what_is_filled_later_was_no_outage():
    now = DUE + timedelta(days=1)
    assert found(pl.concat([out(MONDAY, DUE, now), came(every(MONDAY, DUE))]), now) == []


def test_an_outage_that_reaches_back_beyond_what_is_looked_at_says_so():
    now = MONDAY + timedelta(days=1)
    before = came([START - SLOT, *every(MONDAY, now)])
    assert [(row["opened_at"], row["or_earlier"]) for row in found(before, now, since=START)] == [(START, True)]


def test_an_outage_ends_where_the_meter_is_taken_out_of_service():
    now = MONDAY + timedelta(days=2)
    received = received_runs(out(MONDAY, None, now), ZONE)
    registers = conform(pl.DataFrame(
        {"register_key": [1], "valid_to": [MONDAY + timedelta(hours=6)]}, schema_overrides={"register_key": pl.UInt32(), "valid_to": INSTANT},
    ), REGISTER)
    spans = due_spans(received, registers, START, now)
    row, = outages(received, spans, NAMES, NO_REPORTS, HOLIDAYS, since=START, until=now, now=now, zone=ZONE).to_dicts()
    assert (row["repaired_at"], row["state"]) == (MONDAY + timedelta(hours=6), "repaired_in_time")


@given(st.sets(st.integers(4, 90), max_size=60), st.randoms(use_true_random=False))
def test_the_order_and_the_repetition_of_readings_change_nothing(lacking, random):
    now = MONDAY + timedelta(days=1)
    instants = [START + SLOT * slot for slot in range(96 * 2) if slot not in lacking]
    mixed = instants + random.sample(instants, 20)
    random.shuffle(mixed)
    once = found(came(instants), now)
    assert found(came(mixed), now) == once
    slots = {slot for row in once for slot in range((row["opened_at"] - START) // SLOT, (row["repaired_at"] - START) // SLOT)}
    assert slots <= lacking
    assert all(not {slot, slot + 1, slot + 2} <= lacking for slot in lacking - slots)  # nothing as long was left out


@pytest.mark.parametrize(("entered", "in_time"), [(DUE - timedelta(microseconds=1), True), (DUE, False)])
def test_an_exchange_is_entered_in_time_until_the_third_working_day_is_over(entered, in_time):
    entries = pl.DataFrame(
        {"enterprise": ["E"], "meter": ["M"], "register": ["r"], "at": [MONDAY + timedelta(hours=10)], "entered_at": [entered]},
        schema_overrides={"at": INSTANT, "entered_at": INSTANT},
    )
    row, = exchanges(entries, HOLIDAYS, ZONE).rows(named=True)
    assert (row["due_at"], row["in_time"], row["by_notice"]) == (DUE, in_time, True)
