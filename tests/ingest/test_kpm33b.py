"""The KPM33B profile, on made-up messages and on the whole capture."""

import io
import json
from datetime import UTC, datetime

import polars as pl
import pytest
import zstandard
from sent import message

from config.settings import RouteSettings
from ingest.decode import Decodings, decode
from ingest.profiles.mapping import shipped
from ingest.routes import Routes

ROUTES = Routes([
    RouteSettings(topic=topic, enterprise="vienna", gateway="proxy", profile="kpm33b", zone="Europe/Vienna")
    for topic in ("MQTT_ENY_NOW", "MQTT_RT_DATA")
])
GOOD = {"id": "33B1225950027", "zygsz": 56.331, "fwgsz": 4.304, "zszsz": 57, "zyjsz": 8.578, "zydvsz": 0.0, "time": "20260112170000", "isend": "1"}


def read(payload: object) -> Decodings:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return decode([message(raw, topic="MQTT_ENY_NOW")], ROUTES)


def test_each_register_has_its_name_unit_and_the_local_time_of_the_route() -> None:
    found = read(GOOD)
    at = datetime(2026, 1, 12, 16, tzinfo=UTC)
    assert found.readings.select("enterprise", "gateway", "meter", "register", "read_at", "value", "unit", "fault").rows() == [
        ("vienna", "proxy", "33B1225950027", register, at, value, unit, None) for register, value, unit in [
            ("active_import", 56.331, "kWh"), ("reactive_export", 4.304, "kvarh"), ("apparent", 57.0, "kVAh"),
            ("active_import_sharp", 8.578, "kWh"), ("active_import_deep_valley", 0.0, "kWh"),
        ]
    ]
    assert found.heads.select("outcome", "epoch", "seq", "decoded").row(0) == ("decoded", None, None, 5)


@pytest.mark.parametrize(("change", "faults"), [
    ({"zygsz": "56"}, ["bad_value", None]), ({"zygsz": None}, ["bad_value", None]), ({"zygsz": True}, ["bad_value", None]),
    ({"time": "2026-01-12"}, ["bad_timestamp"] * 2), ({"time": "20261312170000"}, ["bad_timestamp"] * 2), ({"time": None}, ["bad_timestamp"] * 2),
    ({"time": "２０２６０１１２１７００００"}, ["bad_timestamp"] * 2), ({"id": 5}, ["bad_meter"] * 2), ({"id": ""}, ["bad_meter"] * 2),
    ({"id": "m" * 257}, ["bad_meter"] * 2), ({"time": "2026011217000"}, ["bad_timestamp"] * 2),
    ({"new": 5}, [None, None, "unknown_field"]),
])
def test_a_bad_field_is_told_and_costs_the_others_nothing(change, faults) -> None:
    found = read({"id": "m", "time": "20260112170000", "zygsz": 1.0, "fygsz": 2.0, **change})
    assert found.readings["fault"].to_list() == faults


@pytest.mark.parametrize(("payload", "reason"), [(b"x", "not_json"), (b"null", "no_readings")])
def test_a_message_without_readings_is_undecodable(payload, reason) -> None:
    assert read(payload).heads["reason"][0] == reason


def test_a_message_of_known_fields_alone_has_no_reading_and_is_no_fault() -> None:
    assert read({"id": "m", "time": "20260112170000", "ua": 231.0}).heads.select("outcome", "decoded").row(0) == ("decoded", 0)


def test_a_value_that_is_no_number_of_json_costs_one_reading() -> None:
    assert read(b'{"id":"m","time":"20260112170000","zygsz":NaN,"fygsz":2}').readings["fault"].to_list() == ["bad_value", None]


def test_no_key_is_both_read_and_left_out() -> None:
    profile = shipped("kpm33b")
    assert not set(profile.known) & set(profile.fields_)


@pytest.mark.needs("shared-data")
def test_the_whole_capture_decodes_and_its_known_figures_are_there(shared_data) -> None:
    folder = shared_data / "mqtt-kpm33b"
    packed = (folder / "MQTT_ENY_NOW_20260112_lines0001-1400.log.zst").read_bytes()
    lines = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)).read().splitlines()
    sent = [message(line.partition(b" ")[2], number, topic=line.partition(b" ")[0].decode()) for number, line in enumerate(lines)]
    sent.append(message((folder / "MQTT_RT_DATA.json").read_bytes(), 5000, topic="MQTT_RT_DATA"))
    found = decode(sent, ROUTES)
    assert found.heads["outcome"].to_list() == ["decoded"] * 1401
    assert found.readings["fault"].null_count() == found.readings.height == 1400 * 15 + 1
    clean = found.readings.filter(pl.col("meter") == "33B1225950027", pl.col("register") == "active_import").sort("read_at")
    assert (clean.height, clean["value"][0], clean["value"][-1]) == (141, 56.331, 104.257)
    assert found.readings.row(-1, named=True)["register"] == "active_power"
    assert found.readings.filter(pl.col("read_at").dt.year() == 2005).height > 0
