"""The mapping profile: a TOML file (`mapping_file`) says where the readings stand in an unknown JSON.

The work for one message is bounded: an expression without `item` is evaluated once, and a message gives MAX_READINGS items and
readings at most.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from ingest.content import MAX_NAME_CHARS, MAX_READINGS, Content, Rows, Sender, is_name, number, parse_json
from ingest.mapping_file import BROKEN, Expression, Mapping, Named, load
from ingest.reasons import UndecodableError

MAX_EPOCH_CHARS: Final = 64
MAX_TS_CHARS: Final = 64
MAX_SEQ: Final = 2**53


@cache
def shipped(name: str) -> Mapping:
    """A mapping file that comes with tcewatch."""
    return load(Path(__file__).parent / f"{name}.toml", Mapping)


def read(payload: bytes, sender: Sender) -> Content:
    """Read one message as the route's mapping file says.

    Raises:
        UndecodableError: `not_json`, `no_readings`, `too_many_readings`.
    """
    if not isinstance(sender.mapping, Mapping):
        raise TypeError("the route has no mapping")
    return read_as(sender.mapping, payload, sender)


def read_as(mapping: Mapping, payload: bytes, sender: Sender) -> Content:
    """The same with a given mapping."""
    scope: dict[str, Any] = {"message": parse_json(payload), "topic": sender.topic.split("/")}
    epoch, seq = _sequence(mapping, scope)
    try:
        return _Reader(mapping, sender, scope).content(epoch, seq)
    except UndecodableError as error:
        raise UndecodableError(error.reason, epoch=epoch, seq=seq) from None


class _Reader:
    """One message under one mapping."""

    def __init__(self, mapping: Mapping, sender: Sender, scope: dict[str, Any]) -> None:
        self._mapping, self._sender, self._scope = mapping, sender, scope
        self._rows = Rows()
        self._once: dict[int, Any] = {}  # what expressions without item gave

    def content(self, epoch: str | None, seq: int | None) -> Content:
        found = self._mapping.readings.get(self._scope)
        items = found if isinstance(found, list) else [found]
        if found is None or found is BROKEN:
            raise UndecodableError("no_readings")
        if len(items) > MAX_READINGS:
            raise UndecodableError("too_many_readings")
        for item in items:
            self._item(item)
        if self._mapping.errors is not None:
            self._errors(self._mapping.errors.get(self._scope))
        return self._rows.content(epoch=epoch, seq=seq)

    def _item(self, item: Any) -> None:
        if not isinstance(item, dict):
            self._rows.fault("not_an_object", item)
            return
        self._scope["item"] = item
        meter = self._get(self._mapping.meter)
        ts, time_fault = self._time()
        quality = self._quality()
        if self._mapping.register_ is not None and self._mapping.value is not None:
            name, value = self._get(self._mapping.register_), self._get(self._mapping.value)
            failed = None if self._mapping.error is None else self._get(self._mapping.error)
            if not is_name(name):
                self._rows.fault("bad_register", item, meter)
            elif failed is not None:
                self._rows.fault("device_error", item, meter, _register(self._mapping.named(name), name))
            else:
                self._reading(meter, name, value, ts, time_fault, quality)
            return
        for name, value in leaves(item):
            self._reading(meter, name, value, ts, time_fault, quality)

    def _reading(self, meter: Any, name: str, value: Any, ts: str | int | None, time_fault: str | None, quality: str | None) -> None:
        named = self._mapping.named(name)
        if named is not None and named.register is None:
            return
        meter = named.meter if named is not None and named.meter is not None else meter
        good = number(value, from_text=self._mapping.text_numbers)
        if named is not None and good is not None:
            good = number(good * named.factor.numerator / named.factor.denominator)
        register = _register(named, name)
        if named is None:
            code = "unknown_field"
        elif not is_name(register):
            code = "bad_register"
        elif not is_name(meter):
            code = "bad_meter"
        elif time_fault is not None:
            code = time_fault
        elif good is None:
            code = "bad_value"
        else:
            self._rows.add(meter, register, ts, good, named.unit, quality)
            return
        self._rows.fault(code, {"meter": _short(meter), "time": _short(self._said_time()), name: value}, meter, register)

    def _errors(self, errors: Any) -> None:
        if errors is None:
            return
        self._scope["item"] = {}
        meter = self._get(self._mapping.meter)
        for name, error in errors.items() if isinstance(errors, dict) else [("", errors if errors is not BROKEN else None)]:
            self._rows.fault("device_error", {name: error}, meter, _register(self._mapping.named(name), name))

    def _get(self, expression: Expression) -> Any:
        if expression.of_item:
            return expression.get(self._scope)
        if id(expression) not in self._once:
            self._once[id(expression)] = expression.get(self._scope)
        return self._once[id(expression)]

    def _said_time(self) -> Any:
        return None if self._mapping.time is None else self._get(self._mapping.time.expression)

    def _time(self) -> tuple[str | int | None, str | None]:
        """The time stamp of an item, or what is wrong with it; neither where the format has none."""
        said = self._said_time()
        if self._mapping.time is None or said is None:
            return None, None
        ts = instant(said, self._mapping.time.format, self._sender)
        return (None, "bad_timestamp") if ts is None else (ts, None)

    def _quality(self) -> str | None:
        if self._mapping.quality is None:
            return None
        said = self._get(self._mapping.quality.expression)
        if said is None:
            return None
        text = said if isinstance(said, str) else json.dumps(said) if isinstance(said, bool | int | float) else ""
        return "good" if text in self._mapping.quality.good else "bad" if text in self._mapping.quality.bad else "uncertain"


def leaves(item: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every value of a JSON object with the path to it: `a.b[0].c`; what lies deeper than a path may be long comes as a whole."""
    waiting: list[tuple[str, Any]] = [("", item)]
    while waiting:
        path, value = waiting.pop()
        if len(path) > MAX_NAME_CHARS:
            yield path[:MAX_NAME_CHARS], None
        elif isinstance(value, dict) and value:
            waiting += [(f"{path}.{name}" if path else name, one) for name, one in reversed(value.items())]
        elif isinstance(value, list) and value:
            waiting += [(f"{path}[{place}]", one) for place, one in reversed(list(enumerate(value)))]
        elif not isinstance(value, dict | list):
            yield path, value


def instant(said: Any, form: str, sender: Sender) -> str | int | None:
    """A time stamp as ISO text or milliseconds; None where it is not of that form. Local times are of the sender's zone."""
    if form in ("s", "ms"):
        at = number(said, from_text=True)
        at = None if at is None else at * (1000 if form == "s" else 1)
        return round(at) if at is not None and abs(at) < 2**62 else None
    if not isinstance(said, str) or not 1 <= len(said) <= MAX_TS_CHARS or not said.isascii():
        return None
    if form == "iso":
        return said
    try:
        read = datetime.strptime(said, form)  # noqa: DTZ007 - the zone follows
        if "%f" not in form and "%z" not in form and read.strftime(form) != said:  # strptime takes missing digits from the next field
            return None
        at_local = read if read.tzinfo else read.replace(tzinfo=sender.zone)
        return round(at_local.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _sequence(mapping: Mapping, scope: dict[str, Any]) -> tuple[str | None, int | None]:
    if mapping.sequence is None:
        return None, None
    epoch, seq = mapping.sequence.epoch.get(scope), mapping.sequence.seq.get(scope)
    epoch = str(epoch) if isinstance(epoch, int) and not isinstance(epoch, bool) else epoch
    usable = is_name(epoch) and len(epoch) <= MAX_EPOCH_CHARS and type(seq) is int and 1 <= seq <= MAX_SEQ
    return (epoch, seq) if usable else (None, None)


def _register(named: Named | None, name: str) -> str:
    return name if named is None or named.register is None else named.register


def _short(said: Any) -> Any:
    if said is None or isinstance(said, int | float):
        return said
    return said[:MAX_NAME_CHARS] if isinstance(said, str) else "?"
