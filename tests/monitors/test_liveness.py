"""Silent gateways, wrong clocks, stale and frozen registers: both sides of each bound."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from config.schemas import INSTANT, READING, conform
from monitors.completeness import received_runs
from monitors.liveness import gateway_status, register_liveness

NOW = datetime(2025, 6, 10, tzinfo=UTC)


def gateway(quiet_s: float | None, *, state: str | None = "online", offset_s: float | None = 1.0, usual_s: float | None = 900.0, samples: int = 10):
    row = {
        "state": state, "last_message_at": None if quiet_s is None else NOW - timedelta(seconds=quiet_s), "clock_offset_s": offset_s,
        "usual_interval_s": usual_s, "samples": samples,
    }
    types = {"state": pl.String(), "last_message_at": INSTANT, "clock_offset_s": pl.Float64(), "usual_interval_s": pl.Float64()}
    return gateway_status(pl.DataFrame([row], schema_overrides=types), NOW).select("status", "clock_wrong").row(0)


@pytest.mark.parametrize(("quiet_s", "usual_s", "status"), [
    (2700, 900.0, "online"), (2701, 900.0, "silent"),  # three usual intervals
    (60, 1.0, "online"), (61, 1.0, "silent"),  # a minute at least
    (2700, None, "online"), (2701, None, "silent"),  # of a gateway whose rhythm is not known
])
def test_a_gateway_is_silent_after_three_of_its_usual_intervals(quiet_s, usual_s, status):
    assert gateway(quiet_s, usual_s=usual_s)[0] == status


@pytest.mark.parametrize(("quiet_s", "state", "status"), [
    (1, "offline", "offline"), (99_999, "offline", "offline"), (1, None, "online"), (99_999, None, "silent"), (None, "online", "online"),
    (None, None, None),
])
def test_what_a_gateway_says_counts_and_its_messages_where_it_says_nothing(quiet_s, state, status):
    assert gateway(quiet_s, state=state)[0] == status


@pytest.mark.parametrize(("offset_s", "usual_s", "wrong"), [
    (-60.0, 900.0, False), (-60.1, 900.0, True), (960.0, 900.0, False), (960.1, 900.0, True), (3660.0, 3600.0, False), (3660.1, 3600.0, True),
    (960.0, 1.0, False), (-28_800.0, 900.0, True), (None, 900.0, None),
])
def test_a_clock_may_be_a_minute_ahead_and_behind_by_the_interval_that_a_reading_stands_for(offset_s, usual_s, wrong):
    assert gateway(1, offset_s=offset_s, usual_s=usual_s)[1] is wrong


@pytest.mark.parametrize(("samples", "wrong"), [(2, None), (3, True)])
def test_a_single_late_message_is_no_wrong_clock(samples, wrong):
    assert gateway(1, offset_s=-3600.0, samples=samples)[1] is wrong


def register(values: list[float], *, step: timedelta = timedelta(hours=1), quiet: timedelta = timedelta()) -> dict[str, object]:
    last = NOW - quiet
    rows = [
        {"register_key": 1, "read_at": last - step * (len(values) - 1 - number), "copy": 0, "value": value, "quality": 0}
        for number, value in enumerate(values)
    ]
    readings = conform(pl.DataFrame(rows, schema_overrides={"read_at": INSTANT}), READING)
    return register_liveness(received_runs(readings, "Asia/Shanghai"), NOW).row(0, named=True)


@pytest.mark.parametrize(("quiet", "stale"), [(timedelta(minutes=45), False), (timedelta(minutes=46), True)])
def test_a_register_is_stale_after_three_of_its_usual_intervals(quiet, stale):
    assert register([1.0, 2.0, 3.0, 4.0], step=timedelta(minutes=15), quiet=quiet)["stale"] is stale


@pytest.mark.parametrize(("quiet", "stale"), [(timedelta(hours=3), False), (timedelta(hours=3, minutes=1), True)])
def test_a_register_that_is_read_every_hour_is_stale_after_three_hours(quiet, stale):
    assert register([1.0, 2.0, 3.0, 4.0], quiet=quiet)["stale"] is stale


@pytest.mark.parametrize(("standing", "frozen"), [(24, False), (25, True)])  # readings an hour apart: the first of them is the change
def test_a_register_is_frozen_after_a_day_of_one_value(standing, frozen):
    found = register([1.0, 2.0, 3.0, *[4.0] * standing])
    assert (found["frozen"], found["unchanged"]) == (frozen, standing)


@pytest.mark.parametrize(("standing", "frozen"), [(11, False), (12, True)])
def test_few_readings_of_one_value_are_not_frozen(standing, frozen):
    assert register([1.0, 2.0, *[4.0] * standing], step=timedelta(hours=3))["frozen"] is frozen


def test_a_register_that_never_moved_stands_still_and_is_not_frozen():
    assert not register([4.0] * 60)["frozen"]


def test_a_register_that_moves_is_not_frozen_and_one_that_moves_between_two_runs_is_seen():
    assert not register([float(number) for number in range(60)])["frozen"]
    apart = register([1.0, *[2.0] * 30], step=timedelta(hours=1))  # hourly: every reading is a run of its own
    assert (apart["unchanged"], apart["frozen"]) == (30, True)
