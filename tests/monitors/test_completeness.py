"""What is due, what came and what lacks: by slots of 15 minutes, and by the gateways' own count."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schemas import INSTANT, READING, REGISTER, conform
from monitors.completeness import SLOT, completeness, due_spans, messages_by_day, missing_windows, received_runs

ZONE = "Asia/Shanghai"
MIDNIGHT = datetime(2025, 6, 1, 16, tzinfo=UTC)  # of 2 June in Shanghai
NEXT = MIDNIGHT + timedelta(days=1)


def readings(slots: list[int], *, key: int = 1, quality: int = 0, after: timedelta = timedelta(minutes=2)) -> pl.DataFrame:
    rows = [{"register_key": key, "read_at": MIDNIGHT + SLOT * slot + after, "copy": 0, "value": float(slot), "quality": quality} for slot in slots]
    return conform(pl.DataFrame(rows, schema_overrides={"read_at": INSTANT}), READING) if rows else pl.DataFrame(schema=READING)


def registers(**of: object) -> pl.DataFrame:
    return conform(pl.DataFrame([{"register_key": 1, **of}], schema_overrides={"valid_from": INSTANT, "valid_to": INSTANT}), REGISTER)


Days = list[tuple[object, ...]]


def day_of(slots: list[int], start: datetime = MIDNIGHT, end: datetime = NEXT, **of: object) -> tuple[Days, list[tuple[int, int]]]:
    """(day, due, received) of each day, and the missing windows in slots."""
    received = received_runs(readings(slots), ZONE)
    spans = due_spans(received, registers(**of), start, end)
    windows = missing_windows(received, spans).select("start", "end").rows()
    days = completeness(received, spans, ZONE).select("day", "due", "received").rows()
    return days, [((first - MIDNIGHT) // SLOT, (last - MIDNIGHT) // SLOT) for first, last in windows]


def test_a_whole_day_is_96_slots_and_complete():
    assert day_of(list(range(96))) == ([(date(2025, 6, 2), 96, 96)], [])


def test_what_lacks_inside_a_day_is_a_window():
    assert day_of([slot for slot in range(96) if slot not in {5, 6, 90}]) == ([(date(2025, 6, 2), 96, 93)], [(5, 7), (90, 91)])


def test_a_register_owes_nothing_before_its_first_reading_unless_it_is_registered_from_an_earlier_day():
    assert day_of(list(range(8, 96))) == ([(date(2025, 6, 2), 88, 88)], [])
    assert day_of(list(range(8, 96)), valid_from=MIDNIGHT) == ([(date(2025, 6, 2), 96, 88)], [(0, 8)])


def test_a_register_that_never_sent_owes_from_the_day_that_it_is_registered_from_and_else_nothing():
    assert day_of([], valid_from=MIDNIGHT) == ([(date(2025, 6, 2), 96, 0)], [(0, 96)])
    assert day_of([]) == ([], [])


def test_a_derived_register_owes_no_readings():
    assert day_of([], valid_from=MIDNIGHT, kind="derived") == ([], [])
    assert day_of([], valid_from=MIDNIGHT, kind="state") == ([(date(2025, 6, 2), 96, 0)], [(0, 96)])


@pytest.mark.parametrize(("end", "due"), [(timedelta(hours=1), 4), (timedelta(minutes=74, seconds=59), 4), (timedelta(minutes=75), 5)])
def test_a_slot_is_due_when_it_is_over(end, due):
    (_, owed, received), = day_of(list(range(96)), end=MIDNIGHT + end)[0]
    assert (owed, received) == (due, due)


def test_a_register_owes_nothing_from_the_instant_on_at_which_it_is_taken_out_of_service():
    assert day_of(list(range(48)), valid_to=MIDNIGHT + timedelta(hours=12)) == ([(date(2025, 6, 2), 48, 48)], [])


def test_several_readings_of_a_slot_count_once_and_bad_ones_not():
    twice = pl.concat([readings([0, 1]), readings([1], after=timedelta(minutes=9)), readings([2], quality=2)])
    assert received_runs(twice, ZONE).select("slots", "readings").rows() == [(2, 3)]


def test_runs_end_with_the_local_day():
    runs = received_runs(readings([94, 95, 96, 97]), ZONE)
    assert runs.select("day", "slots").rows() == [(date(2025, 6, 2), 2), (date(2025, 6, 3), 2)]


@pytest.mark.parametrize(("slots", "expected"), [
    (range(0, 96, 4), (60, 24, 24)), (range(0, 96, 2), (30, 48, 48)), (range(0, 92, 4), (60, 24, 23)), (range(0, 96, 8), (60, 24, 12)),
    ([*range(0, 80, 4), 81, 84, 85, 88, 92], (60, 24, 24)),  # an hour with two readings counts once
    ([slot for slot in range(96) if slot % 3], (15, 96, 64)),  # every third is lost: still one that is read every 15 minutes
    ([*range(94), 95], (15, 96, 95)),  # a single reading after a gap says less than all those before it
])
def test_a_register_that_is_usually_read_every_half_hour_or_hour_owes_as_many(slots, expected):
    received = received_runs(readings(list(slots)), ZONE)
    days = completeness(received, due_spans(received, registers(valid_from=MIDNIGHT), MIDNIGHT, NEXT), ZONE)
    assert days.select("interval_min", "due", "received").row(0) == expected


@given(lacking=st.sets(st.integers(0, 191), max_size=30), first=st.integers(0, 191), length=st.integers(1, 100))
def test_what_came_and_what_lacks_are_together_what_was_due(lacking, first, length):
    due = set(range(first, min(first + length, 192)))
    days, windows = day_of(sorted(set(range(192)) - lacking), MIDNIGHT + SLOT * first, MIDNIGHT + SLOT * (max(due) + 1), valid_from=MIDNIGHT)
    assert sum(owed for _, owed, _ in days) == len(due)
    assert sum(came for _, _, came in days) == len(due - lacking)
    assert {slot for begin, until in windows for slot in range(begin, until)} == due & lacking


@given(slots=st.sets(st.integers(0, 200)), first=st.integers(0, 200), length=st.integers(1, 100))
def test_never_more_comes_than_was_due(slots, first, length):
    days, _ = day_of(sorted(slots), MIDNIGHT + SLOT * first, MIDNIGHT + SLOT * (first + length), valid_from=MIDNIGHT)
    assert all(0 <= came <= owed <= 96 for _, owed, came in days)


def sent(days: dict[int, int], gaps: list[tuple[int, int, bool]]) -> list[tuple[object, ...]]:
    who = {"enterprise": "e", "gateway": "g", "epoch": "x"}
    highest = pl.DataFrame([{**who, "day": date(2025, 6, day), "highest_seq": seq} for day, seq in days.items()])
    open_ = pl.DataFrame([{**who, "from_seq": first, "to_seq": last, "lost": lost} for first, last, lost in gaps], schema={
        **dict.fromkeys(who, pl.String()), "from_seq": pl.Int64(), "to_seq": pl.Int64(), "lost": pl.Boolean(),
    })
    return messages_by_day(highest, open_).select("day", "due", "received", "missing", "lost").rows()


def test_messages_count_on_the_day_on_which_the_gateway_had_counted_so_far():
    assert sent({1: 100, 2: 150, 3: 150}, [(90, 110, False), (140, 141, True)]) == [
        (date(2025, 6, 1), 100, 89, 11, 0), (date(2025, 6, 2), 50, 38, 10, 2), (date(2025, 6, 3), 0, 0, 0, 0),
    ]


def test_a_late_low_number_takes_nothing_from_a_day():
    assert sent({1: 100, 2: 40, 3: 101}, []) == [
        (date(2025, 6, 1), 100, 100, 0, 0), (date(2025, 6, 2), 0, 0, 0, 0), (date(2025, 6, 3), 1, 1, 0, 0),
    ]
