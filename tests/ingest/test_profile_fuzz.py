"""Whatever bytes come: a profile answers with columns of one length, finite values and known reasons, or says that it cannot read them."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sent import SAMPLES, STEEL

from ingest.content import Content, Sender
from ingest.mapping_file import Mapping
from ingest.profiles import PROFILES, STATEFUL, own_json
from ingest.profiles.sparkplug_b import Payload
from ingest.reasons import MESSAGE_REASONS, READING_FAULTS, UndecodableError

TELEGRAM = {"_": "telegram", "media": "water", "meter": "m", "name": "n", "id": "1", "timestamp": "2026-11-20T04:00:00Z", "total_m3": 5.5}
ITEM = {"dataCode": "c", "dataValue": "1", "statType": "0", "statDate": "2026-11-20 12:00:00"}
UPLOAD = {"deviceId": "d", "enterpriseCode": STEEL, "data": [ITEM, ITEM]}
OWN = {"v": 1, "epoch": "e", "seq": 1, "readings": [{"meter": "E", "register": "r", "ts": 1, "value": 2.5, "unit": "kWh"}] * 2}
GIVEN = {
    "edgelogger": SAMPLES / "edgelogger_up_sample.json", "neuron_values": SAMPLES / "neuron_values-format_0.json",
    "shelly_gen1": SAMPLES / "shelly_ShellyPlugS_status.json", "shelly": SAMPLES / "shelly_ShellyPro3EM_status.json",
    "neuron_tags": {"timestamp": 1, "node": "n", "tags": [{"name": "a", "value": 1}, {"name": "b", "error": 1}]}, "wmbusmeters": TELEGRAM,
    "nhjc": UPLOAD, "own_json": OWN, "kpm33b": {"id": "m", "time": "20260112170000", "zygsz": 1.5, "ua": 231},
    "mapping": {"t": "2026-11-20 12:00:00", "list": [{"id": "a", "v": "1.5", "q": 1, "e": {"x": 2}}], "b": "b", "n": 1},
}
MAPPING = Mapping.model_validate({
    "readings": "message.list", "meter": "item.id", "text_numbers": True, "unlisted": "register", "errors": "message.errors",
    "time": {"from": "message.t", "format": "%Y-%m-%d %H:%M:%S"}, "quality": {"from": "item.q"},
    "sequence": {"epoch": "message.b", "seq": "message.n"},
    "fields": {"v": {"register": "r", "factor": "1/3"}},
})
NAMES = ("r", "E-1/r", "bdSeq", "Node Control/Rebirth", "")
TOPICS = [f"spBv1.0/g/{kind}/n{device}" for kind in ("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH") for device in ("", "/d")]

odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}), st.just([{}, 5]),
    st.sampled_from(["NaN", "1e999", 10**400, 1e308, -0.0, "９", "2026-11-20 12:00:00", "9999-12-31 23:59:59", 2**63, "9f" * 16, "\ud800"]),
)


@cache
def sample(name: str) -> Any:
    found = GIVEN[name]
    return json.loads(found.read_text(encoding="utf-8")) if isinstance(found, Path) else found


@cache
def sender(name: str, topic: str = "a/b/c") -> Sender:
    return Sender(
        STEEL, "g", name, "readings", ZoneInfo("Asia/Shanghai"), numbered=False, topic=topic, mapping=MAPPING if name == "mapping" else None
    )


def check(content: Content) -> None:
    if content.rows is not None:
        assert not content.faults
        content = Content(*zip(*((row.meter, row.register, row.ts, row.value) for row in content.rows), strict=True)) if content.rows else Content()
    columns = [content.meter, content.register, content.ts, content.value, *(one for one in (content.unit, content.quality) if one is not None)]
    assert len({len(column) for column in columns}) == 1
    assert {fault.code for fault in content.faults.values()} <= set(READING_FAULTS)
    for place, value in enumerate(content.value):
        if place in content.faults:
            assert (value, content.ts[place]) == (None, None)
            content.faults[place].raw.encode()
        else:
            assert isinstance(value, float | int)
            assert math.isfinite(value)
            assert content.meter[place] is not None
            assert content.register[place] is not None


def tried(name: str, payload: bytes) -> None:
    with reasoned():
        check(PROFILES[name](payload, sender(name)))


@contextmanager
def reasoned() -> Iterator[None]:
    """Lets a message be refused, for a reason of the list only."""
    reason = None
    try:
        yield
    except UndecodableError as error:
        reason = error.reason
    assert reason is None or reason in MESSAGE_REASONS


def mutated(document: Any, draw: Any) -> Any:
    """The document with one of its parts replaced, left out or renamed."""
    if not isinstance(document, dict | list) or not document or draw(st.integers(0, 3)) == 0:
        return draw(odd)
    key = draw(st.sampled_from(sorted(document))) if isinstance(document, dict) else draw(st.integers(0, len(document) - 1))
    changed = dict(document) if isinstance(document, dict) else list(document)
    if isinstance(changed, dict) and draw(st.integers(0, 5)) == 0:
        changed[draw(st.text(max_size=5))] = changed.pop(key)
    else:
        changed[key] = mutated(document[key], draw)
    return changed


@pytest.mark.parametrize("name", PROFILES)
@given(st.data())
@settings(max_examples=60)
def test_a_mutated_sample_never_breaks_a_profile(name, data) -> None:
    document = sample(name)
    for _ in range(data.draw(st.integers(1, 3))):
        document = mutated(document, data.draw)
    tried(name, json.dumps(document).encode())


@pytest.mark.parametrize("name", PROFILES)
@given(st.binary(max_size=60), st.integers(0, 400))
@settings(max_examples=40)
def test_random_bytes_and_cut_samples_never_break_a_profile(name, noise, place) -> None:
    tried(name, noise)
    whole = json.dumps(sample(name)).encode()
    tried(name, whole[:place] + noise + whole[place + len(noise):])


def test_every_profile_without_a_memory_has_a_sample_that_it_reads() -> None:
    assert set(GIVEN) == set(PROFILES)
    for name in PROFILES:
        content = PROFILES[name](json.dumps(sample(name)).encode(), sender(name))
        assert any(place not in content.faults for place in range(content.size)), name


metrics = st.fixed_dictionaries({}, optional={
    "name": st.sampled_from(NAMES), "alias": st.integers(0, 3), "timestamp": st.integers(0, 2**64 - 1), "datatype": st.integers(0, 30),
    "is_null": st.booleans(), "is_historical": st.booleans(), "is_transient": st.booleans(),
})
values = st.one_of(
    st.just({}), st.builds(lambda one: {"int_value": one}, st.integers(0, 2**32 - 1)),
    st.builds(lambda one: {"long_value": one}, st.integers(0, 2**64 - 1)),
    st.builds(lambda one: {"double_value": one}, st.floats()), st.builds(lambda one: {"string_value": one}, st.text(max_size=3)),
    st.builds(lambda one: {"bytes_value": one}, st.binary(max_size=3)), st.builds(lambda one: {"template_value": one}, st.binary(max_size=3)),
)


@given(st.lists(st.tuples(
    st.sampled_from(TOPICS), st.lists(st.tuples(metrics, values), max_size=4), st.none() | st.integers(0, 300), st.binary(max_size=4), st.booleans(),
), max_size=6))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_run_of_sparkplug_messages_breaks_the_profile_and_one_that_is_refused_changes_nothing(run) -> None:
    memory: dict[str, str] = {}
    for topic, sent, seq, noise, replayed in run:
        message = Payload(timestamp=1_795_147_200_000, **({} if seq is None else {"seq": seq}))
        for metric, value in sent:
            message.metrics.add(**metric, **value)
        before, answered = dict(memory), False
        with reasoned():
            check(STATEFUL["sparkplug_b"](message.SerializeToString() + noise, sender("sparkplug_b", topic), memory, replayed=replayed))
            answered = True
        assert memory == before or (answered and not replayed)


def test_the_slow_way_of_own_json_is_a_profile_too() -> None:
    check(own_json.read(b'{"v":1,"epoch":"e","seq":1,"readings":[{"meter":"E","register":"r","ts":1,"value":NaN}]}', sender("own_json")))
