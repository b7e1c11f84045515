"""What was found: alerts, cases, and what lies in quarantine."""

import base64
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import polars as pl
from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime

from portal import casework, operation
from portal.api.answers import MAX_BULK_ROWS, PagingOf, bulk, cursor_of, numbered, page, rows
from portal.api.measured import Name
from portal.context import ApiScope, PortalOf
from store.quarantine import REST, Filters

router = APIRouter(prefix="/api/v1", tags=["found"])
Number = Annotated[int, Path(ge=0, lt=2**62)]


@router.get("/alerts", summary="Alerts, newest first")
def alerts(portal: PortalOf, scope: ApiScope, paging: PagingOf, open: bool = False) -> Response:  # noqa: A002 - the name in the address
    """Alerts with their texts and facts; `open=true` leaves out the closed ones."""
    scope.require("alerts")
    if paging.bulk:
        return bulk(casework.alerts(portal.site, scope, open_only=open, limit=MAX_BULK_ROWS + 1), paging.format, "alerts")
    after = numbered(paging.after, 1)
    frame = casework.alerts(portal.site, scope, open_only=open, limit=paging.limit + 1, after=after[0] if after else None)
    return _page(frame, paging.limit)


@router.get("/alerts/{number}", summary="One alert with its history")
def alert(portal: PortalOf, scope: ApiScope, number: Number) -> JSONResponse:
    """One alert."""
    scope.require("alerts")
    return _with_history(*casework.alert(portal.site, scope, number))


@router.get("/cases", summary="Cases, newest first")
def cases(portal: PortalOf, scope: ApiScope, paging: PagingOf) -> Response:
    """Cases with the evidence that was frozen when they opened."""
    scope.require("cases")
    if paging.bulk:
        return bulk(casework.cases(portal.site, scope, limit=MAX_BULK_ROWS + 1), paging.format, "cases")
    after = numbered(paging.after, 1)
    return _page(casework.cases(portal.site, scope, limit=paging.limit + 1, after=after[0] if after else None), paging.limit)


@router.get("/cases/{number}", summary="One case with its history")
def case(portal: PortalOf, scope: ApiScope, number: Number) -> JSONResponse:
    """One case."""
    scope.require("cases")
    return _with_history(*casework.case(portal.site, scope, number))


@router.get("/quarantine", summary="What could not be stored, newest first")
def quarantine(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, reason: Name = None, kind: Literal["undecodable", "rejected", "rest"] | None = None,
    enterprise: Name = None, gateway: Name = None, meter: Name = None, register: Name = None,
    topic: Annotated[str | None, Query(max_length=200, description="Topics with this in them.")] = None,
    text: Annotated[str | None, Query(max_length=200, description="What has this in its bytes, its topic or its ids.")] = None,
    since: Annotated[AwareDatetime | None, Query(alias="from", description="Received at or after.")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to", description="Received before.")] = None,
    replayed: bool | None = None,
) -> Response:
    """Rows without their bytes. Index -1: a whole message; -2 (kind rest): further readings of one, `readings` of them."""
    scope.require("quarantine")
    filters = Filters(
        reason=reason, kind=kind, enterprise=enterprise, gateway=gateway, meter=meter, register=register, topic=topic, text=text,
        since=since, until=until, replayed=replayed,
    )
    if paging.bulk:
        frame, _ = operation.quarantine(portal.site, scope, limit=MAX_BULK_ROWS + 1, filters=filters)
        return bulk(frame, paging.format, "quarantine")
    after = numbered(paging.after, 2)
    frame, following = operation.quarantine(portal.site, scope, limit=paging.limit, after=(after[0], after[1]) if after else None, filters=filters)
    return page(frame, cursor_of({"message": following[0], "index": following[1]}, ["message", "index"]) if following else None)


@router.get("/quarantine/{message}/{index}", summary="One quarantined row with its bytes")
def quarantined(portal: PortalOf, scope: ApiScope, message: Number, index: Annotated[int, Path(ge=REST, lt=2**31)]) -> JSONResponse:
    """`raw` is base64 of the bytes as they came: of the whole message where `whole` says so, else of the one reading."""
    scope.require("quarantine")
    row = operation.quarantined(portal.site, scope, message, index)
    plain = {name: value for name, value in row.items() if name not in {"raw", "text", "hex", "shown", "size", "reasons"}}
    return JSONResponse({**rows(pl.DataFrame([plain]))[0], "reasons": row["reasons"], "raw": base64.b64encode(row["raw"]).decode()})


def _page(frame: pl.DataFrame, limit: int) -> Response:
    shown = frame.head(limit)
    items = [{**row, "facts": json.loads(row["facts"])} for row in rows(shown)]
    return JSONResponse({"items": items, "next": cursor_of(items[-1], ["id"]) if frame.height > limit else None})


def _with_history(row: Mapping[str, Any], history: list[dict[str, Any]]) -> JSONResponse:
    facts = row["facts"]
    plain = rows(pl.DataFrame([{name: value for name, value in row.items() if name != "facts"}]))[0]
    events = [{**one, "facts": json.loads(one["facts"])} if "facts" in one else one for one in rows(pl.DataFrame(history))]
    return JSONResponse({**plain, "facts": facts, "history": events})
