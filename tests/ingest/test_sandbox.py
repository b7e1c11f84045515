"""What would become of a message on `sandbox`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from sent import COKING, HEAD, STEEL, message, register, registers, row, topic

from config.settings import ScreenSettings
from ingest.sandbox import answers
from store.journal import Message

AT = datetime(2026, 11, 20, 4, 5, tzinfo=UTC)
SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "payloads" / "receipt.schema.json").read_text(encoding="utf-8"))


def tried(payload: bytes | dict[str, Any], number: int = 1, *, enterprise: str = STEEL) -> Message:
    return message(payload, number, topic=topic(enterprise, kind="sandbox"))


def answered(*messages: Message, regions: dict[tuple[str, str], str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Receipts by topic, each of them as the published schema has it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for to, payload in answers(messages, registers(register()), ScreenSettings(), max_payload_bytes=65_536, regions=regions or {}, at=AT):
        receipt = json.loads(payload)
        jsonschema.validate(receipt, SCHEMA, jsonschema.Draft202012Validator)
        found.setdefault(to, []).append(receipt)
    return found


def test_the_answer_tells_what_would_have_become_of_each_reading() -> None:
    rows = [row(), row(meter="E-9"), row(value="1"), row(ts="2026-11-20T11:45:00+08:00")]
    receipt, = answered(tried({**HEAD, "readings": rows}))[topic(kind="receipts")]
    assert receipt["sandbox"] is True
    assert (receipt["epoch"], receipt["from_seq"], receipt["to_seq"], receipt["contiguous_seq"]) == (HEAD["epoch"], HEAD["seq"], HEAD["seq"], 0)
    assert (receipt["stored"], receipt["duplicate"], receipt["conflicting"], receipt["rejected_count"]) == (2, 0, 0, 2)
    assert [(one["index"], one["reason"]) for one in receipt["rejected"]] == [(1, "unknown_meter"), (2, "bad_value")]
    assert all(one["text"]["zh"] and one["text"]["en"] for one in receipt["rejected"])


def test_messages_of_one_epoch_share_an_answer_and_senders_do_not() -> None:
    own = [tried({**HEAD, "seq": seq, "readings": [row()]}, seq) for seq in (1, 2, 3)]
    found = answered(*own, tried({**HEAD, "readings": [row()]}, 4, enterprise=COKING), tried({**HEAD, "epoch": "e", "readings": []}, 5))
    assert [(one["epoch"], one["from_seq"], one["to_seq"], one["stored"]) for one in found[topic(kind="receipts")]] == [
        (HEAD["epoch"], 1, 3, 3), ("e", HEAD["seq"], HEAD["seq"], 0)
    ]
    assert [one["rejected"][0]["reason"] for one in found[topic(COKING, kind="receipts")]] == ["unknown_meter"]


@pytest.mark.parametrize(("payload", "reason"), [
    (b"{", "not_json"), (b"", "empty"), ({"v": 1, "readings": [row()]}, "no_sequence"), (b"x" * 65_537, "payload_too_large"),
    ({"v": 1, "epoch": "e", "seq": 1, "enterprise": COKING, "readings": []}, "topic_payload_mismatch"),
])
def test_what_cannot_be_read_is_answered_too(payload: bytes | dict[str, Any], reason: str) -> None:
    receipt, = answered(tried(payload))[topic(kind="receipts")]
    assert [(one["index"], one["reason"]) for one in receipt["rejected"]] == [(-1, reason)]
    assert receipt["rejected_count"] == 1
    assert (receipt["epoch"] is None) == (reason != "topic_payload_mismatch")


def test_an_answer_lists_a_hundred_and_counts_all() -> None:
    receipts = answered(*(tried({**HEAD, "seq": seq, "readings": [row(meter="E-9")] * 60}, seq) for seq in range(1, 251)))[topic(kind="receipts")]
    assert (len(receipts), len(receipts[0]["rejected"]), receipts[0]["rejected_count"]) == (1, 100, 15_000)
    assert receipts[0]["rejected"][-1]["seq"] == 2


def test_an_answer_goes_where_the_gateway_is_registered() -> None:
    assert set(answered(tried({**HEAD, "readings": []}), regions={(STEEL, "gw-1"): "150100"})) == {f"tce/v1/150100/{STEEL}/gw-1/receipts"}
    assert answered() == {}
