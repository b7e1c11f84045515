"""Quarantine: what could not be stored, why, and the bytes as they came."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from portal import views
from portal.context import PageScope, PortalOf, SessionOf
from portal.pages.render import page

router = APIRouter(include_in_schema=False)


@router.get("/quarantine")
def quarantine_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope,
    reason: str = "", after: Annotated[str, Query(pattern=r"^(\d{1,18}_-?\d{1,9})?$")] = "",
) -> HTMLResponse:
    """Counts by reason, and the newest rows of one reason or of all."""
    scope.require("quarantine")
    message, _, index = after.partition("_")
    rows, following = views.quarantine(
        portal.site, scope, limit=views.PAGE_ROWS, after=(int(message), int(index)) if after else None, filters={"reason": reason or None},
    )
    context = {
        "scope": scope, "reason": reason, "rows": rows.to_dicts(), "following": following,
        "counts": views.quarantine_counts(portal.site, scope).to_dicts(), "names": views.names(portal.site, scope),
    }
    return page(request, "quarantine.html", session, context)


@router.get("/quarantine/{message}/{index}")
def quarantined_page(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, message: int, index: int) -> HTMLResponse:
    """One row, with its raw bytes as text or as hexadecimal."""
    scope.require("quarantine")
    row = views.quarantined(portal.site, scope, message, index)
    return page(request, "quarantined.html", session, {"scope": scope, "row": row, "names": views.names(portal.site, scope)})
