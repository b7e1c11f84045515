"""The conformity report: each check on messages that keep the contract, and on such as do not."""

import gzip
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sent import COKING, STEEL, message, register, registers, topic

from config.settings import ScreenSettings
from ingest.certificates import Facts
from ingest.conformity import TITLES, Check, Report, report
from ingest.routes import Routes
from store.journal import Message

AT = datetime(2026, 11, 20, 4, 30, tzinfo=UTC)
EPOCH = "2026-11-20T08:00:00+08:00"
KNOWN = registers(register(), register(register_key=8, meter="E-002"))
CERTIFICATE = Facts(f"{STEEL}_gw-1", AT - timedelta(days=300), AT + timedelta(days=300), for_clients=True, issued_by_ca=True)


def row(minute: int, *, late_s: float = 2, meter: str = "E-001", **changes: Any) -> dict[str, Any]:
    at = AT + timedelta(minutes=minute, seconds=-late_s)
    return {"meter": meter, "register": "active_import", "ts": at.isoformat(), "value": 17803.4, "unit": "kWh", **changes}


def sent(
    number: int, rows: Sequence[dict[str, Any]] | None = None, *, kind: str = "readings", minute: int | None = None, **changes: Any,
) -> Message:
    """The message with that number, which arrives that many minutes after AT."""
    minute = number if minute is None else minute
    rows = [row(minute), row(minute, meter="E-002")] if rows is None else rows
    said = {"v": 1, "epoch": EPOCH, "seq": number, "readings": list(rows), **changes}
    return message(said, number, topic=topic(kind=kind), received_at=AT + timedelta(minutes=minute))


def raw(payload: bytes, number: int = 1, kind: str = "readings") -> Message:
    return message(payload, number, topic=topic(kind=kind), received_at=AT + timedelta(minutes=number))


ONLINE = raw(b'{"v":1,"state":"online","epoch":"e"}', 99, "state")
GOOD = (*(sent(number) for number in range(1, 6)), ONLINE)


def looked_at(messages: Sequence[Message], **changes: Any) -> Report:
    options: dict[str, Any] = {
        "enterprise": STEEL, "gateway": "gw-1", "region": "150621", "at": AT + timedelta(hours=2), "routes": Routes(), "max_payload_bytes": 65_536,
        "certificate": CERTIFICATE, **changes,
    }
    return report(messages, options.pop("registers", KNOWN), ScreenSettings(), **options)


def check(name: str, messages: Sequence[Message], **changes: Any) -> Check:
    found, = (one for one in looked_at(messages, **changes).checks if one.id == name)
    assert found.evidence.zh
    assert found.evidence.en
    assert bool(found.remedy.zh) == bool(found.remedy.en) == (found.verdict in {"warn", "fail"})
    return found


def verdict(name: str, messages: Sequence[Message], **changes: Any) -> str:
    return check(name, messages, **changes).verdict


def test_a_gateway_that_keeps_the_contract_passes_every_check() -> None:
    found = looked_at(GOOD)
    assert {one.id: one.verdict for one in found.checks} == dict.fromkeys(TITLES, "pass")
    assert (found.verdict, found.messages, found.readings) == ("pass", 6, 10)
    assert found.since == AT + timedelta(minutes=1)


def test_on_sandbox_it_is_looked_at_alike() -> None:
    found = looked_at([sent(number, kind="sandbox") for number in range(1, 6)], state="online")
    assert {one.verdict for one in found.checks} == {"pass"}


def test_nothing_that_arrived_is_a_failure_and_the_rest_is_not_looked_at() -> None:
    found = looked_at([], certificate=None)
    assert [(one.id, one.verdict) for one in found.checks] == [("arrival", "fail"), ("certificate", "not_checked")]
    assert found.verdict == "fail"


def test_the_report_is_one_json_document() -> None:
    found = json.loads(json.dumps(looked_at(GOOD).as_json(), allow_nan=False))
    assert found["checks"][0] == {
        "id": "arrival", "title": {"zh": "报文到达", "en": "Messages arrive"}, "verdict": "pass",
        "evidence": {"zh": "收到6条报文：readings 5, state 1。", "en": "6 messages: readings 5, state 1."}, "remedy": {"zh": "", "en": ""},
    }
    assert (found["verdict"], found["at"], found["since"]) == ("pass", "2026-11-20T06:30:00.000+00:00", "2026-11-20T04:31:00.000+00:00")


def test_topics_of_another_region_or_another_gateway_fail() -> None:
    assert verdict("topic", GOOD, region="150600") == "fail"
    stranger = message(b"{}", 7, topic=topic(COKING))
    assert topic(COKING) in check("topic", [*GOOD, stranger]).evidence.en
    assert looked_at([*GOOD, stranger]).messages == 6
    assert [one.id for one in looked_at([stranger]).checks] == ["arrival", "topic", "certificate"]


@pytest.mark.parametrize(("bad", "reason"), [
    (raw(b"{"), "not_json"), (sent(9, [row(9, value="1")]), "bad_value"), (sent(9, enterprise=COKING), "topic_payload_mismatch"),
    (sent(9, [row(9, ts="2026-11-20T12:00:00")]), "timestamp_without_offset"), (raw(b" " * 65_537), "payload_too_large"),
])
def test_a_message_or_reading_that_cannot_be_read_fails_the_schema(bad: Message, reason: str) -> None:
    found = check("schema", [*GOOD, bad])
    assert found.verdict == "fail"
    assert reason in found.evidence.en
    assert reason in found.evidence.zh


SEQUENCES = {
    "in order": ([1, 2, 3], "pass"), "from the middle": ([41, 42, 43], "pass"), "a hole": ([1, 2, 4], "warn"), "out of order": ([1, 3, 2], "warn"),
    "the same again": ([1, 2, 2, 3], "pass"),
}


@pytest.mark.parametrize(("seqs", "expected"), SEQUENCES.values(), ids=SEQUENCES)
def test_numbers_without_a_hole_and_in_order_pass(seqs: list[int], expected: str) -> None:
    messages = [sent(seq, minute=1)._replace(id=place) for place, seq in enumerate(seqs, 1)]
    assert verdict("sequence", messages) == expected


def test_a_hole_that_backfill_filled_is_none_and_old_backfill_opens_none() -> None:
    holed = [sent(seq) for seq in (10, 11, 13)]
    assert "12-12" in check("sequence", holed).evidence.en
    assert verdict("sequence", [*holed, sent(12, kind="backfill")._replace(id=99)]) == "pass"
    assert verdict("sequence", [*(sent(seq) for seq in (10, 11)), sent(3, kind="backfill")]) == "pass"


def test_the_sandbox_counts_for_itself() -> None:
    assert verdict("sequence", [sent(10), sent(11), sent(1, kind="sandbox"), sent(2, kind="sandbox")]) == "pass"


def test_one_number_on_two_messages_fails_and_so_does_none() -> None:
    assert verdict("sequence", [sent(1), sent(1, [row(2)])._replace(id=2)]) == "fail"
    assert verdict("sequence", [sent(1), sent(2, seq=None)]) == "fail"
    assert verdict("sequence", [ONLINE]) == "not_checked"


EPOCHS = [([EPOCH, EPOCH], "pass"), (["boot-7", "boot-7"], "warn"), ([EPOCH, "2026-11-20T09:00:00Z"], "warn")]


@pytest.mark.parametrize(("epochs", "expected"), EPOCHS)
def test_an_epoch_is_an_instant_and_stays(epochs: list[str], expected: str) -> None:
    assert verdict("sequence", [sent(number, epoch=epoch) for number, epoch in enumerate(epochs, 1)]) == expected


@given(st.permutations(range(1, 9)), st.sets(st.integers(1, 8)))
def test_holes_are_what_is_missing_between_the_first_and_the_last(order: list[int], kept: set[int]) -> None:
    messages = [sent(seq, minute=1) for seq in order if seq in kept]
    missing = {seq for seq in range(min(kept, default=1), max(kept, default=0)) if seq not in kept}
    found = check("sequence", [*messages, ONLINE])
    told = {seq for part in (found.evidence.en.split("missing: ")[1].split(" (")[0].split(", ") if missing else [])
            for low, high in [part.removeprefix(f"{EPOCH}: ").split("-")] for seq in range(int(low), int(high) + 1)}
    assert told == missing
    assert (found.verdict == "pass") == (bool(kept) and not missing and [one.id for one in messages] == sorted(kept))


CLOCKS = [(2, "pass"), (59, "pass"), (61, "warn"), (0, "pass"), (-4, "pass"), (-6, "warn"), (-299, "warn"), (-301, "fail")]


@pytest.mark.parametrize(("late_s", "expected"), CLOCKS)
def test_the_clock_is_judged_by_the_newest_reading_on_its_arrival(late_s: float, expected: str) -> None:
    messages = [sent(number, [row(number, late_s=late_s), row(number, late_s=late_s + 900)]) for number in range(1, 6)]
    found = check("clock", messages)
    assert found.verdict == expected
    assert f"median {late_s:.1f} s" in found.evidence.en


def test_an_unsteady_clock_is_told_and_history_says_nothing_of_it() -> None:
    assert verdict("clock", [sent(number, [row(number, late_s=number * 20)]) for number in range(1, 6)]) == "warn"
    assert verdict("clock", [sent(number, [row(number, late_s=90_000)], kind="backfill") for number in range(1, 3)]) == "not_checked"
    assert verdict("clock", GOOD, arrived=False) == "not_checked"


def test_unknown_meters_fail_and_silent_ones_are_told() -> None:
    found = check("registers", [*GOOD, sent(6, [row(6, meter="E-009")])])
    assert found.verdict == "fail"
    assert "E-009/active_import" in found.evidence.en
    silent = check("registers", [sent(1, [row(1)]), ONLINE])
    assert (silent.verdict, "E-002/active_import" in silent.evidence.zh) == ("warn", True)
    of_another = pl.concat([KNOWN, registers(register(register_key=9, meter="E-003", gateway="gw-2"))])
    assert verdict("registers", GOOD, registers=of_another) == "pass"
    assert verdict("registers", [*GOOD, sent(6, [row(6, meter="E-003")])], registers=of_another) == "fail"
    over = registers(register(), register(register_key=8, meter="E-002"), register(register_key=9, meter="E-4", valid_to=AT - timedelta(days=1)))
    assert verdict("registers", GOOD, registers=over) == "pass"
    derived = pl.concat([KNOWN, registers(register(register_key=9, meter="E-5", kind="derived", formula="sum(E-001.active_import)"))])
    assert verdict("registers", GOOD, registers=derived) == "pass"
    assert verdict("registers", [*GOOD, sent(6, [row(6, meter="E-5")])], registers=derived) == "fail"


@pytest.mark.parametrize(("unit", "expected"), [("kWh", "pass"), ("MWh", "pass"), (None, "pass"), ("m3", "fail"), ("kwh", "fail")])
def test_a_unit_is_known_and_fits(unit: str | None, expected: str) -> None:
    assert verdict("units", [sent(1, [row(1, unit=unit, value=1.0)])]) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.0, "pass"), (1e6, "pass"), (1e6 + 1, "fail"), (-1.0, "fail")])
def test_a_value_outside_its_range_fails(value: float, expected: str) -> None:
    assert verdict("values", [sent(1, [row(1, value=value)])]) == expected


def test_a_reading_of_the_future_is_the_clocks_fault_and_no_bad_value() -> None:
    assert verdict("values", [sent(1, [row(1, late_s=-1000)])]) == "pass"
    assert verdict("values", [sent(1, [row(1, late_s=1e9)])]) == "fail"


def test_many_small_messages_and_huge_ones_are_told() -> None:
    quick = [sent(number, [row(1)])._replace(received_at=AT + timedelta(seconds=number / 2)) for number in range(1, 20)]
    assert verdict("rate", quick) == "warn"
    assert verdict("rate", quick, arrived=False) == "pass"
    batches = [sent(number, [row(1)] * 10)._replace(received_at=AT + timedelta(seconds=number / 2)) for number in range(1, 20)]
    assert verdict("rate", batches) == "pass"
    assert verdict("rate", [sent(1, software="x" * 60_000)]) == "warn"


def test_compression_is_advised_where_it_gains_something() -> None:
    seeded = random.Random(7)
    large = sent(1, [row(1, value=seeded.random()) for _ in range(50)])
    found = check("compression", [large])
    assert found.verdict == "warn"
    assert "%" in found.evidence.en
    assert verdict("compression", [large._replace(payload=gzip.compress(large.payload))]) == "pass"


@pytest.mark.parametrize(("said", "before", "expected"), [
    ("online", None, "pass"), ("offline", "online", "warn"), (None, "online", "pass"), (None, "offline", "warn"), (None, None, "warn"),
])
def test_the_last_state_counts(said: str | None, before: str | None, expected: str) -> None:
    states = [] if said is None else [raw(json.dumps({"v": 1, "state": said}).encode(), 50, "state")]
    assert verdict("state", [*GOOD[:5], *states], state=before) == expected


CERTIFICATES: dict[str, tuple[dict[str, Any], str]] = {
    "good": ({}, "pass"), "not compared": ({"issued_by_ca": None}, "pass"), "foreign": ({"issued_by_ca": False}, "fail"),
    "other name": ({"name": "x"}, "fail"), "no name": ({"name": None}, "fail"), "for servers": ({"for_clients": False}, "fail"),
    "not yet": ({"not_before": AT + timedelta(hours=3)}, "fail"), "over": ({"not_after": AT + timedelta(hours=1)}, "fail"),
    "soon over": ({"not_after": AT + timedelta(days=30, hours=1)}, "warn"), "a month left": ({"not_after": AT + timedelta(days=30, hours=2)}, "pass"),
}


@pytest.mark.parametrize(("changes", "expected"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_certificate_is_the_gateways_own_valid_and_of_the_authority(changes: dict[str, Any], expected: str) -> None:
    assert verdict("certificate", GOOD, certificate=CERTIFICATE._replace(**changes)) == expected


def test_without_a_certificate_none_is_judged() -> None:
    assert verdict("certificate", GOOD, certificate=None) == "not_checked"


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_make_a_report(payloads: list[bytes]) -> None:
    found = looked_at([raw(payload, number) for number, payload in enumerate(payloads, 1)])
    assert json.dumps(found.as_json(), allow_nan=False)
