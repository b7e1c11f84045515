"""The upload message of the national online monitoring of key energy users (NHJC-04-2018; decisions of ours in decision 0010).

`{"deviceId", "enterpriseCode", "data": [{"dataCode", "dataValue", "statType", "statDate", ...}]}`. The data code is an opaque
key: it is the register's name, with `_day`, `_month` or `_year` where the value is of such a period, so that a day's value never
meets the real-time one of the same instant. The device is the meter. No unit is sent: the register knows it.
"""

import re
from typing import Any, Final

from ingest.content import Content, Rows, Sender, is_name, number, parse_json
from ingest.profiles.mapping import instant
from ingest.reasons import UndecodableError

_CODE: Final = re.compile(r"[A-Za-z0-9_-]{1,58}")
_PERIODS: Final = {"0": "", "1": "_day", "2": "_month", "3": "_year"}
_INPUT_TYPES: Final = frozenset("12345")
_ENCRYPTED: Final = re.compile(r"([0-9A-Fa-f]{32})+")  # hex of whole blocks of 16 bytes; no meter shows 32 digits
_TIME: Final = "%Y-%m-%d %H:%M:%S"
_FIELDS: Final = frozenset(  # the last three say nothing that a reading has; the data code knows the scope
    ("dataCode", "dataValue", "statType", "statDate", "valid", "inputType", "uploadDate", "scope")
)


def read(payload: bytes, sender: Sender) -> Content:
    """Read one upload.

    Raises:
        UndecodableError: `not_json`, `not_an_object`, `no_readings`, `too_many_readings`, `topic_payload_mismatch` where the message
            names another enterprise than the route.
    """
    message = parse_json(payload)
    if not isinstance(message, dict):
        raise UndecodableError("not_an_object")
    if sender.enterprise and message.get("enterpriseCode") != sender.enterprise:
        raise UndecodableError("topic_payload_mismatch")
    items = message.get("data")
    if not isinstance(items, list):
        raise UndecodableError("no_readings")
    rows = Rows()
    for item in items:
        _item(rows, item, message.get("deviceId"), sender)
    return rows.content()


def _item(rows: Rows, item: Any, meter: Any, sender: Sender) -> None:
    if not isinstance(item, dict):
        rows.fault("not_an_object", item, meter)
        return
    code, value = item.get("dataCode"), item.get("dataValue")
    period = _PERIODS.get(_text(item.get("statType")))
    register = f"{code}{period or ''}" if isinstance(code, str) and _CODE.fullmatch(code) else None
    ts = instant(item.get("statDate"), _TIME, sender)
    good = number(value, from_text=True)
    if not is_name(meter):
        fault = "bad_meter"
    elif register is None:
        fault = "bad_register"
    elif period is None:
        fault = "unknown_period"
    elif isinstance(value, str) and _ENCRYPTED.fullmatch(value):
        fault = "encrypted_value"
    elif ts is None:
        fault = "bad_timestamp"
    elif good is None:
        fault = "bad_value"
    elif item.keys() - _FIELDS or _text(item.get("inputType", 4)) not in _INPUT_TYPES:
        fault = "unknown_field"
    else:
        rows.add(meter, register, ts, good, None, _quality(item.get("valid"), sender.valid))
        return
    rows.fault(fault, item, meter, register if register is not None else code)


def _quality(said: object, valid: str | None) -> str | None:
    """Good or bad as the route says; uncertain where it does not: one source has 0 for valid, another true."""
    if said is None:
        return None
    if valid is None:
        return "uncertain"
    return "good" if _text(said) == valid else "bad"


def _text(said: object) -> str:
    return str(said).lower() if isinstance(said, bool | int | str) else ""
