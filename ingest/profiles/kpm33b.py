"""COMPERE KPM33B electricity meters: MQTT_ENY_NOW (energy registers) and MQTT_RT_DATA (instantaneous values).

One flat JSON object a message, pinyin keys, `id` = the meter, `time` = local yyyymmddHHMMSS in the route's zone, neither
epoch nor seq: gaps are seen by time only. Keys that are known and carry no reading stand in `NOT_READ`; any other key
becomes a reading with the fault `unknown_field`, so that nothing goes unseen.
"""

import math
from datetime import datetime
from typing import Any, Final

import msgspec

from ingest.content import Content, Fault
from ingest.reasons import UndecodableError
from ingest.routes import Sender

_TARIFFS: Final = {"j": "sharp", "f": "peak", "p": "flat", "v": "valley", "dv": "deep_valley"}  # 尖 峰 平 谷 深谷
REGISTERS: Final[dict[str, tuple[str, str]]] = {  # key -> register, unit
    "zygsz": ("active_import", "kWh"), "fygsz": ("active_export", "kWh"),
    "zwgsz": ("reactive_import", "kvarh"), "fwgsz": ("reactive_export", "kvarh"), "zszsz": ("apparent", "kVAh"),
    **{f"zy{key}sz": (f"active_import_{name}", "kWh") for key, name in _TARIFFS.items()},
    **{f"fy{key}sz": (f"active_export_{name}", "kWh") for key, name in _TARIFFS.items()},
    "zyggl": ("active_power", "kW"),
}
NOT_READ: Final = frozenset(  # header; voltages, currents, powers by phase, factors, frequency, angles, unbalance, demand
    ("id", "time", "isend", "ia", "ib", "ic", "ua", "ub", "uc", "uab", "ubc", "uca", "pa", "pb", "pc", "qa", "qb", "qc", "zwggl",
     "sa", "sb", "sc", "zszgl", "pfa", "pfb", "pfc", "zglys", "f", "uxja", "uxjb", "uxjc", "ixja", "ixjb", "ixjc",
     "unb", "inb", "pdm", "qdm", "sdm", "iadm", "ibdm", "icdm")
)
_decoder: Final = msgspec.json.Decoder(dict[str, Any])


def read(payload: bytes, sender: Sender) -> Content:
    """Read one message of a KPM33B.

    Raises:
        UndecodableError: `not_json`: the message is no JSON object.
    """
    try:
        message = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UndecodableError("not_json") from None
    fields = [key for key in message if key not in NOT_READ]
    if not fields:
        raise UndecodableError("no_readings")
    meter, read_at_ms = message.get("id"), _epoch_ms(message.get("time"), sender)
    faults: dict[int, Fault] = {}
    for index, key in enumerate(fields):
        if (code := _fault(key, message[key], meter, read_at_ms)) is not None:
            faults[index] = Fault(code, msgspec.json.encode({"id": meter, "time": message.get("time"), key: message[key]}).decode())
    good = [key if index not in faults else None for index, key in enumerate(fields)]
    return Content(
        meter=[meter if isinstance(meter, str) else None for _ in fields],
        register=[REGISTERS[key][0] if key in REGISTERS else key for key in fields],
        ts=[None if key is None else read_at_ms for key in good],
        value=[None if key is None else float(message[key]) for key in good],
        unit=[None if key is None else REGISTERS[key][1] for key in good],
        faults=faults,
    )


def _fault(key: str, value: object, meter: object, read_at_ms: int | None) -> str | None:
    if key not in REGISTERS:
        return "unknown_field"
    if not isinstance(meter, str) or not meter:
        return "bad_meter"
    if read_at_ms is None:
        return "bad_timestamp"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "bad_value"
    return None


def _epoch_ms(text: object, sender: Sender) -> int | None:
    if not isinstance(text, str) or len(text) != 14 or not (text.isascii() and text.isdigit()):
        return None
    try:
        local = datetime(int(text[:4]), int(text[4:6]), int(text[6:8]), int(text[8:10]), int(text[10:12]), int(text[12:]), tzinfo=sender.zone)
    except ValueError:
        return None
    return int(local.timestamp()) * 1000
