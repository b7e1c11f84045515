"""Messages and registers for the tests of ingest."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from config.schemas import REGISTER
from config.settings import RouteSettings
from ingest.decode import Decodings, decode
from ingest.routes import Routes
from store.journal import Message

STEEL, COKING = "91150621MA0EXAMPLE", "91150621MA0COKING0"
NOON = datetime(2026, 11, 20, 4, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
HEAD: dict[str, Any] = {"v": 1, "epoch": "2026-11-20T08:00:00+08:00", "seq": 1842}


def topic(enterprise: str = STEEL, gateway: str = "gw-1", kind: str = "readings") -> str:
    return f"tce/v1/150621/{enterprise}/{gateway}/{kind}"


def row(**changes: Any) -> dict[str, Any]:
    return {"meter": "E-001", "register": "active_import", "ts": "2026-11-20T12:00:00+08:00", "value": 17803.4, "unit": "kWh", **changes}


def message(payload: bytes | dict[str, Any], number: int = 1, **changes: Any) -> Message:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Message(**{
        "id": number, "door": "mqtt", "topic": topic(), "identity": None, "content_type": None, "payload": raw,
        "received_at": NOON + timedelta(minutes=1), "retained": False, **changes,
    })


def decode_one(payload: bytes | dict[str, Any], **changes: Any) -> Decodings:
    return decode([message(payload, **changes)], Routes())


def reason_of(found: Decodings) -> str | None:
    return found.heads["reason"][0]


def register(**changes: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(REGISTER), "register_key": 7, "enterprise": STEEL, "gateway": "gw-1", "meter": "E-001", "register": "active_import",
        "medium": "electricity", "unit": "kWh", "kind": "cumulative", "range_low": 0.0, "range_high": 1e6,
        "known_from": NOON - timedelta(days=30), **changes,
    }


def registers(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=REGISTER, orient="row")


SAMPLES = Path(__file__).parent / "samples"


def routed(profile: str, *payloads: bytes | dict[str, Any], sent_to: str = "plant/7/up", door: str = "mqtt", **route: Any) -> Decodings:
    """What messages say that come in by a route of this profile."""
    routes = Routes([RouteSettings(topic="#", enterprise=STEEL, gateway="gw-7", profile=profile, **route)])
    return decode([message(payload, number, topic=sent_to, door=door) for number, payload in enumerate(payloads, 1)], routes)


def said(found: Decodings) -> list[tuple[Any, ...]]:
    """Meter, register, value, unit and fault of each reading."""
    return found.readings.select("meter", "register", "value", "unit", "fault").rows()
