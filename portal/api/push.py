"""Gateways that send over HTTP: the payload of MQTT in, a receipt out, and later what became of it."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import polars as pl
from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from ingest.reasons import REASONS
from ingest.routes import OWN_TOPIC
from portal.api.answers import rows
from portal.api.problems import ProblemError
from portal.context import GatewayOf, Portal, PortalOf
from portal.scope import NotFoundError
from store.journal import HISTORY, LIVE, Arrival
from store.quarantine import REST

BODY_WITHIN_S: Final = 30.0
LISTED: Final = 100  # refused readings that one answer lists
_LANES: Final = {"readings": LIVE, "backfill": HISTORY}
_ENCODINGS: Final = {"gzip": "application/json+gzip", "zstd": "application/json+zstd"}
_COUNTS: Final = ("decoded", "stored", "duplicate", "conflicting", "rejected")
_NO_LIMIT_BUT_OURS: Final = 2**40  # ours is that of MQTT, and answers with a problem document
_BODY: Final = {"requestBody": {"required": True, "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in (
    "application/json", *_ENCODINGS.values())}}}
router = APIRouter(prefix="/api/v1", tags=["gateways"], max_body_size=_NO_LIMIT_BUT_OURS)


@router.post("/gateways/{enterprise}/{gateway}/{kind}", status_code=202, summary="Readings of a gateway", openapi_extra=_BODY)
async def push(
    request: Request, portal: PortalOf, sender: GatewayOf, enterprise: str, gateway: str, kind: Literal["readings", "backfill"],
) -> JSONResponse:
    """The payload of MQTT, plain, gzip or zstd; it is kept durably when the answer comes. `receipt` names it for `/receipts/{receipt}`."""
    if (enterprise, gateway) != sender:
        raise NotFoundError
    content_type = _content_type(request)
    payload = await body_of(request, portal.site.settings.mqtt.max_payload_bytes)
    message = await run_in_threadpool(_keep, portal, sender, kind, content_type, payload)
    return JSONResponse({"receipt": message, "state": "pending"}, status_code=202, headers={"Location": f"/api/v1/receipts/{message}"})


@router.get("/receipts/{receipt}", summary="What became of a message that was sent over HTTP")
def receipt(portal: PortalOf, sender: GatewayOf, receipt: Annotated[int, Path(ge=1, lt=2**62)]) -> JSONResponse:
    """`pending`, then `settled` with counts; at most 100 refused readings are listed, with their reasons."""
    site = portal.site
    message = site.journal.get(receipt)
    own = OWN_TOPIC.fullmatch(message.topic) if message is not None and message.door == "http" else None
    if own is None or (own["enterprise"], own["gateway"]) != sender:
        raise NotFoundError
    settlement = site.ledger.settlements(receipt - 1, 1).filter(pl.col("message") == receipt)
    if settlement.is_empty():
        return JSONResponse({"receipt": receipt, "state": "pending"})
    became = rows(settlement)[0]
    refused = site.quarantine.page(after=(receipt, REST - 1), limit=LISTED + 2).filter(pl.col("message") == receipt, pl.col("index") >= 0)
    return JSONResponse({
        "receipt": receipt, "state": "settled", "outcome": became["outcome"], **_why(became["reason"]),
        "epoch": became["epoch"], "seq": became["seq"], **{name: became[name] for name in _COUNTS},
        "rejected_readings": [
            {"index": row["index"], "meter": row["meter"], "register": row["register"], **_why(row["reasons"][0])}
            for row in refused.head(LISTED).iter_rows(named=True)
        ],
    })


def _keep(portal: Portal, sender: tuple[str, str], kind: str, content_type: str | None, payload: bytes) -> int:
    enterprise, gateway = sender
    region = portal.site.register.region_of(enterprise, gateway)
    if region is None:
        raise NotFoundError
    topic = f"tce/v1/{region}/{enterprise}/{gateway}/{kind}"
    arrival = Arrival("http", topic, f"{enterprise}/{gateway}", content_type, payload, datetime.now(UTC), lane=_LANES[kind])
    return portal.intake.append(arrival)


def _content_type(request: Request) -> str | None:
    """Content type as the journal has it: how the body is packed, where the sender says so; else its first bytes tell."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in _ENCODINGS:
        return _ENCODINGS[encoding]
    if encoding != "identity":
        raise ProblemError(415, "unknown-encoding", f"Content-Encoding {encoding!r} is not read. Send gzip, zstd, or plain JSON.")
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return given if given in _ENCODINGS.values() else None


async def body_of(request: Request, most: int) -> bytes:
    """The body, never unpacked here, and never more of it in memory than is allowed.

    Raises:
        ProblemError: it is too large, too slow or cut off.
    """
    too_large = ProblemError(413, "too-large", f"At most {most:,} bytes are taken at once, as sent. Split it, or compress it.", max_bytes=most)
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for part in request.stream():
                if len(body) + len(part) > most:
                    raise too_large
                body += part
    except TimeoutError:
        raise ProblemError(408, "too-slow", f"The body did not arrive within {BODY_WITHIN_S:g} s; nothing was kept.") from None
    except ClientDisconnect:
        raise ProblemError(400, "cut-off", "The connection ended before the body did; nothing was kept.") from None
    return bytes(body)


def _why(reason: str | None) -> dict[str, Any]:
    if reason is None:
        return {"reason": None, "text": None}
    text = REASONS[reason]
    return {"reason": reason, "text": {"zh": text.zh, "en": text.en}}
