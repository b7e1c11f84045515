"""Readings as messages, in time; a log as messages."""

import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sent import COKING, NOON, STEEL, message

from config.schemas import INSTANT
from ingest.decode import decode
from ingest.routes import Routes
from ingest.simulate import Outgoing, log_lines, paced, payloads

SHAPE = {"enterprise": pl.String(), "gateway": pl.String(), "meter": pl.String(), "register": pl.String(), "read_at": INSTANT, "value": pl.Float64()}


def table(*rows: tuple[str, str, str, datetime, float]) -> pl.DataFrame:
    named = [(enterprise, gateway, meter, "active_import", at, value) for enterprise, gateway, meter, at, value in rows]
    return pl.DataFrame(named, SHAPE, orient="row")


@pytest.mark.parametrize("form", ["rows", "columns"])
def test_what_is_sent_decodes_to_the_table_again(form) -> None:
    given_rows = table((STEEL, "g", "E-1", NOON, 1.5), (STEEL, "g", "E-2", NOON, 2.0), (COKING, "g", "E-1", NOON, 3.0))
    given_rows = given_rows.with_columns(unit=pl.lit("kWh"))
    sent = list(payloads(given_rows, region="150621", epoch="e", form=form))
    found = decode([message(one.payload, number, topic=one.topic) for number, one in enumerate(sent, 1)], Routes())
    names = [*SHAPE, "unit"]
    assert found.readings.select(names).sort(names).equals(given_rows.select(names).sort(names))
    assert found.heads["outcome"].to_list() == ["decoded"] * 2


def test_each_gateway_counts_for_itself_from_the_first_seq_on() -> None:
    later = NOON + timedelta(minutes=15)
    rows = table(*[(enterprise, "g", f"E-{meter}", at, 1.0) for at in (later, NOON) for enterprise in (STEEL, COKING) for meter in range(3)])
    sent = list(payloads(rows, region="150621", epoch="e", first_seq=10, per_message=2))
    found = decode([message(one.payload, number, topic=one.topic) for number, one in enumerate(sent, 1)], Routes())
    seqs = found.heads.group_by("enterprise", maintain_order=True).agg("seq", "decoded")
    assert seqs["seq"].to_list() == [[10, 11, 12, 13]] * 2
    assert seqs["decoded"].to_list() == [[2, 1, 2, 1]] * 2
    assert [one.at for one in sent] == [NOON] * 4 + [later] * 4


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(1, 3))
def test_no_reading_is_left_out_or_sent_twice(minutes, per_message) -> None:
    rows = table(*[(STEEL, "g", f"E-{number}", NOON + timedelta(minutes=minute), 1.0) for number, minute in enumerate(minutes)])
    sent = list(payloads(rows, region="150621", epoch="e", per_message=per_message))
    found = decode([message(one.payload, number, topic=one.topic) for number, one in enumerate(sent, 1)], Routes())
    assert sorted(found.readings["meter"].to_list()) == sorted(rows["meter"].to_list())
    assert found.heads["decoded"].max() in (None, *range(1, per_message + 1))


def test_a_replay_in_time_waits_between_instants_and_keeps_their_messages_together() -> None:
    waits: list[float] = []
    sent = [Outgoing("t", b"1", NOON), Outgoing("t", b"2", NOON), Outgoing("t", b"3", NOON + timedelta(hours=1))]
    groups = list(paced(sent, 3600.0, waits.append))
    assert [[one.payload for one in group] for group in groups] == [[b"1", b"2"], [b"3"]]
    assert waits[0] == 0.0
    assert math.isclose(waits[1], 1.0, abs_tol=0.1)


def test_a_log_gives_topic_and_payload_of_each_line() -> None:
    lines = [b'MQTT_ENY_NOW {"id": 1}\r\n', b"\n", b"empty\n", b"a/b x y"]
    assert [one[:2] for one in log_lines(lines)] == [("MQTT_ENY_NOW", b'{"id": 1}'), ("empty", b""), ("a/b", b"x y")]


def test_times_are_sent_to_the_millisecond() -> None:
    sent, = payloads(table((STEEL, "g", "E-1", datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC), 1.0)), region="150621", epoch="e")
    assert b'"ts":1767225600250' in sent.payload
