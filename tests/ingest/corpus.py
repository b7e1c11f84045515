"""Bad input as data: what may be sent, and the reason with which it ends in quarantine. Numbers are the rows of the fault catalogue."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl
import zstandard

CODE, OTHER = "91159901MA0EXAMP1D", "91159901MA0EXAMP4N"
GATEWAY: Final = "GW-01"
ROOT: Final = f"tce/v1/159901/{CODE}"
EPOCH: Final = "2026-11-20T08:00:00+08:00"
ERROR_VALUES: Final = "16777215;-1;32767;65535"  # of E-2


@dataclass(frozen=True)
class Case:
    """One bad message, or (reading) one bad reading between two good ones."""

    row: int
    name: str
    reason: str
    payload: bytes | None = None
    reading: str | None = None  # its JSON text
    topic: str = f"{ROOT}/{GATEWAY}/readings"
    content_type: str | None = None


def reading(at: datetime, **said: Any) -> str:
    """The JSON text of a reading that is good unless `said` spoils it."""
    return json.dumps({"meter": "E-1", "register": "active_import", "ts": at.isoformat(), "value": 1.0, "unit": "kWh", **said})


def body(seq: int, *readings: str) -> bytes:
    """A message in row form, of readings as JSON texts."""
    return f'{{"v":1,"epoch":"{EPOCH}","seq":{seq},"readings":[{",".join(readings)}]}}'.encode("utf-8", "surrogatepass")


def neighbours(number: int, at: datetime) -> tuple[tuple[datetime, float], tuple[datetime, float]]:
    """Instant and value of the good readings beside the bad one of a case: values that no rounding leaves as they are."""
    return (at - timedelta(seconds=2 * number + 1), number + 0.1 + 0.2), (at - timedelta(seconds=2 * number + 2), number / 3)


def message(case: Case, number: int, at: datetime) -> bytes:
    """What is sent for a case that has the given number among them all."""
    if case.payload is not None:
        return case.payload
    assert case.reading is not None
    before, after = (reading(instant, value=value) for instant, value in neighbours(number, at))
    return body(number + 10, before, case.reading, after)


def cases(at: datetime) -> list[Case]:
    """All of them; `at` is the time of the readings, about now."""
    return list(_cases(at))


def _cases(at: datetime) -> Iterator[Case]:
    good = reading(at)
    for value in (0xFFFFFF, -1, 32767, 65535):
        yield Case(8, f"error value {value}", "error_value", reading=reading(at, meter="E-2", value=value))
    for name, reason, payload in (
        ("cut JSON", "not_json", b'{"v":1,"readings":['), ("nothing", "empty", b""), ("binary", "not_json", bytes(range(256))),
        ("a list", "not_an_object", b"[]"), ("no readings", "no_readings", b'{"v":1,"epoch":"e","seq":1}'),
        ("readings that are no list", "no_readings", b'{"v":1,"epoch":"e","seq":1,"readings":{"a":1}}'),
        ("another version", "wrong_version", b'{"v":2,"epoch":"e","seq":1,"readings":[]}'),
        ("no seq", "no_sequence", f'{{"v":1,"epoch":"e","readings":[{good}]}}'.encode()),
        ("broken gzip", "bad_compression", gzip.compress(b"{}")[:-5]), ("broken zstd", "bad_compression", zstandard.compress(b"{}" * 99)[:-5]),
        ("two forms", "two_forms", f'{{"v":1,"epoch":"e","seq":1,"readings":[{good}],"meter":[]}}'.encode()),
        ("unequal columns", "unequal_columns", b'{"v":1,"epoch":"e","seq":1,"meter":["E-1"],"register":["a"],"ts":[1,2],"value":[1]}'),
        ("a seq that stands twice", "duplicate_key", b'{"v":1,"epoch":"e","seq":1,"seq":2,"meter":["E-1"],"register":["a"],"ts":[1],"value":[1]}'),
        ("an epoch that stands twice", "duplicate_key", f'{{"v":1,"epoch":"e","seq":1,"epoch":"f","readings":[{good}]}}'.encode()),
    ):
        yield Case(18, name, reason, payload)
    mine = json.dumps({"v": 1, "epoch": "e", "seq": 1, "readings": [json.loads(good)]})
    for field, value in (("enterprise", OTHER), ("gateway", "GW-02")):
        yield Case(28, f"another {field} in the payload", "topic_payload_mismatch", mine.replace("{", f'{{"{field}":"{value}",', 1).encode())
    yield Case(28, "a meter of another gateway", "wrong_gateway", reading=reading(at, meter="E-3"))
    yield Case(33, "a forged will", "bad_state", b'{"v":1,"state":"dead"}', topic=f"{ROOT}/{GATEWAY}/state")
    yield Case(34, "a capture of years ago", "not_too_old", reading=reading(datetime(2019, 1, 1, tzinfo=UTC)))
    yield Case(34, "a time to come", "not_from_the_future", reading=reading(at + timedelta(days=2)))
    for evil in ("E-1\n", "E-1,x=1", "E-1=", "E-1\\", 'E-1"', "E-1' OR '1'='1", '"|> drop()', "../E-1", "E-1 "):
        yield Case(37, f"meter {evil!r}", "unknown_meter", reading=reading(at, meter=evil))
        yield Case(37, f"register {evil!r}", "unknown_register", reading=reading(at, register=evil))
        yield Case(37, f"unit {evil!r}", "unit_convertible", reading=reading(at, unit=evil))
    for evil in ("GW-01,x=1", 'GW-01"|> drop()', "GW 01", "GW-01\\"):
        yield Case(37, f"topic of {evil!r}", "unknown_topic", body(1, good), topic=f"{ROOT}/{evil}/readings")
    for text in ("NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, '"1_000"', '" 12 "', "true", "null", "[]", "{}"):
        yield Case(38, f"value {text[:20]}", "bad_value", reading=good.replace('"value": 1.0', f'"value": {text}'))
    for name, value in (("value", "2.0"), ("meter", '"E-2"'), ("register", '"feed"'), ("ts", "1")):
        yield Case(38, f"{name} stands twice", "duplicate_key", reading=good.replace("}", f', "{name}": {value}}}'))
    for text in ("true", "1e30", '"yesterday"', '""', "12.5", "1" + "0" * 30):
        yield Case(38, f"time {text}", "bad_timestamp", reading=good.replace(json.dumps(at.isoformat()), text))
    yield Case(38, "a time without offset", "timestamp_without_offset", reading=reading(at, ts=at.replace(tzinfo=None).isoformat()))
    yield Case(39, "more than 64 KiB", "payload_too_large", body(1, good) + b" " * 65_536)
    yield Case(39, "a hundred thousand keys", "payload_too_large", json.dumps({f"k{number}": 1 for number in range(100_000)}).encode())
    yield Case(39, "deep", "not_json", b"[" * 60_000)
    yield Case(39, "deep objects", "not_json", b'{"a":' * 10_000)
    bomb = b" " * (64 * 1024 * 1024)
    yield Case(39, "gzip bomb", "unpacked_too_large", gzip.compress(bomb, 9)[:65_536], content_type="application/json+gzip")
    yield Case(39, "zstd bomb", "unpacked_too_large", zstandard.compress(bomb), content_type="application/json+zstd")
    for name, meter in (
        ("zero width", "E-1\u200b"), ("right to left", "\u202eE-1"), ("full width", "Ｅ-1"), ("homoglyph", "\u0415-1"), ("decomposed", "E\u0301-1"),
        ("U+0000", "E-1\x00"),
    ):
        yield Case(40, f"meter {name}", "unknown_meter", reading=reading(at, meter=meter))
    yield Case(40, "lone surrogate", "bad_meter", reading=reading(at, meter="E-1\ud800"))
    yield Case(40, "enterprise in full-width digits", "unknown_topic", body(1, good), topic=f"tce/v1/159901/９{CODE[1:]}/{GATEWAY}/readings")
    look_alike = CODE.replace("A", chr(0x391))  # a Greek Alpha
    yield Case(40, "enterprise with a homoglyph", "unknown_topic", body(1, good), topic=f"tce/v1/159901/{look_alike}/{GATEWAY}/readings")
    yield Case(46, "tonnes for kilowatt hours", "unit_convertible", reading=reading(at, unit="t"))
    yield Case(46, "a thousand times too much", "value_within_range", reading=reading(at, meter="E-2", value=5e9))
    yield Case(47, "a meter of the imagination", "unknown_meter", reading=reading(at, meter="X-8f3a91c2"))


def registered() -> dict[str, pl.DataFrame]:
    """What the cases need in the register beside E-1: error values and a range for E-2, another gateway for E-3."""
    names = {"enterprise": CODE, "register": "active_import", "unit": "kWh", "kind": "cumulative"}
    return {
        "gateway": pl.DataFrame([{"enterprise": CODE, "gateway": "GW-02", "region": "159901"}]),
        "meter": pl.DataFrame([{"enterprise": CODE, "meter": "E-3", "gateway": "GW-02", "medium": "electricity"}]),
        "register": pl.DataFrame([{**names, "meter": "E-2", "error_values": ERROR_VALUES, "range_low": -10.0, "range_high": 2e7}]),
    }
