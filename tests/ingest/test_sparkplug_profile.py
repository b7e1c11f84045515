"""Sparkplug B as a host sees it."""

import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sent import STEEL, message

from config.settings import RouteSettings
from ingest.content import State
from ingest.decode import Decodings, decode
from ingest.profiles import sparkplug_b
from ingest.profiles.sparkplug_b import Payload
from ingest.routes import Routes

AT_MS = 1_795_147_200_000  # 2026-11-20 12:00 in China
AT = datetime(2026, 11, 20, 4, tzinfo=UTC)
INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING, DATETIME = range(1, 14)
DATASET, TEMPLATE = 16, 19


def payload(*metrics: dict[str, Any], seq: int | None = None, at_ms: int | None = AT_MS) -> bytes:
    made = Payload()
    for metric in metrics:
        made.metrics.add(**metric)
    if at_ms is not None:
        made.timestamp = at_ms
    if seq is not None:
        made.seq = seq
    return made.SerializeToString()


def bd(number: int) -> dict[str, Any]:
    return {"name": "bdSeq", "datatype": INT64, "long_value": number}


ENERGY = {"name": "active_import", "alias": 7, "datatype": DOUBLE, "double_value": 100.5}
NODE_BIRTH = ("NBIRTH/node", payload(bd(3), {"name": "Node Control/Rebirth", "datatype": BOOLEAN, "boolean_value": False},
                                     {"name": "E-9/power", "alias": 1, "datatype": INT32, "int_value": 5}, seq=0))
DEVICE_BIRTH = ("DBIRTH/node/E-1", payload(ENERGY, seq=1))


def data(value: float, seq: int, **more: Any) -> tuple[str, bytes]:
    return "DDATA/node/E-1", payload({"alias": 7, "double_value": value, **more}, seq=seq)


class Host:
    """Messages one after the other, with one memory."""

    def __init__(self, **route: Any) -> None:
        self.routes = Routes([RouteSettings(topic="spBv1.0/#", enterprise=STEEL, gateway="gw-s", profile="sparkplug_b", **route)])
        self.memory: dict[str, str] = {}

    def hear(self, *sent: tuple[str, bytes], door: str = "mqtt", replayed: bool = False) -> Decodings:
        messages = [message(raw, number, topic=_topic(to), door=door) for number, (to, raw) in enumerate(sent, 1)]
        return decode(messages, self.routes, memory=self.memory, replayed=replayed)


def _topic(to: str) -> str:
    kind, _, rest = to.partition("/")
    return to if kind == "spBv1.0" else f"spBv1.0/plant/{kind}/{rest}"


def said(found: Decodings) -> list[tuple[Any, ...]]:
    return found.readings.select("meter", "register", "value", "fault").rows()


def asked(found: Decodings) -> list[str]:
    """For which topics a rebirth is asked; every command is checked for what it says."""
    for command in found.commands:
        told = Payload.FromString(command.payload)
        assert [(one.name, one.datatype, one.boolean_value) for one in told.metrics] == [("Node Control/Rebirth", BOOLEAN, True)]
    return [command.topic for command in found.commands]


def test_the_bytes_of_a_payload_are_those_of_the_specification() -> None:
    metric = b"\x0a\x01e" + b"\x10\x07" + b"\x20\x0a" + b"\x28\x01" + b"\x69" + struct.pack("<d", 2.5)
    raw = b"\x08\xea\xf2\xf5\xa8\xa0\x2b" + b"\x12" + bytes([len(metric)]) + metric + b"\x18\x00"  # timestamp 1, metrics 2, seq 3
    found = Host().hear(("DBIRTH/node/E-1", raw))
    assert said(found) == [("E-1", "e", 2.5, None)]
    assert found.readings["read_at"][0] == datetime.fromtimestamp(1486144502.122, UTC)


def test_births_and_data_become_readings_by_device_and_alias() -> None:
    found = Host().hear(NODE_BIRTH, DEVICE_BIRTH, data(101.0, 2))
    assert said(found) == [("E-9", "power", 5.0, None), ("E-1", "active_import", 100.5, None), ("E-1", "active_import", 101.0, None)]
    assert found.readings["read_at"].unique().to_list() == [AT]
    assert found.heads["outcome"].to_list() == ["decoded"] * 3
    assert [(one.message, one.gateway, one.state) for one in found.states] == [(1, "gw-s", State("online"))]
    assert found.commands == []


def test_the_memory_carries_over_batches_and_repeating_a_batch_says_and_leaves_the_same() -> None:
    host = Host()
    host.hear(NODE_BIRTH, DEVICE_BIRTH)
    before = dict(host.memory)
    first, after = host.hear(data(1.0, 2), data(2.0, 5)), dict(host.memory)
    host.memory = dict(before)
    again = host.hear(data(1.0, 2), data(2.0, 5))
    assert first.readings.equals(again.readings)
    assert (first.commands, after) == (again.commands, host.memory)
    assert all(isinstance(value, str) for value in after.values())


@pytest.mark.parametrize(("sequence", "gaps"), [
    ([2, 3, 4], 0), ([3], 1), ([2, 4, 5], 1), ([2, 2, 3], 0), ([4, 3], 2), ([*range(2, 256), 0, 1], 0), ([*range(2, 256), 1], 1),
])
def test_a_gap_in_the_sequence_asks_once_for_a_rebirth(sequence, gaps) -> None:
    host = Host()
    host.hear(NODE_BIRTH, DEVICE_BIRTH)
    found = [host.hear(data(float(seq), seq)) for seq in sequence]
    assert [topic for one in found for topic in asked(one)] == ["spBv1.0/plant/NCMD/node"] * gaps
    assert [one.readings["fault"].to_list() for one in found] == [[None]] * len(sequence)  # what came is read all the same


def test_messages_of_one_batch_ask_once_for_the_latest_of_them() -> None:
    found = Host().hear(data(1.0, 2), data(2.0, 3), ("DDATA/other/E-1", payload(seq=1)))
    assert [(command.topic, command.message) for command in found.commands] == [("spBv1.0/plant/NCMD/node", 2), ("spBv1.0/plant/NCMD/other", 3)]


def test_an_alias_of_no_known_birth_waits_in_quarantine_and_a_replay_after_the_birth_reads_it() -> None:
    host = Host()
    early = host.hear(data(99.0, 8))
    assert said(early) == [("E-1", "7", None, "unknown_alias")]
    assert asked(early) == ["spBv1.0/plant/NCMD/node"]
    host.hear(NODE_BIRTH, DEVICE_BIRTH)
    before = dict(host.memory)
    replayed = host.hear(data(99.0, 8), replayed=True)
    assert said(replayed) == [("E-1", "active_import", 99.0, None)]
    assert (replayed.commands, host.memory) == ([], before)


def test_the_aliases_of_a_new_session_do_not_speak_for_a_replay_of_an_earlier_one() -> None:
    host = Host()
    host.hear(NODE_BIRTH, ("NDEATH/node", payload(bd(3))))
    host.hear(("NBIRTH/node", payload(bd(4), seq=0, at_ms=AT_MS + 60_000)))
    host.hear(("DBIRTH/node/E-1", payload({**ENERGY, "name": "reactive_import"}, seq=1, at_ms=AT_MS + 60_000)))
    assert said(host.hear(data(99.0, 8), replayed=True)) == [("E-1", "7", None, "unknown_alias")]
    later = ("DDATA/node/E-1", payload({"alias": 7, "double_value": 1.0}, seq=8, at_ms=AT_MS + 60_000))
    assert said(host.hear(later, replayed=True)) == [("E-1", "reactive_import", 1.0, None)]


def test_a_replayed_birth_or_death_changes_nothing() -> None:
    host = Host()
    host.hear(NODE_BIRTH, DEVICE_BIRTH)
    before = dict(host.memory)
    found = host.hear(("NDEATH/node", payload(bd(3))), ("NBIRTH/node", payload(bd(9), seq=0)), replayed=True)
    assert (found.states, host.memory) == ([], before)


def test_a_death_takes_the_node_offline_and_its_aliases_with_it() -> None:
    host = Host()
    host.hear(NODE_BIRTH, DEVICE_BIRTH)
    dead = host.hear(("NDEATH/node", payload(bd(3))))
    assert (dead.heads["outcome"][0], [one.state for one in dead.states]) == ("state", [State("offline")])
    found = host.hear(data(1.0, 2))
    assert said(found) == [("E-1", "7", None, "unknown_alias")]
    assert len(found.commands) == 1


def test_the_will_of_an_earlier_session_does_not_end_the_present_one() -> None:
    host = Host()
    host.hear(NODE_BIRTH, DEVICE_BIRTH)
    late = host.hear(("NDEATH/node", payload(bd(2))))
    assert late.states == []
    assert said(host.hear(data(1.0, 2))) == [("E-1", "active_import", 1.0, None)]


def test_the_death_of_a_device_drops_its_aliases_only_and_its_birth_brings_them_back() -> None:
    host = Host()
    host.hear(NODE_BIRTH, DEVICE_BIRTH, ("DDEATH/node/E-1", payload(seq=2)))
    found = host.hear(data(1.0, 3), ("NDATA/node", payload({"alias": 1, "int_value": 6}, seq=4)))
    assert said(found) == [("E-1", "7", None, "unknown_alias"), ("E-9", "power", 6.0, None)]
    assert said(host.hear(("DBIRTH/node/E-1", payload(ENERGY, seq=5)), data(2.0, 6)))[-1] == ("E-1", "active_import", 2.0, None)


def test_an_alias_of_another_device_is_not_taken_for_ones_own() -> None:
    host = Host()
    found = host.hear(NODE_BIRTH, DEVICE_BIRTH, ("DDATA/node/E-2", payload({"alias": 7, "double_value": 1.0}, seq=2)))
    assert said(found)[-1] == ("E-2", "7", None, "unknown_alias")


def test_nodes_and_gateways_do_not_share_a_memory() -> None:
    host = Host()
    host.hear(NODE_BIRTH, DEVICE_BIRTH)
    assert host.hear(("DDATA/other/E-1", payload({"alias": 7, "double_value": 1.0}, seq=2))).readings["fault"].to_list() == ["unknown_alias"]


def test_history_is_read_with_its_own_time_stamp() -> None:
    found = Host().hear(NODE_BIRTH, DEVICE_BIRTH, data(90.0, 2, timestamp=AT_MS - 3_600_000, is_historical=True))
    assert found.readings.select("read_at", "value").row(-1) == (AT.replace(hour=3), 90.0)


@pytest.mark.parametrize(("datatype", "field", "sent", "value"), [
    (INT8, "int_value", 0xFF, -1.0), (INT8, "int_value", 0xFFFFFFFF, -1.0), (INT8, "int_value", 127, 127.0), (INT8, "int_value", 128, -128.0),
    (INT8, "int_value", 256, None), (INT16, "int_value", 0x8000, -32768.0),
    (INT16, "int_value", 0xFFFF8000, -32768.0), (INT16, "int_value", 0x18000, None),
    (INT32, "int_value", 0x80000000, -2147483648.0), (INT32, "int_value", 5, 5.0), (INT32, "long_value", 2**64 - 5, -5.0),
    (INT64, "long_value", 2**64 - 1, -1.0), (INT64, "long_value", 2**63, -(2.0**63)), (INT64, "long_value", 2**63 - 1, float(2**63 - 1)),
    (INT64, "int_value", 0xFFFFFFFF, 4294967295.0),
    (UINT8, "int_value", 255, 255.0), (UINT8, "int_value", 256, None), (UINT16, "int_value", 65535, 65535.0), (UINT16, "int_value", 65536, None),
    (UINT32, "int_value", 2**32 - 1, 4294967295.0), (UINT32, "long_value", 2**32 - 1, 4294967295.0), (UINT32, "long_value", 2**32, None),
    (UINT64, "long_value", 2**64 - 1, float(2**64 - 1)),
    (FLOAT, "float_value", 0.5, 0.5), (DOUBLE, "double_value", 1e300, 1e300), (FLOAT, "double_value", 2.5, 2.5),
    (FLOAT, "float_value", float("nan"), None), (DOUBLE, "double_value", float("-inf"), None), (DOUBLE, "int_value", 5, None),
    (INT32, "double_value", 5.0, None),
])
def test_a_number_is_read_by_its_data_type(datatype, field, sent, value) -> None:
    found = Host().hear(("DBIRTH/node/E-1", payload({"name": "r", "datatype": datatype, field: sent}, seq=1)))
    assert said(found) == [("E-1", "r", value, None if value is not None else "bad_value")]


@pytest.mark.parametrize("metric", [
    {"datatype": BOOLEAN, "boolean_value": True}, {"datatype": STRING, "string_value": "5"}, {"datatype": DATETIME, "long_value": AT_MS},
    {"datatype": 17, "bytes_value": b"5"}, {"datatype": DOUBLE, "is_null": True}, {"datatype": DOUBLE, "double_value": 5.0, "is_transient": True},
])
def test_what_is_no_lasting_number_is_no_reading_and_no_fault(metric) -> None:
    found = Host().hear(("DBIRTH/node/E-1", payload({"name": "r", **metric}, seq=1)))
    assert (found.readings.height, found.heads["outcome"][0]) == (0, "decoded")


@pytest.mark.parametrize("metric", [
    {"datatype": DATASET, "dataset_value": b""}, {"datatype": TEMPLATE, "template_value": b""}, {"datatype": 25, "bytes_value": b"\x00"},
    {"datatype": DOUBLE, "dataset_value": b""},
])
def test_a_data_set_or_template_is_told(metric) -> None:
    assert said(Host().hear(("DBIRTH/node/E-1", payload({"name": "r", **metric}, seq=1)))) == [("E-1", "r", None, "unknown_field")]


@pytest.mark.parametrize(("code", "quality"), [(192, 0), (0, 2), (500, 1), (7, 1)])
def test_the_quality_of_a_metric_is_kept(code, quality) -> None:
    properties = {"keys": ["engUnit", "Quality"], "values": [{}, {"int_value": code}]}
    found = Host().hear(("DBIRTH/node/E-1", payload({**ENERGY, "properties": properties}, seq=1)))
    assert found.readings["quality"].to_list() == [quality]


@pytest.mark.parametrize(("to", "raw", "reason"), [
    ("NBIRTH/node", b"\xff\xff", "not_sparkplug"), ("NBIRTH/node", b"", "empty"), ("NBIRTH/node", b"*\x01x", "not_sparkplug"),
    ("NBIRTH/node", b"\x12\x03\x0a\x01\xff", "not_sparkplug"), ("NBIRTH/node/device", payload(), "unknown_topic"),
    ("DDATA/node", payload(), "unknown_topic"),
    ("XDATA/node", payload(), "unknown_topic"), ("spBv1.0/plant", payload(), "unknown_topic"), ("NCMD/node", payload(seq=1), None),
    ("spBv1.0/STATE/host", b'{"online":true,"timestamp":1}', None), ("DCMD/node/d", b"\xff", None),
])
def test_a_message_that_cannot_be_read_says_why_and_leaves_the_memory_alone(to, raw, reason) -> None:
    host = Host()
    host.hear(NODE_BIRTH, DEVICE_BIRTH)
    before = dict(host.memory)
    assert host.hear((to, raw)).heads["reason"][0] == reason
    assert host.memory == before


@pytest.mark.parametrize(("count", "reason"), [(10_000, None), (10_001, "too_many_readings")])
def test_a_birth_has_10_000_metrics_at_most_whatever_it_was_before(count, reason) -> None:
    raw = payload(*({"name": f"m{number}", "datatype": BOOLEAN} for number in range(count)), seq=0)
    assert Host().hear(("NBIRTH/node", raw), door="file").heads["reason"][0] == reason


def test_a_table_says_which_metric_is_which_register(tmp_path: Path) -> None:
    table = tmp_path / "metrics.toml"
    table.write_text("""
known = ["*/Voltage/**"]
[fields]
"Meters/*/Energy" = { meter = "{1}", register = "active_import", unit = "Wh", factor = 10 }
"Pump Running" = { register = "running" }
""", encoding="utf-8")
    metrics = [{"name": "Meters/E-5/Energy", "datatype": UINT32, "int_value": 12}, {"name": "a/Voltage/L1", "datatype": FLOAT, "float_value": 230.0},
               {"name": "Pump Running", "datatype": BOOLEAN, "boolean_value": True}, {"name": "else", "datatype": FLOAT, "float_value": 1.0}]
    found = Host(mapping=table).hear(("NBIRTH/node", payload(bd(0), *metrics, seq=0)))
    assert found.readings.select("meter", "register", "value", "unit", "fault").rows() == [
        ("E-5", "active_import", 120.0, "Wh", None), ("node", "running", None, None, "bad_value"), ("node", "else", None, None, "unknown_field"),
    ]


def test_a_birth_of_the_node_ends_what_its_devices_said_before() -> None:
    host = Host()
    host.hear(NODE_BIRTH, DEVICE_BIRTH, NODE_BIRTH)
    assert said(host.hear(data(1.0, 1))) == [("E-1", "7", None, "unknown_alias")]


def test_data_of_a_node_that_was_never_born_is_not_remembered() -> None:
    host = Host()
    host.hear(data(1.0, 2), ("DDEATH/node/E-1", payload(seq=3)))
    assert host.memory == {}


def test_a_metric_without_any_time_stamp_counts_as_of_its_arrival_only_where_the_route_says_so() -> None:
    birth = ("DBIRTH/node/E-1", payload(ENERGY, seq=1, at_ms=None))
    assert Host().hear(birth).readings["fault"].to_list() == ["bad_timestamp"]
    assert Host(time="arrival").hear(birth).readings.select("fault", "quality").row(0) == (None, 1)


@pytest.mark.parametrize("kind", ["DBIRTH", "NBIRTH", "NDEATH"])
def test_a_gateway_cannot_fill_the_memory_with_names(kind, monkeypatch) -> None:
    monkeypatch.setattr(sparkplug_b, "MAX_NAMES", 10)
    host = Host()
    host.hear(NODE_BIRTH, DEVICE_BIRTH)
    other = dict(host.memory)
    host.memory |= {f"sparkplug_b/{STEEL}/gw-t/plant/node{number}": "[]" for number in range(20)}  # another gateway's
    to = {"DBIRTH": "DBIRTH/node/d{}", "NBIRTH": "NBIRTH/n{}", "NDEATH": "NDEATH/n{}"}[kind]
    found = host.hear(*((to.format(number), payload(bd(1), seq=0)) for number in range(20)))
    assert found.heads["reason"].to_list()[-1] == "too_many_names"
    assert found.heads["reason"][0] is None
    assert len(host.memory) <= 20 + 11
    assert said(host.hear(data(1.0, 2)))[0][2] == 1.0
    assert other.keys() <= host.memory.keys()


@given(st.lists(st.sampled_from([
    NODE_BIRTH, DEVICE_BIRTH, data(1.0, 2), data(2.0, 3), data(3.0, 9), ("NDEATH/node", payload(bd(3))), ("NDEATH/node", payload(bd(2))),
    ("DDEATH/node/E-1", payload(seq=4)), ("NBIRTH/node", payload(bd(4), seq=0)), ("NDATA/node", payload({"alias": 1, "int_value": 6}, seq=5)),
]), max_size=12), st.integers(0, 12))
def test_a_batch_says_the_same_in_parts_as_in_one(sent, cut) -> None:
    whole, parts = Host(), Host()
    together, first, second = whole.hear(*sent), parts.hear(*sent[:cut]), parts.hear(*sent[cut:])
    assert said(together) == said(first) + said(second)
    assert together.commands[-1:] == [] or together.commands[-1].payload == (first.commands + second.commands)[-1].payload
    assert bool(together.commands) == bool(first.commands + second.commands)
    assert whole.memory == parts.memory
