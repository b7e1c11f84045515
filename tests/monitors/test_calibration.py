"""Whether a meter's verification is valid on a day, and until when."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from config.schemas import CALIBRATION_INTERVAL, INSTANT
from monitors.calibration import calibration

ON = date(2026, 3, 10)
NONE = pl.DataFrame(schema=CALIBRATION_INTERVAL)


def known(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)


def versions(*rows: dict[str, object]) -> pl.DataFrame:
    base = {"enterprise": "E", "meter": "M", "medium": "electricity", "accuracy_class": "0.5S", "calibrated_on": None, "calibration_due": None,
            "known_from": known(2020), "known_to": None}
    shape = {name: pl.Date() if name.startswith("calibrat") else INSTANT if name.startswith("known") else pl.String() for name in base}
    return pl.DataFrame([base | row for row in rows], schema=shape)


def intervals(*rows: tuple[str, str | None, int, date]) -> pl.DataFrame:
    return pl.DataFrame([(*row, "regulation") for row in rows], schema=CALIBRATION_INTERVAL, orient="row")


def state(frame: pl.DataFrame, table: pl.DataFrame = NONE, on: date = ON, within: int = 60) -> tuple[object, ...]:
    row, = calibration(frame, table, on, within).select("state", "due_on", "due_by", "days_left").rows()
    return row


@pytest.mark.parametrize(("due", "found", "left"), [
    (date(2026, 3, 9), "overdue", -1), (date(2026, 3, 10), "due_soon", 0),  # the last day is included
    (date(2026, 5, 9), "due_soon", 60), (date(2026, 5, 10), "valid", 61),
])
def test_what_the_register_says_holds_to_the_day(due, found, left):
    row = versions({"calibrated_on": date(2025, 3, 11), "calibration_due": due})
    assert state(row, intervals(("electricity", None, 1, date(2020, 1, 1)))) == (found, due, "register", left)


def test_a_meter_without_an_entry_is_never_verified_and_one_without_an_end_is_not_known():
    assert state(versions({})) == ("never", None, None, None)
    assert state(versions({"calibrated_on": date(2025, 1, 1)})) == ("no_due_date", None, None, None)


@pytest.mark.parametrize(("calibrated", "months", "due"), [
    (date(2025, 3, 11), 12, date(2026, 3, 10)), (date(2024, 2, 29), 24, date(2026, 2, 27)), (date(2025, 8, 31), 6, date(2026, 2, 27)),
])
def test_an_interval_of_its_kind_counts_from_the_verification_where_the_register_has_no_end(calibrated, months, due):
    found = state(versions({"calibrated_on": calibrated}), intervals(("electricity", None, months, date(2020, 1, 1))))
    assert found == ("due_soon" if due >= ON else "overdue", due, "regulation", (due - ON).days)


def test_the_accuracy_class_goes_before_the_medium_and_the_later_row_before_the_earlier():
    row = versions({"calibrated_on": date(2026, 1, 1)})
    table = intervals(
        ("electricity", None, 96, date(2024, 1, 1)), ("electricity", "0.5S", 72, date(2013, 1, 1)), ("electricity", "0.5S", 60, date(2026, 3, 10)),
        ("electricity", "1", 48, date(2026, 1, 1)), ("water", None, 24, date(2013, 1, 1)),
    )
    assert state(row, table)[1] == date(2030, 12, 31)
    assert state(row, table, date(2026, 3, 9))[1] == date(2031, 12, 31)  # the row of 60 months is not in force yet
    assert state(row.with_columns(accuracy_class=pl.lit("2")), table)[1] == date(2033, 12, 31)
    assert state(row.with_columns(medium=pl.lit("gas")), table)[0] == "no_due_date"


def test_a_verification_says_nothing_of_the_days_before_it():
    before = {"calibrated_on": date(2024, 2, 1), "calibration_due": date(2026, 1, 31), "known_to": known(2026)}
    after = {"calibrated_on": date(2026, 2, 20), "calibration_due": date(2028, 2, 19), "known_from": known(2026)}
    both = versions(before, after)
    assert state(both, on=date(2026, 2, 20))[:2] == ("valid", date(2028, 2, 19))
    assert state(both, on=date(2026, 2, 19))[:2] == ("overdue", date(2026, 1, 31))
    assert state(both, on=date(2024, 1, 31))[0] == "never"


def test_a_corrected_entry_counts_as_corrected_and_a_meter_that_was_taken_back_not_at_all():
    typed = {"calibrated_on": date(2024, 2, 1), "calibration_due": date(2062, 1, 31), "known_to": known(2025)}
    right = {"calibrated_on": date(2024, 2, 1), "calibration_due": date(2026, 1, 31), "known_from": known(2025)}
    assert state(versions(typed, right))[:2] == ("overdue", date(2026, 1, 31))
    assert calibration(versions(typed), NONE, ON).is_empty()
