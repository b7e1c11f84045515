"""Every kind of bad input: refused with its reason, and never at the cost of what stands beside it."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from corpus import CODE, ERROR_VALUES, GATEWAY, Case, body, cases, message, neighbours, reading
from sent import register, registers

from config.settings import ScreenSettings
from ingest.decode import decode
from ingest.routes import Routes
from ingest.screen import Screened, screen
from store.journal import Message

NOW = datetime(2026, 11, 20, 4, tzinfo=UTC)
CASES = cases(NOW)
KNOWN = {"enterprise": CODE, "gateway": GATEWAY, "range_low": None, "range_high": None}
REGISTER = registers(
    register(**KNOWN, meter="E-1", register_key=1), register(**KNOWN | {"gateway": "GW-02"}, meter="E-3", register_key=3),
    register(**KNOWN | {"range_low": -10.0, "range_high": 2e7}, meter="E-2", register_key=2, error_values=ERROR_VALUES),
)


def taken(*messages: Message) -> tuple[pl.DataFrame, Screened]:
    decodings = decode(messages, Routes())
    return decodings.heads, screen(decodings.readings, REGISTER, ScreenSettings())


def arrived(payload: bytes, number: int, case: Case | None = None) -> Message:
    topic = case.topic if case else f"tce/v1/159901/{CODE}/{GATEWAY}/readings"
    return Message(number, "mqtt", topic, None, case.content_type if case else None, payload, NOW + timedelta(seconds=1), retained=False)


def test_every_row_of_the_catalogue_that_input_can_break_is_there() -> None:
    assert {case.row for case in CASES} == {8, 18, 28, 33, 34, 37, 38, 39, 40, 46, 47}  # 32 needs a broker: see tests/e2e
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{case.row} {case.name}".encode("unicode_escape").decode() for case in CASES])
def test_it_is_refused_with_its_reason_and_its_neighbours_are_taken_bit_for_bit(number: int) -> None:
    case = CASES[number]
    heads, screened = taken(
        arrived(body(1, reading(NOW, value=0.1)), 1), arrived(message(case, number, NOW), 2, case), arrived(body(3, reading(NOW, value=0.7)), 3),
    )
    expected = [(1, NOW, 0.1), (3, NOW, 0.7)]
    if case.payload is not None:
        assert heads["outcome"].to_list() == ["decoded", "undecodable", "decoded"]
        assert heads["reason"].to_list() == [None, case.reason, None]
        assert screened.rejected.is_empty()
    else:
        assert heads["outcome"].to_list() == ["decoded"] * 3
        assert screened.rejected.select("message", "index").rows() == [(2, 1)]
        assert screened.rejected["broken_rules"][0][0] == case.reason
        assert screened.rejected["enterprise"].to_list() == [CODE]
        expected += [(2, at, value) for at, value in neighbours(number, NOW)]
    assert sorted(screened.accepted.select("message", "read_at", "value").rows()) == sorted(expected)


def test_minus_nothing_is_a_number() -> None:
    _, screened = taken(arrived(body(1, reading(NOW, value=-0.0)), 1))
    assert screened.accepted["value"].to_list() == [0.0]


def test_an_error_value_is_one_only_where_the_register_says_so() -> None:
    _, screened = taken(arrived(body(1, *(reading(NOW, meter=meter, value=65535) for meter in ("E-1", "E-2"))), 1))
    assert screened.accepted["register_key"].to_list() == [1]


def test_an_error_value_is_compared_as_it_came_and_not_as_it_is_converted() -> None:
    _, screened = taken(arrived(body(1, reading(NOW, meter="E-2", value=65535, unit="MWh"), reading(NOW, meter="E-2", value=65.535, unit="MWh")), 1))
    assert screened.rejected["broken_rules"].to_list() == [["error_value", "value_within_range"]]
    assert screened.accepted["value"].to_list() == [65535.0]
