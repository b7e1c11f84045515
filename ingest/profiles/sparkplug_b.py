"""Sparkplug B, as a host application sees it (Eclipse Sparkplug specification 3.0): births, deaths, data, aliases, rebirth.

A birth names the metrics of a node or device with their types and aliases; data messages may say the alias alone. What
a birth said is kept in the memory: `sparkplug_b/{enterprise}/{gateway}/{group}/{node}` -> JSON with the session (bdSeq,
last seq, whether it is alive, since when its aliases hold, the number of its birth), and under `.../metrics` and
`.../metrics/{device}` what the node and its devices have, each with the number of the node's birth that it followed. A gap
in the sequence (0 to 255, then 0 again) or a metric of no known birth calls for a rebirth.
"""

import json
import re
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from ingest.content import MAX_READINGS, Content, Rows, Sender, State, is_name, number
from ingest.mapping_file import Names
from ingest.reasons import UndecodableError

TOPIC: Final = re.compile(
    r"spBv1\.0/(?P<group>[^/+#]{1,128})/(?P<kind>NBIRTH|NDEATH|NDATA|NCMD|DBIRTH|DDEATH|DDATA|DCMD)/(?P<node>[^/+#]{1,128})(/(?P<device>[^/+#]{1,128}))?"
)
_STATE: Final = re.compile(r"spBv1\.0/STATE/[^/]+|STATE/[^/]+")  # of a host application, not of a gateway
_KNOWN: Final = re.compile(r"bdSeq|(Node Control|Device Control|Node Info|Device Info|Properties)/.*", re.DOTALL)
_SIGNED: Final = {1: 8, 2: 16, 3: 32, 4: 64}  # Int8 ... Int64 -> bits
_UNSIGNED: Final = {5: 8, 6: 16, 7: 32, 8: 64}
_FLOATS: Final = frozenset({9, 10})
_NO_NUMBERS: Final = frozenset({11, 12, 13, 14, 15, 17, 18})  # Boolean, String, DateTime, Text, UUID, Bytes, File
_BOOLEAN: Final = 11
_STRUCTURES: Final = frozenset({"dataset_value", "template_value", "extension_value"})
_QUALITIES: Final = {192: "good", 0: "bad"}  # the property "Quality"; 500 is stale
_SEQUENCE: Final = 256
MAX_NAMES: Final = 10_000  # of nodes and devices that are remembered for one gateway
_ANY_METRIC: Final = Names()
_SCHEMA: Final = {  # message -> field -> number, type; "+" is repeated, "|" is one of the metric's values
    "Payload": {"timestamp": (1, "uint64"), "metrics": (2, "+Metric"), "seq": (3, "uint64"), "body": (5, "bytes")},
    "Metric": {
        "name": (1, "string"), "alias": (2, "uint64"), "timestamp": (3, "uint64"), "datatype": (4, "uint32"), "is_historical": (5, "bool"),
        "is_transient": (6, "bool"), "is_null": (7, "bool"), "properties": (9, "PropertySet"),
        "int_value": (10, "|uint32"), "long_value": (11, "|uint64"), "float_value": (12, "|float"), "double_value": (13, "|double"),
        "boolean_value": (14, "|bool"), "string_value": (15, "|string"), "bytes_value": (16, "|bytes"), "dataset_value": (17, "|bytes"),
        "template_value": (18, "|bytes"), "extension_value": (19, "|bytes"),
    },
    "PropertySet": {"keys": (1, "+string"), "values": (2, "+PropertyValue")},
    "PropertyValue": {"int_value": (3, "uint32"), "long_value": (4, "uint64")},
}


def _payload_class() -> type[Any]:
    """The message type, from the field numbers and types that the specification publishes."""
    file = descriptor_pb2.FileDescriptorProto(name="tcewatch/sparkplug_b.proto", package="tcewatch.sparkplug_b", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (place, kind) in fields.items():
            bare = kind.lstrip("+|")
            label = kinds.LABEL_REPEATED if kind.startswith("+") else kinds.LABEL_OPTIONAL
            one = message.field.add(name=field, number=place, label=label)
            if bare in _SCHEMA:
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".{file.package}.{bare}"
            else:
                one.type = kinds.Type.Value(f"TYPE_{bare.upper()}")
            if kind.startswith("|"):
                if not message.oneof_decl:
                    message.oneof_decl.add(name="value")
                one.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.Payload"))


Payload: Final = _payload_class()


class _Metric(NamedTuple):
    """What a birth said of a metric."""

    name: str
    alias: int | None
    datatype: int


class _Known:
    """The metrics of a node or of one of its devices, by name and by alias."""

    def __init__(self, birth: int, metrics: list[_Metric]) -> None:
        self.birth = birth  # of the node
        self._by_name = {one.name: one for one in metrics}
        self._by_alias = {one.alias: one for one in metrics if one.alias is not None}

    def find(self, metric: Any) -> _Metric | None:
        """The metric that a data message means; one with a name and a type of its own needs no birth."""
        if metric.HasField("name") and metric.name:
            if metric.HasField("datatype") and metric.datatype:
                return _Metric(metric.name, None, metric.datatype)
            return self._by_name.get(metric.name)
        return self._by_alias.get(metric.alias) if metric.HasField("alias") else None


_NOTHING: Final = _Known(-1, [])


@lru_cache(64)
def _known(text: str) -> _Known:
    birth, metrics = json.loads(text)
    return _Known(birth, [_Metric(*one) for one in metrics])


class _Session(NamedTuple):
    """Where a node stands."""

    bd_seq: int | None = None
    seq: int | None = None  # the last one; None: no birth is known
    alive: bool | None = None  # None: neither birth nor death is known
    since_ms: int | None = None  # the present aliases do not speak for messages sent earlier; None: no earlier session is known
    birth: int = 0  # how many births and deaths of the node are known


class _Place(NamedTuple):
    """A topic, taken apart."""

    group: str
    kind: str
    node: str
    device: str | None


def read(payload: bytes, sender: Sender, memory: MutableMapping[str, str], *, replayed: bool = False) -> Content:
    """Read one message of an edge node.

    Args:
        payload: the Protobuf bytes.
        sender: who sent it, with its topic.
        memory: what earlier births said, changed in place.
        replayed: it comes again from quarantine, out of its order: it changes nothing, asks for nothing, and the aliases of a later
            session do not speak for it.

    Raises:
        UndecodableError: `unknown_topic`, `not_sparkplug`, `too_many_readings`, `too_many_names`; the memory is as before.
    """
    place = _place(sender.topic)
    if place is None or place.kind in ("NCMD", "DCMD"):
        return Content()  # what hosts say, ourselves among them
    content = _read(_parsed(payload), place, sender, dict(memory) if replayed else memory, replayed=replayed)
    return content._replace(state=None, commands=()) if replayed else content


def _read(said: Any, place: _Place, sender: Sender, memory: MutableMapping[str, str], *, replayed: bool) -> Content:
    name = f"sparkplug_b/{sender.enterprise}/{sender.gateway}/{place.group}/{place.node}"
    session = _Session(*json.loads(memory[name])) if name in memory else _Session()
    match place.kind:
        case "NDEATH":
            return _death(said, session, name, memory)
        case "NBIRTH":
            return _node_birth(said, session, name, memory, sender, place)
    of_device = f"{name}/metrics" if place.device is None else f"{name}/metrics/{place.device}"
    after, gap = _next(session, said)
    content, lacking = Content(), False
    if place.kind == "DBIRTH":
        metrics = _born(said)
        content = _readings(said, _Known(session.birth, metrics), sender, place, None)[0]
        _remember(memory, of_device, json.dumps([session.birth, metrics]))
    elif place.kind == "DDEATH":
        if of_device in memory:
            memory[of_device] = json.dumps([-1, []])
    else:
        known = _known(memory[of_device]) if of_device in memory else _NOTHING
        known = known if known.birth == session.birth else _NOTHING  # what was said before the node's last birth or death is over
        content, lacking = _readings(said, known, sender, place, session.since_ms if replayed else None)
    if name in memory:
        memory[name] = json.dumps(after)
    return content._replace(commands=[_rebirth(place, said)] if gap or lacking else ())


def _remember(memory: MutableMapping[str, str], name: str, text: str) -> None:
    """Keep what a birth or death said, unless the names of the gateway are endless."""
    gateway = "/".join(name.split("/", 3)[:3]) + "/"
    if name not in memory and sum(known.startswith(gateway) for known in memory) >= MAX_NAMES:
        raise UndecodableError("too_many_names")
    memory[name] = text


def _place(topic: str) -> _Place | None:
    found = TOPIC.fullmatch(topic)
    if found is None:
        if _STATE.fullmatch(topic):
            return None
        raise UndecodableError("unknown_topic")
    place = _Place(found["group"], found["kind"], found["node"], found["device"])
    if (place.device is not None) != place.kind.startswith("D"):
        raise UndecodableError("unknown_topic")
    return place


def _parsed(payload: bytes) -> Any:
    said = Payload()
    try:
        said.ParseFromString(payload)
    except DecodeError:
        raise UndecodableError("not_sparkplug") from None
    # A body is a compressed payload or another format; it must not pass as a message without metrics. Text that is no UTF-8 comes as bytes.
    if said.HasField("body") or any(isinstance(metric.name, bytes) for metric in said.metrics):
        raise UndecodableError("not_sparkplug")
    if len(said.metrics) > MAX_READINGS:
        raise UndecodableError("too_many_readings")
    return said


def _node_birth(said: Any, before: _Session, name: str, memory: MutableMapping[str, str], sender: Sender, place: _Place) -> Content:
    metrics, birth, bd_seq = _born(said), before.birth + 1, _bd_seq(said)
    content = _readings(said, _Known(birth, metrics), sender, place, None)[0]
    again = before.alive is None or (before.alive and before.bd_seq == bd_seq)  # not the start of another session
    since_ms = before.since_ms if again else _timestamp(said)
    _remember(memory, f"{name}/metrics", json.dumps([birth, metrics]))
    memory[name] = json.dumps(_Session(bd_seq, said.seq % _SEQUENCE, alive=True, since_ms=since_ms, birth=birth))
    return content._replace(state=State("online"))


def _death(said: Any, before: _Session, name: str, memory: MutableMapping[str, str]) -> Content:
    bd_seq = _bd_seq(said)
    if before.alive and before.bd_seq != bd_seq:
        return Content()  # the will of an earlier session, late; the present one lives
    _remember(memory, name, json.dumps(_Session(bd_seq, None, alive=False, since_ms=before.since_ms, birth=before.birth + 1)))
    return Content(state=State("offline"))


def _next(session: _Session, said: Any) -> tuple[_Session, bool]:
    """The session after a message, and whether one is missing before it. The same number again is the same message."""
    seq = said.seq % _SEQUENCE if said.HasField("seq") else None
    gap = session.seq is None or seq not in (session.seq, (session.seq + 1) % _SEQUENCE)
    return session._replace(seq=session.seq if seq is None or session.seq is None else seq), gap


def _born(said: Any) -> list[_Metric]:
    return [
        _Metric(metric.name, metric.alias if metric.HasField("alias") else None, metric.datatype) for metric in said.metrics if is_name(metric.name)
    ]


def _readings(said: Any, known: _Known, sender: Sender, place: _Place, since_ms: int | None) -> tuple[Content, bool]:
    """The numbers among the metrics, and whether one of them is of no known birth."""
    rows, lacking = Rows(), False
    sent_ms = _timestamp(said)
    older = since_ms is not None and sent_ms is not None and sent_ms < since_ms  # its aliases were those of an earlier session
    names = sender.mapping if isinstance(sender.mapping, Names) else _ANY_METRIC
    for metric in said.metrics:
        found = known.find(metric)
        if older and not metric.name:
            found = None
        if found is None:
            if _KNOWN.fullmatch(metric.name) is None:
                lacking = True
                raw = {"name": metric.name, "alias": metric.alias, "timestamp": _own_timestamp(metric, said)}
                rows.fault("unknown_alias", raw, place.device or place.node, metric.name or str(metric.alias))
            continue
        _metric(rows, metric, found, said, place, names)
    return rows.content(), lacking


def _metric(rows: Rows, metric: Any, found: _Metric, said: Any, place: _Place, names: Names) -> None:
    listed = names.named(found.name)
    kind = metric.WhichOneof("value")
    if _KNOWN.fullmatch(found.name) or metric.is_transient or metric.is_null:
        return
    if (found.datatype in _NO_NUMBERS) if listed is None else (listed.register is None):
        return
    if listed is None:
        meter, register = _by_rule(found.name, place)
    else:
        meter, register = listed.meter or place.device or place.node, listed.register or ""
    value = _value(metric, kind, found.datatype)
    if value is not None and listed is not None:
        value = number(value * listed.factor.numerator / listed.factor.denominator)
    ts = _own_timestamp(metric, said)
    if (names is not _ANY_METRIC and listed is None) or kind in _STRUCTURES or found.datatype > max(_NO_NUMBERS):
        code = "unknown_field"
    elif not is_name(meter):
        code = "bad_meter"
    elif not is_name(register):
        code = "bad_register"
    elif value is None:
        code = "bad_value"
    else:
        rows.add(meter, register, ts, value, None if listed is None else listed.unit, _quality(metric))
        return
    rows.fault(code, {"name": found.name, "datatype": found.datatype, "timestamp": ts, "value": _shown(metric, kind)}, meter, register)


def _by_rule(name: str, place: _Place) -> tuple[str, str]:
    """Meter and register of a metric that no table names: a device is a meter; of a node, what stands before the last slash."""
    if place.device is not None:
        return place.device, name
    meter, _, register = name.rpartition("/")
    return meter or place.node, register


def _value(metric: Any, kind: str | None, datatype: int) -> float | None:
    said = getattr(metric, kind) if kind is not None else None
    if datatype in _FLOATS:
        return number(said) if kind in ("float_value", "double_value") else None
    if kind not in ("int_value", "long_value") or said is None:
        return None
    if bits := _UNSIGNED.get(datatype):
        return float(said) if said < 1 << bits else None
    if bits := _SIGNED.get(datatype):
        low = said & ((1 << bits) - 1)
        signed = low - (1 << bits) if low >> (bits - 1) else low
        wide = 1 << (32 if kind == "int_value" else 64)
        return float(signed) if said in (low, signed % wide) else None  # two's complement of its own width or of the field's
    return None


def _quality(metric: Any) -> str | None:
    if not metric.HasField("properties"):
        return None
    for key, value in zip(metric.properties.keys, metric.properties.values, strict=False):
        if key == "Quality":
            code = value.int_value if value.HasField("int_value") else value.long_value if value.HasField("long_value") else None
            return "uncertain" if code is None else _QUALITIES.get(code, "uncertain")
    return None


def _bd_seq(said: Any) -> int | None:
    for metric in said.metrics:
        if metric.name == "bdSeq" and (kind := metric.WhichOneof("value")) in ("int_value", "long_value"):
            return int(getattr(metric, kind))
    return None


def _timestamp(said: Any) -> int | None:
    return said.timestamp if said.HasField("timestamp") else None


def _own_timestamp(metric: Any, said: Any) -> int | None:
    return metric.timestamp if metric.HasField("timestamp") else _timestamp(said)


def _shown(metric: Any, kind: str | None) -> Any:
    value = getattr(metric, kind) if kind is not None else None
    return value.hex() if isinstance(value, bytes) else value


def _rebirth(place: _Place, said: Message) -> tuple[str, bytes]:
    """The command for a new birth; it carries the time of the message that calls for it, so that it is the same each time."""
    command = Payload()
    if (sent_ms := _timestamp(said)) is not None:
        command.timestamp = sent_ms
    command.metrics.add(name="Node Control/Rebirth", datatype=_BOOLEAN, boolean_value=True)
    return f"spBv1.0/{place.group}/NCMD/{place.node}", command.SerializeToString(deterministic=True)
