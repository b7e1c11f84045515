"""Quarantine: what could not be stored, why, and the bytes as they came."""

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from portal import operation, views
from portal.context import PageScope, PortalOf, SessionOf
from portal.pages.render import page
from portal.scope import NotFoundError
from store.quarantine import Filters

router = APIRouter(include_in_schema=False)


Said = Annotated[str, Query(max_length=200)]
LocalTime = Annotated[str, Query(pattern=r"^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})?$")]


@router.get("/quarantine")
def quarantine_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope,
    reason: Said = "", enterprise: Said = "", gateway: Said = "", meter: Said = "", register: Said = "", topic: Said = "", text: Said = "",
    since: Annotated[LocalTime, Query(alias="from")] = "", until: Annotated[LocalTime, Query(alias="to")] = "",
    after: Annotated[str, Query(pattern=r"^(\d{1,18}_-?\d{1,9})?$")] = "",
) -> HTMLResponse:
    """Counts by reason, and the newest rows, as far as they are asked for."""
    scope.require("quarantine")
    said = {"enterprise": enterprise, "gateway": gateway, "meter": meter, "register": register, "topic": topic, "text": text}
    message, _, index = after.partition("_")
    zone = portal.site.settings.zone
    filters = Filters(
        reason=reason or None, enterprise=enterprise or None, gateway=gateway or None, meter=meter or None, register=register or None,
        topic=topic or None, text=text or None, since=_instant(since, zone), until=_instant(until, zone),
    )
    rows, following = operation.quarantine(
        portal.site, scope, limit=views.PAGE_ROWS, after=(int(message), int(index)) if after else None, filters=filters,
    )
    asked = {name: value for name, value in {"reason": reason, **said, "from": since, "to": until}.items() if value}
    context = {
        "scope": scope, "reason": reason, "rows": rows.to_dicts(), "following": following,
        "counts": operation.quarantine_counts(portal.site, scope).to_dicts(), "names": views.names(portal.site, scope),
        "said": said, "since": since, "until": until,
        "older": urlencode({**asked, "after": f"{following[0]}_{following[1]}"}) if following else "",
    }
    return page(request, "quarantine.html", session, context)


@router.get("/quarantine/{message}/{index}")
def quarantined_page(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, message: int, index: int) -> HTMLResponse:
    """One row, with its raw bytes as text or as hexadecimal."""
    scope.require("quarantine")
    row = operation.quarantined(portal.site, scope, message, index)
    return page(request, "quarantined.html", session, {"scope": scope, "row": row, "names": views.names(portal.site, scope)})


def _instant(text: str, zone: ZoneInfo) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone) if text else None
    except ValueError:
        raise NotFoundError from None
