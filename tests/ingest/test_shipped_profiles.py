"""The formats that a shipped mapping file describes, on samples of their makers."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from sent import NOON, SAMPLES, reason_of, routed, said

from config.units import factor
from ingest.profiles import MAPPED
from ingest.profiles.mapping import shipped


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", MAPPED)
def test_a_shipped_mapping_loads_and_its_units_are_known(name) -> None:
    assert all(field.unit is None or factor(field.unit, field.unit) == 1 for field in shipped(name).fields_.values())


def test_edgelogger_gives_the_energy_of_each_meter_in_kwh_although_it_is_labelled_kw() -> None:
    found = routed("edgelogger", sample("edgelogger_up_sample"))
    assert said(found)[:5] == [
        ("EM-2025-001", "active_power", 9.6, "kW", None), ("EM-2025-001", "active_import", 1500.5, "kWh", None),
        ("EM-2025-001", "active_export", 0.0, "kWh", None), ("EM-2025-001", "reactive_import", 800.2, "kvarh", None),
        ("EM-2025-001", "reactive_export", 45.3, "kvarh", None),
    ]
    assert found.readings["read_at"].unique().to_list() == [datetime(2024, 3, 9, 16, 0, 0, 123000, tzinfo=UTC)]
    assert found.readings.height == 10


def test_edgelogger_sends_ten_meters_in_one_batch() -> None:
    message = json.loads(sample("edgelogger_up_sample"))
    message["batch"] = [{**message["batch"][0], "device_id": f"EM-{number}"} for number in range(10)]
    assert routed("edgelogger", message).readings["meter"].n_unique() == 10


@pytest.mark.parametrize(("quality", "code"), [(100, 0), (0, 2), (60, 1), (None, 0), ("100", 0), ([], 1)])
def test_the_data_quality_of_edgelogger_is_kept(quality, code) -> None:
    message = json.loads(sample("edgelogger_up_sample"))
    message["batch"] = message["batch"][:1]
    message["batch"][0]["status"]["data_quality"] = quality
    assert set(routed("edgelogger", message).readings.filter(pl.col("fault").is_null())["quality"]) == {code}


def test_the_published_sample_of_neurons_tags_is_no_json_and_a_mended_one_decodes() -> None:
    published = sample("neuron_tags-format_0")
    assert reason_of(routed("neuron_tags", published)) == "not_json"
    mended = published.replace(b'"value": 123,', b'"value": 123')
    assert said(routed("neuron_tags", mended)) == [("modbus", "tag0", 123.0, None, None), ("modbus", "tag1", None, None, "device_error")]


def test_an_error_of_neuron_is_a_fault_and_never_a_reading() -> None:
    found = routed("neuron_values", sample("neuron_values-format_0"))
    assert said(found) == [("modbus", "tag0", 123.0, None, None), ("modbus", "tag1", None, None, "device_error")]
    assert found.readings["raw"].to_list() == [None, '{"tag1": 2014}']
    assert found.readings["read_at"].to_list() == [datetime(2022, 4, 15, 7, 6, 28, 943000, tzinfo=UTC), None]


@pytest.mark.parametrize("value", [True, "123", None, [1]])
def test_a_tag_of_neuron_that_is_no_number_is_a_fault(value) -> None:
    message = {"timestamp": 1650006388943, "node": "modbus", "group": "g", "tags": [{"name": "t", "value": value}]}
    assert said(routed("neuron_tags", message)) == [("modbus", "t", None, None, "bad_value")]


def test_the_first_shelly_counts_watt_minutes() -> None:
    found = routed("shelly_gen1", sample("shelly_ShellyPlugS_status"))
    assert said(found) == [("AABBCCDDEEFF", "active_import_0", 2632 / 60, "Wh", None)]
    assert found.readings["read_at"].to_list() == [datetime(2024, 2, 7, 18, 57, 21, tzinfo=UTC)]


def test_a_three_phase_shelly_of_the_first_generation_counts_watt_hours() -> None:
    meters = [{"power": 1.0, "pf": 0.9, "current": 1.0, "voltage": 230.0, "is_valid": True, "total": 100.5, "total_returned": 2.0}] * 2
    found = routed("shelly_gen1", {"mac": "AA", "unixtime": 1707332241, "emeters": meters})
    assert said(found) == [
        ("AA", "active_import_0", 100.5, "Wh", None), ("AA", "active_export_0", 2.0, "Wh", None),
        ("AA", "active_import_1", 100.5, "Wh", None), ("AA", "active_export_1", 2.0, "Wh", None),
    ]


@pytest.mark.parametrize(("valid", "code"), [(True, 0), (False, 1)])
def test_a_shelly_channel_that_is_not_valid_makes_its_message_uncertain(valid, code) -> None:
    message = json.loads(sample("shelly_ShellyPlugS_status"))
    message["meters"][0]["is_valid"] = valid
    assert routed("shelly_gen1", message).readings["quality"].to_list() == [code]


def test_a_shelly_of_the_second_generation_has_registers_by_phase_and_in_sum() -> None:
    found = routed("shelly", sample("shelly_ShellyPro3EM_status"))
    values = {register: (value, unit) for _, register, value, unit, _ in said(found)}
    assert values["active_import_0"] == (2589773.39, "Wh")
    assert values["active_import_0_c"] == (369469.8, "Wh")
    assert values["active_export_0_b"] == (40.7, "Wh")
    assert len(values) == 8
    assert found.readings["fault"].null_count() == 8


def test_a_switch_of_a_shelly_tells_its_energy_by_event() -> None:
    energy = {"total": 6.532, "by_minute": [45.2, 47.1], "minute_ts": 1631266594}
    switch = {"id": 0, "output": True, "apower": 8.9, "aenergy": energy}
    event = {"src": "shellyplus1pm-aabb", "dst": "x", "method": "NotifyStatus", "params": {"ts": 1631266595.44, "switch:0": switch}}
    found = routed("shelly", event)
    assert said(found) == [("shellyplus1pm-aabb", "active_import_0", 6.532, "Wh", None)]
    assert found.readings["read_at"].to_list() == [datetime(2021, 9, 10, 9, 36, 35, 440000, tzinfo=UTC)]


def test_a_field_that_no_list_has_is_told() -> None:
    message = {**json.loads(sample("shelly_ShellyPlugS_status")), "flux": 88}
    assert said(routed("shelly_gen1", message))[1] == ("AABBCCDDEEFF", "flux", None, None, "unknown_field")


@pytest.mark.parametrize(("time", "door", "outcome"), [
    ("message", "mqtt", (None, "bad_timestamp", 0)), ("arrival", "mqtt", (NOON.replace(minute=1), None, 1)),
    ("arrival", "http", (NOON.replace(minute=1), None, 1)),
    ("arrival", "file", (None, "bad_timestamp", 0)),
])
def test_the_arrival_stands_in_for_a_missing_time_stamp_only_where_the_route_says_so(time, door, outcome) -> None:
    message = json.loads(sample("shelly_ShellyPlugS_status"))
    del message["unixtime"]
    found = routed("shelly_gen1", message, time=time, door=door)
    assert found.readings.select("read_at", "fault", "quality").row(0) == outcome


def test_the_arrival_never_stands_in_for_a_time_stamp_that_is_wrong() -> None:
    message = {**json.loads(sample("shelly_ShellyPlugS_status")), "unixtime": "soon"}
    assert routed("shelly_gen1", message, time="arrival").readings["fault"].to_list() == ["bad_timestamp"]


@pytest.mark.needs("shared-data")
def test_every_telegram_of_wmbusmeters_decodes_without_an_unknown_field(shared_data) -> None:
    lines = (shared_data / "mqtt-payloads" / "wmbusmeters_messages.jsonl").read_bytes().splitlines()
    found = routed("wmbusmeters", *lines)
    assert found.heads["outcome"].to_list() == ["decoded"] * 62
    assert found.readings["fault"].null_count() == found.readings.height == 114
    assert set(found.heads["decoded"]) >= {1, 8}
    assert found.heads["decoded"].min() == 1
    assert found.readings["read_at"].dt.year().unique().to_list() == [1111]  # the placeholder stays; screening calls it too old
    assert set(found.readings["unit"]) == {"m3", "kWh", "GJ", "kW", "m3/h", "L"}


def test_values_of_another_date_in_a_telegram_are_no_readings_of_its_time() -> None:
    telegram = {"_": "telegram", "media": "water", "meter": "x", "name": "n", "id": "12345678", "timestamp": "2026-11-20T04:00:00Z",
                "total_m3": 5.5, "target_m3": 5.0, "target_date": "2026-11-01", "last_month_total_m3": 4.0, "August_total_m3": 2.0}
    assert said(routed("wmbusmeters", telegram)) == [("12345678", "total", 5.5, "m3", None)]
