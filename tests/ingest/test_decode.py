"""Bytes -> readings or reasons."""

import gzip
import json
import math
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from sent import COKING, HEAD, NOON, NOON_MS, STEEL, decode_one, message, reason_of, row, topic

from config.schemas import DECODED, SETTLEMENT
from ingest import profiles
from ingest.content import State
from ingest.decode import MAX_UNPACKED_BYTES, GatewayState, decode
from ingest.profiles import own_json
from ingest.reasons import MESSAGE_REASONS, READING_FAULTS
from ingest.routes import Routes

COLUMNS = {"meter": ["E-001", "E-002"], "register": ["active_import"] * 2, "ts": [NOON_MS, NOON_MS + 1], "value": [1.0, 2]}


def faults(rows: list[object]) -> list[str | None]:
    return decode_one({**HEAD, "readings": rows}).readings["fault"].to_list()


def test_the_row_form_gives_one_reading_for_each_row_with_its_place_and_sender() -> None:
    found = decode_one({**HEAD, "readings": [row(), row(meter="E-002", value=5, unit=None)]})
    assert found.readings.schema == DECODED
    assert found.readings.select("message", "index", "enterprise", "gateway", "meter", "read_at", "value", "unit", "quality").rows() == [
        (1, 0, STEEL, "gw-1", "E-001", NOON, 17803.4, "kWh", 0), (1, 1, STEEL, "gw-1", "E-002", NOON, 5.0, None, 0),
    ]
    assert found.heads.schema == SETTLEMENT
    assert found.heads.select("outcome", "epoch", "seq", "decoded").row(0) == ("decoded", HEAD["epoch"], 1842, 2)


def test_the_column_form_says_the_same_as_the_row_form() -> None:
    rows = [{name: column[place] for name, column in COLUMNS.items()} for place in range(2)]
    by_rows, by_columns = decode_one({**HEAD, "readings": rows}), decode_one({**HEAD, **COLUMNS})
    assert by_rows.readings.equals(by_columns.readings)
    assert by_rows.heads.equals(by_columns.heads)


@pytest.mark.parametrize(("pack", "content_type"), [
    (gzip.compress, "application/json+gzip"), (gzip.compress, None), (zstandard.compress, "application/json+zstd"), (zstandard.compress, None),
    (bytes, "application/json"), (bytes, None),
])
def test_a_packed_message_is_known_by_its_content_type_or_its_first_bytes(pack, content_type) -> None:
    found = decode_one(pack(json.dumps({**HEAD, "readings": [row()]}).encode()), content_type=content_type)
    assert found.readings["value"].to_list() == [17803.4]


@pytest.mark.parametrize(("payload", "reason"), [
    (b"", "empty"), (b"abc", "not_json"), (b"\xff\xfe", "not_json"), (b"[1]", "not_an_object"), (b"null", "not_an_object"),
    (b'"text"', "not_an_object"), (b'{"v":2}', "wrong_version"), (b'{"v":true}', "wrong_version"), (b'{"v":"1"}', "wrong_version"),
    (b"{}", "wrong_version"), (b"[" * 50_000, "not_json"), (b'{"v":1,"readings":' + b"[" * 50_000, "not_json"), (b'{"v":1} {"v":1}', "not_json"),
    (gzip.compress(b"{}", mtime=0)[:-4], "bad_compression"), (b"\x1f\x8bnonsense", "bad_compression"),
    (b"\x28\xb5\x2f\xfdnonsense", "bad_compression"), (zstandard.compress(b"x" * 1000)[:-3], "bad_compression"),
    (gzip.compress(b"", mtime=0), "empty"),
])
def test_a_message_that_cannot_be_read_says_why(payload, reason) -> None:
    found = decode_one(payload)
    assert found.heads.select("outcome", "reason", "decoded").row(0) == ("undecodable", reason, 0)
    assert found.readings.is_empty()


@pytest.mark.parametrize(("change", "reason"), [
    ({"enterprise": COKING}, "topic_payload_mismatch"), ({"gateway": "gw-2"}, "topic_payload_mismatch"),
    ({"enterprise": 5}, "topic_payload_mismatch"),
    ({"epoch": None}, "no_sequence"), ({"epoch": ""}, "no_sequence"), ({"epoch": "e" * 65}, "no_sequence"), ({"seq": 0}, "no_sequence"),
    ({"seq": "7"}, "no_sequence"), ({"seq": True}, "no_sequence"), ({"seq": 1.5}, "no_sequence"), ({"seq": 2**53 + 1}, "no_sequence"),
    ({"readings": None}, "no_readings"), ({"readings": {}}, "no_readings"), (COLUMNS, "two_forms"),
    ({"readings": None, **COLUMNS, "value": [1.0]}, "unequal_columns"), ({"readings": None, **COLUMNS, "unit": []}, "unequal_columns"),
    ({"readings": None, **COLUMNS, "ts": "now"}, "no_readings"), ({"lost": [{"epoch": "e", "from_seq": 2, "to_seq": 1}]}, "bad_lost_range"),
    ({"lost": 5}, "bad_lost_range"), ({"lost": [5]}, "bad_lost_range"),
])
def test_a_message_with_a_wrong_head_says_what_is_wrong(change, reason) -> None:
    assert reason_of(decode_one({**HEAD, "readings": [row()], **change})) == reason


def test_enterprise_and_gateway_in_the_payload_may_repeat_the_topic() -> None:
    assert reason_of(decode_one({**HEAD, "enterprise": STEEL, "gateway": "gw-1", "readings": [row()]})) is None


@pytest.mark.parametrize(("seq", "fine"), [(1, True), (2**53, True), (2**53 + 1, False)])
def test_seq_runs_from_1_to_what_every_json_carries_exactly(seq, fine) -> None:
    assert (reason_of(decode_one({**HEAD, "seq": seq, "readings": [row()]})) is None) == fine


@pytest.mark.parametrize("bad", [
    "tce/v1/15062/%s/gw-1/readings", "tce/v1/150621/%sX/gw-1/readings", "tce/v1/150621/%s/gw 1/readings", "tce/v1/150621/%s/gw-1/box",
    "tce/v1/150621/%s/gw-1/readings/more",
    "tce/v1/150621/%s//readings", "tce/v2/150621/%s/gw-1/readings", "elsewhere", "tce/v1/１５０６２１/%s/gw-1/readings",
])
def test_a_topic_that_is_not_of_the_contract_is_unknown(bad) -> None:
    found = decode_one({**HEAD, "readings": [row()]}, topic=bad.replace("%s", STEEL))
    assert found.heads.select("reason", "enterprise").row(0) == ("unknown_topic", None)


@pytest.mark.parametrize(("size", "door", "reason"), [
    (65_536, "mqtt", None), (65_537, "mqtt", "payload_too_large"), (65_537, "http", "payload_too_large"), (65_537, "file", None),
])
def test_a_gateways_message_has_64_kib_at_most_as_sent(size, door, reason) -> None:
    text = json.dumps({**HEAD, "readings": [row()]}).encode()
    assert reason_of(decode_one(text + b" " * (size - len(text)), door=door)) == reason


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, lambda text: zstandard.ZstdCompressor(write_content_size=False).compress(text)])
@pytest.mark.parametrize(("size", "reason"), [
    (MAX_UNPACKED_BYTES, None), (MAX_UNPACKED_BYTES + 1, "unpacked_too_large"), (50_000_000, "unpacked_too_large"),
])
def test_a_packed_message_never_unpacks_to_more_than_4_mib(pack, size, reason) -> None:
    text = json.dumps({**HEAD, "readings": [row()]}).encode()
    assert reason_of(decode_one(pack(text + b" " * (size - len(text))))) == reason


@pytest.mark.parametrize(("count", "reason"), [(10_000, None), (10_001, "too_many_readings")])
@pytest.mark.parametrize("form", ["rows", "columns", "rows with a bad one"])
def test_a_message_has_10_000_readings_at_most(count, reason, form) -> None:
    rows = [{"meter": "E", "register": "r", "ts": NOON_MS, "value": 1.0}] * (count - 1) + [
        {"meter": "E", "register": "r", "ts": NOON_MS, "value": "1" if form == "rows with a bad one" else 1.0}
    ]
    said = {name: [one[name] for one in rows] for name in rows[0]} if form == "columns" else {"readings": rows}
    found = decode_one(gzip.compress(json.dumps({**HEAD, **said}).encode()))
    assert found.heads.select("reason", "seq").row(0) == (reason, 1842)


def too_large(size: int) -> bytes:
    text = json.dumps({**HEAD, "readings": [row()]}).encode()
    return text + b" " * (size - len(text))


@pytest.mark.parametrize(("payload", "reason"), [
    (too_large(65_537), "payload_too_large"), (gzip.compress(too_large(MAX_UNPACKED_BYTES + 1), mtime=0), "unpacked_too_large"),
    (zstandard.compress(too_large(50_000_000)), "unpacked_too_large"),
])
def test_a_message_that_is_too_large_still_says_which_one_it_was(payload, reason) -> None:
    assert decode_one(payload).heads.select("reason", "epoch", "seq").row(0) == (reason, HEAD["epoch"], 1842)


def test_the_number_of_a_message_that_is_too_large_is_looked_for_at_its_head_only() -> None:
    late = b'{"v":1,' + b" " * 70_000 + b'"epoch":"e","seq":1}'
    assert decode_one(late).heads.select("reason", "epoch", "seq").row(0) == ("payload_too_large", None, None)


@pytest.mark.parametrize(("cut", "seq"), [
    (b'{"v":1,"epoch":"e","seq":1842', None), (b'{"v":1,"epoch":"e","seq":1842,', 1842), (b'{"seq":9007199254740992 ,"epoch":"e"', 2**53),
])
def test_a_number_that_was_cut_itself_is_not_taken_for_another(cut, seq) -> None:
    assert decode_one(cut).heads["seq"][0] == seq


@pytest.mark.parametrize("payload", [{**HEAD, "readings": [row()]}, b"nonsense", b"x" * 100_000])
def test_what_a_gateway_tries_in_the_sandbox_is_no_reading_and_has_no_number(payload) -> None:
    found = decode_one(payload, topic=topic(kind="sandbox"))
    assert found.heads.select("outcome", "reason", "enterprise", "seq", "decoded").row(0) == ("sandbox", None, STEEL, None, 0)
    assert found.readings.is_empty()


def test_the_state_of_a_gateway_is_handed_on_with_its_epoch_and_software() -> None:
    found = decode_one({"v": 1, "state": "online", "epoch": "e", "software": "x 1"}, topic=topic(kind="state"))
    assert found.states == [GatewayState(1, STEEL, "gw-1", State("online", "e", "x 1"))]


def test_a_message_cut_on_its_way_still_says_which_one_it_was() -> None:
    whole = json.dumps({**HEAD, "readings": [row()]}).encode()
    assert decode_one(whole[:-40]).heads.select("reason", "epoch", "seq").row(0) == ("not_json", HEAD["epoch"], 1842)
    assert decode_one(whole[:30]).heads.select("epoch", "seq").row(0) == (None, None)


def test_a_door_without_a_gateway_needs_no_sequence() -> None:
    found = decode_one({"v": 1, "readings": [row()]}, door="file")
    assert found.heads.select("outcome", "epoch", "seq").row(0) == ("decoded", None, None)


@pytest.mark.parametrize(("changed", "fault"), [
    ({"value": "17803.4"}, "bad_value"), ({"value": True}, "bad_value"), ({"value": None}, "bad_value"), ({"value": [1]}, "bad_value"),
    ({"value": 10**400}, "bad_value"), ({"meter": None}, "bad_meter"), ({"meter": 5}, "bad_meter"), ({"register": None}, "bad_register"),
    ({"ts": None}, "bad_timestamp"), ({"ts": 1.5}, "bad_timestamp"), ({"ts": True}, "bad_timestamp"), ({"ts": "soon"}, "bad_timestamp"),
    ({"ts": "2026-11-20T12:00:00"}, "timestamp_without_offset"), ({"ts": "2026-11-20"}, "timestamp_without_offset"),
    ({"ts": 253_370_764_800_000}, "bad_timestamp"), ({"ts": -62_104_060_800_001}, "bad_timestamp"), ({"ts": 10**30}, "bad_timestamp"),
    ({"ts": "2026-02-30T12:00:00+08:00"}, "bad_timestamp"), ({"ts": "0001-01-01T00:00:00+08:00"}, "bad_timestamp"),
    ({"ts": "9999-12-31T23:59:59-08:00"}, "bad_timestamp"), ({"ts": "9999-12-31T23:59:59Z"}, "bad_timestamp"),
    ({"unit": 5}, "bad_unit"), ({"quality": "fine"}, "bad_quality"), ({"quality": 1}, "bad_quality"),
    ({}, None), ({"value": -0.0}, None), ({"value": 10**30}, None), ({"quality": "bad"}, None), ({"source": "dcs", "more": [1]}, None),
    ({"ts": NOON_MS}, None), ({"ts": 253_370_764_799_999}, None), ({"ts": "2026-11-20T04:00:00Z"}, None),
    ({"ts": "2026-11-20T04:00:00.5+00:00"}, None),
])
def test_a_bad_reading_has_a_fault_and_costs_its_neighbours_nothing(changed, fault) -> None:
    found = decode_one({**HEAD, "readings": [row(value=1.0), {**row(), **changed}, row(value=3.0)]})
    assert found.readings["fault"].to_list() == [None, fault, None]
    assert found.readings["value"].to_list()[::2] == [1.0, 3.0]
    assert found.heads["decoded"][0] == 3
    assert (found.readings["raw"][1] is None) == (fault is None)


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_what_is_no_number_of_json_costs_one_reading(token) -> None:
    text = json.dumps({**HEAD, "readings": [row(value=1.0), row(value=2.0)]}).replace("2.0", token).encode()
    found = decode_one(text)
    assert found.readings.select("fault", "value").rows() == [(None, 1.0), ("bad_value", None)]
    assert found.readings["meter"].to_list() == ["E-001", "E-001"]


def test_a_reading_that_is_no_object_or_holds_half_a_character_is_told() -> None:
    assert faults([row(), 5, None, [row()], row(meter="\ud800")]) == [None, "not_an_object", "not_an_object", "not_an_object", "bad_meter"]


def test_a_bad_cell_of_the_column_form_costs_one_reading() -> None:
    found = decode_one({**HEAD, **COLUMNS, "value": [1.0, "2"]})
    assert found.readings.select("fault", "value", "meter").rows() == [(None, 1.0, "E-001"), ("bad_value", None, "E-002")]


@pytest.mark.parametrize(("quality", "code"), [("good", 0), ("uncertain", 1), ("bad", 2), (None, 0)])
def test_the_quality_is_kept_as_its_code_and_good_where_nothing_is_said(quality, code) -> None:
    found = decode_one({**HEAD, "readings": [row(quality=quality), row()]})
    assert found.readings["quality"].to_list() == [code, 0]


def test_times_in_one_batch_may_be_text_or_milliseconds() -> None:
    rows = [row(ts=NOON_MS), row(), row(ts="2026-11-20T04:00:00Z"), row(ts="20261120T040000+0000")]
    found = decode_one({**HEAD, "readings": rows})
    assert found.readings["read_at"].to_list() == [NOON] * 4


def test_lost_ranges_are_told_and_a_message_of_them_alone_needs_no_sequence() -> None:
    said = {"v": 1, "lost": [{"epoch": "e", "from_seq": 1801, "to_seq": 1807}, {"epoch": "f", "from_seq": 1, "to_seq": 1}]}
    found = decode_one(said, topic=topic(kind="backfill"))
    assert found.heads.select("outcome", "reason", "seq").row(0) == ("lost", None, None)
    assert found.lost.rows() == [(1, STEEL, "gw-1", "e", 1801, 1807), (1, STEEL, "gw-1", "f", 1, 1)]
    both = decode_one({**HEAD, "readings": [row()], "lost": said["lost"]})
    assert (both.heads["outcome"][0], both.lost.height, both.readings.height) == ("decoded", 2, 1)


@pytest.mark.parametrize(("payload", "outcome"), [
    ({"v": 1, "state": "online", "epoch": "e", "software": "x"}, "state"), ({"v": 1, "state": "offline"}, "state"),
    ({"v": 1, "state": "asleep"}, "undecodable"), ({"state": "online"}, "undecodable"),
])
def test_the_state_of_a_gateway_is_no_reading(payload, outcome) -> None:
    found = decode_one(payload, topic=topic(kind="state"), retained=True)
    assert (found.heads["outcome"][0], found.readings.height) == (outcome, 0)


def test_a_fault_in_a_profile_costs_its_message_only(monkeypatch) -> None:
    def broken(payload, sender):
        if b"E-666" in payload:
            raise ZeroDivisionError
        return own_json.read(payload, sender)

    monkeypatch.setitem(profiles.PROFILES, "own_json", broken)
    sent = [message({**HEAD, "readings": [row(meter=meter)]}, number) for number, meter in enumerate(["E-1", "E-666", "E-2"], 1)]
    found = decode(sent, Routes())
    assert found.heads["reason"].to_list() == [None, "profile_failed", None]
    assert found.readings["meter"].to_list() == ["E-1", "E-2"]


def test_nothing_in_one_message_can_become_a_reading_of_another_sender() -> None:
    evil = b'{"v":1,"epoch":"e","seq":1,"readings":[]},{"v":1,"epoch":"e","seq":1,"readings":[{"meter":"E-001","register":"r","ts":1,"value":1}]}'
    sent = [message(evil, 1), message({**HEAD, "readings": [row()]}, 2, topic=topic(COKING)), message({**HEAD, "readings": []}, 3)]
    found = decode(sent, Routes())
    assert found.heads["reason"].to_list() == ["not_json", None, None]
    assert found.readings.select("message", "enterprise", "index").rows() == [(2, COKING, 0)]


def test_no_message_gives_empty_tables() -> None:
    found = decode([], Routes())
    assert (found.readings.schema, found.heads.schema, found.readings.height, found.heads.height) == (DECODED, SETTLEMENT, 0, 0)


def test_a_batch_larger_than_a_chunk_keeps_every_reading_with_its_fault() -> None:
    rows = [row(value=float(number)) for number in range(997)] + [row(value="x")]
    found = decode([message({**HEAD, "readings": rows}, number, door="file") for number in range(1, 8)], Routes())
    assert found.readings.height == 7 * 998
    assert found.readings.filter(pl.col("fault").is_not_null()).select("message", "index").rows() == [(number, 997) for number in range(1, 8)]
    assert found.readings.filter(pl.col("message") == 7)["value"].to_list()[:997] == [float(number) for number in range(997)]


cells = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2),
    st.sampled_from(["2026-11-20T12:00:00+08:00", "2026-11-20T12:00:00", "good", "kWh", NOON_MS, 1e308, 10**400]),
)
any_row = st.one_of(cells, st.dictionaries(st.sampled_from(["meter", "register", "ts", "value", "unit", "quality", "other"]), cells, max_size=7))
near_row = st.builds(lambda name, cell: {**row(), name: cell}, st.sampled_from(["meter", "register", "ts", "value", "unit", "quality"]), cells)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_stop_the_decoder(payload) -> None:
    found = decode([message(payload, 1), message({**HEAD, "readings": [row()]}, 2)], Routes())
    assert found.heads["message"].to_list() == [1, 2]
    assert found.heads["reason"][0] is None or found.heads["reason"][0] in MESSAGE_REASONS
    assert found.readings.filter(pl.col("message") == 2)["value"].to_list() == [17803.4]


@given(st.lists(any_row | near_row, max_size=6))
def test_a_reading_is_judged_alike_whatever_stands_beside_it(rows) -> None:
    together = decode_one({**HEAD, "readings": rows}).readings
    alone = [decode_one({**HEAD, "readings": [one]}).readings for one in rows]
    assert together.height == len(rows)
    assert set(together["fault"].drop_nulls()) <= set(READING_FAULTS)
    columns = ["meter", "register", "read_at", "value", "unit", "quality", "fault"]
    assert together.select(columns).rows() == [one.select(columns).row(0) for one in alone]


@given(st.lists(near_row, min_size=1, max_size=4))
def test_what_is_not_faulty_is_finite_and_has_a_time(rows) -> None:
    good = decode_one({**HEAD, "readings": rows}).readings.filter(pl.col("fault").is_null())
    assert all(value is not None and math.isfinite(value) for value in good["value"])
    assert good["read_at"].null_count() == good["meter"].null_count() == 0


@given(st.lists(st.lists(near_row, max_size=3), max_size=4))
def test_messages_decoded_together_say_what_each_says_alone(batches) -> None:
    sent = [message({**HEAD, "seq": number, "readings": rows}, number) for number, rows in enumerate(batches, 1)]
    together = decode(sent, Routes())
    alone = [decode([one], Routes()) for one in sent]
    assert together.heads.rows() == [row for one in alone for row in one.heads.rows()]
    assert together.readings.drop("raw").rows() == [row for one in alone for row in one.readings.drop("raw").rows()]


@given(st.integers(0, 4_102_444_800_000_000), st.integers(-14 * 60, 14 * 60), st.floats(allow_nan=False, allow_infinity=False))
def test_an_instant_and_a_value_come_through_unchanged(epoch_us, offset_min, value) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=epoch_us)
    said = at.astimezone(timezone(timedelta(minutes=offset_min))).isoformat()
    found = decode_one({**HEAD, "readings": [row(ts=said, value=value)]}).readings
    assert found.select("read_at", "value", "fault").row(0) == (at, value, None)
