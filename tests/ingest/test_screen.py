"""Rules on a single reading."""

import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sent import COKING, HEAD, NOON, STEEL, decode_one, register, registers, row

from config.schemas import DECODED, READING, REJECTED, empty
from config.settings import ScreenSettings
from ingest.reasons import SCREEN_RULES
from ingest.screen import Screened, rules, screen

BOUNDS = ScreenSettings()


def decoded(*changes: dict[str, object]) -> pl.DataFrame:
    rows = [
        {"message": 1, "index": index, "enterprise": STEEL, "gateway": "gw-1", "meter": "E-001", "register": "active_import", "read_at": NOON,
         "value": 100.0, "unit": "kWh", "quality": 0, "received_at": NOON + timedelta(minutes=1), "fault": None, "raw": None, **change}
        for index, change in enumerate(changes)
    ]
    return pl.DataFrame(rows, schema=DECODED)


def judged(change: dict[str, object], *known: dict[str, object]) -> Screened:
    return screen(decoded(change), registers(*(known or (register(),))), BOUNDS)


def broken(change: dict[str, object], *known: dict[str, object]) -> list[str]:
    rejected = judged(change, *known).rejected
    return rejected["broken_rules"][0].to_list() if rejected.height else []


def test_a_good_reading_is_accepted_under_its_key() -> None:
    found = judged({"quality": 1})
    assert found.accepted.schema == READING
    assert found.rejected.schema == REJECTED
    assert found.accepted.row(0, named=True) == {
        "register_key": 7, "read_at": NOON, "copy": 0, "value": 100.0, "quality": 1, "received_at": NOON + timedelta(minutes=1), "message": 1,
    }


@pytest.mark.parametrize(("change", "reason"), [
    ({"meter": "E-999"}, "unknown_meter"), ({"enterprise": COKING}, "unknown_meter"), ({"meter": None}, "unknown_meter"),
    ({"register": "reactive_import"}, "unknown_register"), ({"gateway": "gw-2"}, "wrong_gateway"),
    ({"value": math.inf}, "value_is_finite"), ({"value": -0.001}, "value_within_range"), ({"value": 1e6 + 0.001}, "value_within_range"),
    ({"unit": "m3"}, "unit_convertible"), ({"unit": "furlong"}, "unit_convertible"),
])
def test_a_broken_rule_is_named(change, reason) -> None:
    assert reason in broken(change)


def test_a_derived_register_takes_no_readings() -> None:
    derived = register(kind="derived", formula="sum(E-002.main)", range_low=None, range_high=None)
    assert broken({}, derived) == ["derived_register"]
    assert broken({"register": "other"}, derived) == ["unknown_register"]


@pytest.mark.parametrize("value", [0.0, 1e6])
def test_a_value_at_the_end_of_the_range_is_within(value) -> None:
    assert broken({"value": value}) == []


def test_a_register_without_a_range_takes_any_finite_value() -> None:
    assert broken({"value": -1e300}, register(range_low=None, range_high=None)) == []
    assert "value_is_finite" in broken({"value": math.nan}, register(range_low=None, range_high=None))
    assert "value_is_finite" in broken({"value": 1e306, "unit": "MWh"}, register(range_low=None, range_high=None)), "not in the register's unit"


@pytest.mark.parametrize(("ahead_s", "fine"), [(300, True), (300.000001, False), (86_400, False)])
def test_a_reading_may_be_ahead_of_its_arrival_by_the_clock_skew_and_no_more(ahead_s, fine) -> None:
    found = broken({"read_at": NOON + timedelta(minutes=1, seconds=ahead_s)})
    assert found == ([] if fine else ["not_from_the_future"])


@pytest.mark.parametrize(("at", "fine"), [
    (NOON + timedelta(minutes=1) - timedelta(days=1096), True), (NOON + timedelta(minutes=1) - timedelta(days=1096, microseconds=1), False),
    (datetime(1970, 1, 1, tzinfo=UTC), False),
])
def test_a_reading_may_be_as_old_as_the_settings_say_and_no_older(at, fine) -> None:
    assert broken({"read_at": at}) == ([] if fine else ["not_too_old"])


@pytest.mark.parametrize(("year", "reason"), [(1, "not_too_old"), (1899, "not_too_old"), (1900, None), (2199, None), (2200, "not_from_the_future"),
                                              (9999, "not_from_the_future")])
def test_a_year_that_is_no_year_of_readings_is_a_wrong_clock_whatever_the_settings_allow(year, reason) -> None:
    wide = ScreenSettings(clock_skew_s=400 * 366 * 86_400, max_age_days=200 * 366)
    rows = decoded({"read_at": datetime(year, 6, 1, tzinfo=UTC)})
    found = screen(rows, registers(register(valid_from=None)), wide)
    reasons = found.rejected["broken_rules"].explode().to_list()
    assert (reason in reasons) if reason else not reasons


@pytest.mark.parametrize(("unit", "value", "kept"), [("MWh", 0.1, 100.0), (None, 100.0, 100.0), ("kWh", 100.0, 100.0), ("GJ", 0.36, 100.0)])
def test_a_value_is_converted_to_the_registers_unit(unit, value, kept) -> None:
    assert judged({"unit": unit, "value": value}).accepted["value"][0] == pytest.approx(kept)


def test_the_range_is_asked_after_the_conversion() -> None:
    assert broken({"unit": "MWh", "value": 1000.0}) == []
    assert broken({"unit": "MWh", "value": 1001.0}) == ["value_within_range"]


def test_a_rejected_reading_stays_as_it_came() -> None:
    found = judged({"unit": "MWh", "value": 1001.0})
    assert found.rejected.select("value", "unit", "index").row(0) == (1001.0, "MWh", 0)


def test_all_broken_rules_are_named_and_an_unknown_register_is_asked_nothing_about_itself() -> None:
    assert broken({"value": math.inf, "gateway": "gw-2", "read_at": NOON + timedelta(days=1)}) == [
        "wrong_gateway", "value_is_finite", "value_within_range", "not_from_the_future",
    ]
    assert broken({"meter": "E-999", "gateway": "gw-2", "unit": "m3", "value": 1e9}) == ["unknown_meter"]


def test_a_register_that_is_bound_to_no_gateway_takes_any() -> None:
    assert broken({"gateway": "gw-2"}, register(gateway=None)) == []


def test_a_fault_of_decoding_is_the_only_reason() -> None:
    assert broken({"fault": "bad_value", "raw": "{}", "value": None, "meter": "E-999"}) == ["bad_value"]


def test_a_rule_that_cannot_be_evaluated_counts_as_broken() -> None:
    assert set(broken({"read_at": None, "value": None})) >= {"value_is_finite", "not_from_the_future", "not_too_old"}


@pytest.mark.parametrize(("change", "reason"), [
    ({"valid_from": NOON}, None), ({"valid_from": NOON + timedelta(microseconds=1)}, "register_not_valid"),
    ({"valid_to": NOON}, "register_not_valid"), ({"valid_to": NOON + timedelta(microseconds=1)}, None),
    ({"known_from": NOON + timedelta(minutes=1)}, None), ({"known_from": NOON + timedelta(minutes=1, microseconds=1)}, "unknown_meter"),
    ({"known_to": NOON + timedelta(minutes=1)}, "unknown_meter"), ({"known_to": NOON + timedelta(minutes=1, microseconds=1)}, None),
])
def test_the_row_counts_that_was_known_at_arrival_and_valid_at_the_reading(change, reason) -> None:
    assert broken({}, register(**change)) == ([reason] if reason else [])


def test_a_register_that_was_not_known_yet_on_a_known_meter_is_an_unknown_register() -> None:
    later = register(known_from=NOON + timedelta(days=1))
    assert broken({}, later, register(register_key=8, register="reactive_import")) == ["unknown_register"]


def test_of_several_versions_the_one_that_counts_is_taken_and_the_order_stays() -> None:
    changed_at = NOON - timedelta(hours=1)
    versions = registers(
        register(valid_to=changed_at, unit="MWh"), register(valid_from=changed_at, gateway="gw-9", known_to=NOON - timedelta(days=1)),
        register(valid_from=changed_at, unit="kWh", known_from=NOON - timedelta(days=1)), register(register_key=8, meter="E-002"),
    )
    before = {"read_at": changed_at - timedelta(hours=1), "value": 1.0, "unit": None}
    found = screen(decoded({"meter": "E-002"}, {}, before, {"meter": "E-003"}), versions, BOUNDS)
    assert found.accepted.select("register_key", "value").rows() == [(8, 100.0), (7, 100.0), (7, 1.0)]
    assert found.rejected["broken_rules"].to_list() == [["unknown_meter"]]


def test_nothing_in_gives_two_empty_tables() -> None:
    found = screen(empty(DECODED), registers(register()), BOUNDS)
    assert (found.accepted.schema, found.rejected.schema, found.accepted.height, found.rejected.height) == (READING, REJECTED, 0, 0)


def test_an_empty_register_rejects_everything_as_unknown() -> None:
    found = screen(decoded({}, {}), registers(), BOUNDS)
    assert found.rejected["broken_rules"].to_list() == [["unknown_meter"]] * 2


def test_each_rule_has_a_text_and_each_text_a_rule() -> None:
    assert set(rules(BOUNDS)) == set(SCREEN_RULES)


def test_what_decode_gives_screen_takes() -> None:
    found = screen(decode_one({**HEAD, "readings": [row(), row(value="x")]}).readings, registers(register()), BOUNDS)
    assert (found.accepted.height, found.rejected["broken_rules"].to_list()) == (1, [["bad_value"]])


some_reading = st.fixed_dictionaries({
    "meter": st.sampled_from(["E-001", "E-002", "E-003", None]), "register": st.sampled_from(["active_import", "other"]),
    "gateway": st.sampled_from(["gw-1", "gw-2"]), "unit": st.sampled_from(["kWh", "MWh", "m3", None]),
    "value": st.sampled_from([0.0, 1.0, 1e9, -1.0, math.inf, math.nan]),
    "read_at": st.sampled_from([NOON, NOON - timedelta(days=2), NOON + timedelta(days=2), datetime(1970, 1, 1, tzinfo=UTC)]),
    "received_at": st.sampled_from([NOON, NOON - timedelta(days=1)]), "fault": st.sampled_from([None, None, None, "bad_value"]),
})
some_version = st.fixed_dictionaries({
    "meter": st.sampled_from(["E-001", "E-002"]), "valid_from": st.sampled_from([None, NOON - timedelta(days=1)]),
    "known_from": st.sampled_from([NOON - timedelta(days=3), NOON - timedelta(hours=1)]), "gateway": st.sampled_from([None, "gw-1"]),
})


@given(st.lists(some_reading, max_size=5), st.lists(some_version, max_size=4, unique_by=lambda version: (version["meter"], version["valid_from"])))
def test_every_reading_is_accepted_or_rejected_once_and_alike_whatever_stands_beside_it(readings, versions) -> None:
    rows, known = decoded(*readings), registers(*(register(**version) for version in versions))
    together = screen(rows, known, BOUNDS)
    assert together.accepted.height + together.rejected.height == rows.height
    alone = [screen(rows[place], known, BOUNDS) for place in range(rows.height)]
    assert together.accepted.rows() == [one for each in alone for one in each.accepted.rows()]
    assert together.rejected["broken_rules"].to_list() == [one for each in alone for one in each.rejected["broken_rules"].to_list()]
    assert together.rejected["broken_rules"].list.len().min() in (None, *range(1, 20))
