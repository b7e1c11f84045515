"""The published JSON Schemas and the decoder agree on what a message is."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

from ingest.decode import Decodings, decode
from ingest.gateways import compose
from ingest.requests import request
from ingest.routes import Routes
from store.journal import Message

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "payloads"
SCHEMAS = {path.name.partition(".")[0]: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.schema.json")}
HEAD: dict[str, Any] = {"v": 1, "epoch": "2026-11-20T08:00:00+08:00", "seq": 1842}
ROW: dict[str, Any] = {"meter": "E-001", "register": "active_import", "ts": "2026-11-20T08:15:00+08:00", "value": 17803.4}
COLUMNS: dict[str, Any] = {"meter": ["E-001"], "register": ["active_import"], "ts": [1795133700000], "value": [17803.4]}
LOST: dict[str, Any] = {"epoch": HEAD["epoch"], "from_seq": 1801, "to_seq": 1807}

GOOD = {
    "row form": {**HEAD, "readings": [{**ROW, "unit": "kWh"}]},
    "all options": {**HEAD, "readings": [{**ROW, "unit": "kWh", "quality": "uncertain", "source": "dcs"}]},
    "utc as z": {**HEAD, "readings": [{**ROW, "ts": "2026-11-20T00:15:00Z"}]},
    "fraction of a second": {**HEAD, "readings": [{**ROW, "ts": "2026-11-20T08:15:00.250+08:00"}]},
    "milliseconds": {**HEAD, "readings": [{**ROW, "ts": 1795133700000}]},
    "no readings yet": {**HEAD, "readings": []},
    "column form": {**HEAD, **COLUMNS},
    "columns with gaps": {**HEAD, **COLUMNS, "unit": [None], "quality": ["good"]},
    "lost": {"v": 1, "lost": [LOST]},
}
BAD = {
    "another version": {**HEAD, "v": 2, "readings": [ROW]},
    "no sequence": {"v": 1, "readings": [ROW]},
    "seq of zero": {**HEAD, "seq": 0, "readings": [ROW]},
    "both forms": {**HEAD, **COLUMNS, "readings": [ROW]},
    "nothing": HEAD,
    "readings are no list": {**HEAD, "readings": {"E-001": 1}},
    "a column is missing": {**HEAD, "meter": ["E-001"], "ts": [1795133700000], "value": [1.0]},
    "no meter": {**HEAD, "readings": [{name: cell for name, cell in ROW.items() if name != "meter"}]},
    "value is text": {**HEAD, "readings": [{**ROW, "value": "17803.4"}]},
    "value is true": {**HEAD, "readings": [{**ROW, "value": True}]},
    "time without offset": {**HEAD, "readings": [{**ROW, "ts": "2026-11-20T08:15:00"}]},
    "unknown quality": {**HEAD, "readings": [{**ROW, "quality": "fine"}]},
    "lost backwards": {"v": 1, "lost": [{**LOST, "from_seq": 0}]},
}
STATES = {
    "online": ({"v": 1, "state": "online", "epoch": "e", "software": "x 1.0"}, True),
    "offline": ({"v": 1, "state": "offline"}, True),
    "asleep": ({"v": 1, "state": "asleep"}, False),
    "no version": ({"state": "online"}, False),
}


def decoded(payload: dict[str, Any], kind: str = "readings") -> Decodings:
    topic = f"tce/v1/150600/91150600EXAMPLE001/gw-1/{kind}"
    message = Message(1, "mqtt", topic, None, None, json.dumps(payload).encode(), datetime(2026, 11, 20, 1, tzinfo=UTC), retained=False)
    return decode([message], Routes([]))


def is_fine(found: Decodings) -> bool:
    return found.heads["outcome"][0] != "undecodable" and found.readings["fault"].null_count() == found.readings.height


def fits(name: str, payload: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(SCHEMAS[name]).is_valid(payload)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("payload", GOOD.values(), ids=GOOD)
def test_what_the_schema_allows_the_decoder_takes(payload: dict[str, Any]) -> None:
    assert fits("readings", payload)
    assert is_fine(decoded(payload))


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD)
def test_what_the_schema_forbids_the_decoder_refuses(payload: dict[str, Any]) -> None:
    assert not fits("readings", payload)
    assert not is_fine(decoded(payload))


@pytest.mark.parametrize(("payload", "fine"), STATES.values(), ids=STATES)
def test_schema_and_decoder_agree_on_a_state(payload: dict[str, Any], fine: bool) -> None:
    assert fits("state", payload) == fine
    assert is_fine(decoded(payload, "state")) == fine


def test_what_the_platform_sends_fits_its_schemas() -> None:
    settled = pl.DataFrame(
        {"message": [7, 8], "outcome": ["decoded", "undecodable"], "epoch": [HEAD["epoch"]] * 2, "seq": [1841, 1842],
         "stored": [3980, 0], "duplicate": [1, 0], "conflicting": [0, 0], "rejected": [1, 0]},
    )
    refused = [
        {"message": 7, "index": 5, "meter": "E-009", "register": "active_import", "reasons": ["unknown_meter"]},
        {"message": 8, "index": -1, "meter": None, "register": None, "reasons": ["not_json"]},
    ]
    receipt = compose(settled, refused, contiguous_seq=1842, at=datetime(2026, 11, 20, 1, tzinfo=UTC))
    assert receipt["rejected_count"] == len(receipt["rejected"]) == 2
    assert fits("receipt", receipt)
    assert not fits("receipt", {**receipt, "rejected": receipt["rejected"] * 51})
    told = compose(settled, refused, contiguous_seq=1842, at=datetime(2026, 11, 20, 1, tzinfo=UTC), notices=["wrong_region"])
    assert fits("receipt", told)
    assert not fits("receipt", {**told, "notices": [{"reason": "wrong_region"}]})


def test_what_the_platform_asks_for_fits_its_schema() -> None:
    start = datetime(2026, 11, 20, 1, tzinfo=UTC)
    asked = json.loads(request([LOST], [{"meter": "E-001", "register": "active_import", "start": start, "end": start + timedelta(hours=1)}]))
    assert fits("request", asked)
    assert asked["missing"] == [LOST]
    assert not fits("request", {**asked, "windows": [{**asked["windows"][0], "to": None}]})
