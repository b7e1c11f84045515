"""The AsyncAPI document holds together, fits the code, and its examples fit the published schemas."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ingest.routes import OWN_TOPIC, PLATFORM_KINDS

DOCS = Path(__file__).resolve().parents[1] / "docs"
DOCUMENT: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
MESSAGES = DOCUMENT["components"]["messages"]
EXAMPLES = {f"{name} {example['name']}": (message, example["payload"]) for name, message in MESSAGES.items() for example in message["examples"]}
CONTRACT = {  # the examples as the outer contract gives them
    "readings": [
        ('{"v": 1, "epoch": "2026-11-20T08:00:00+08:00", "seq": 1842, "readings": [{"meter": "E-001", "register": "active_import", '
        '"ts": "2026-11-20T08:15:00+08:00", "value": 17803.4, "unit": "kWh"}]}'),
        '{"v":1,"epoch":"...","seq":1843,"meter":["E-001"],"register":["active_import"],"ts":[1795133700000],"value":[17803.4]}',
        '{"v":1,"lost":[{"epoch":"...","from_seq":1801,"to_seq":1807}]}',
    ],
    "state": ['{"v":1,"state":"online","epoch":"...","software":"..."}', '{"v":1,"state":"offline"}'],
    "receipt": [
        ('{"v":1,"epoch":"...","from_seq":1802,"to_seq":1842,"stored":3980,"duplicate":1,"conflicting":0,"rejected_count":1,"rejected":[{"seq":1842,'
        '"index":5,"meter":"E-009","register":"active_import","reason":"unknown_meter","text":{"zh":"...","en":"..."}}],"contiguous_seq":1842,'
        '"at":"..."}'),
    ],
    "request": [
        ('{"v":1,"missing":[{"epoch":"...","from_seq":1801,"to_seq":1807}],"windows":[{"meter":"E-001","register":"active_import",'
        '"from":"...","to":"..."}]}'),
    ],
}


def schema_of(message: dict[str, Any]) -> dict[str, Any]:
    return json.loads((DOCS / message["payload"]["schema"]["$ref"]).read_text(encoding="utf-8"))


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


@pytest.mark.parametrize("reference", sorted(set(references(DOCUMENT))))
def test_a_reference_leads_somewhere(reference) -> None:
    if not reference.startswith("#/"):
        assert (DOCS / reference).is_file()
        return
    node: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    assert node


def test_the_channels_are_the_topics_of_the_code() -> None:
    place = {"region": "150600", "enterprise": "91150600MA0EXAMPLE", "gateway": "gw-1"}
    filled = {name: channel["address"].format(**place) for name, channel in DOCUMENT["channels"].items()}
    assert {name for name, topic in filled.items() if OWN_TOPIC.fullmatch(topic)} == {"readings", "backfill", "state", "sandbox"}
    assert {name for name, topic in filled.items() if topic.endswith(PLATFORM_KINDS)} == {"receipts", "requests"}
    assert {operation["channel"]["$ref"].rpartition("/")[2] for operation in DOCUMENT["operations"].values()} == set(filled)


@pytest.mark.parametrize(("message", "payload"), EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_fits_its_schema(message, payload) -> None:
    jsonschema.validate(payload, schema_of(message), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in CONTRACT.items() for text in texts])
def test_an_example_of_the_contract_fits_its_schema(name, text) -> None:
    jsonschema.validate(json.loads(text), schema_of(MESSAGES[name]), jsonschema.Draft202012Validator)
