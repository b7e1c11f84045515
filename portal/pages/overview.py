"""The first page: one park at a glance, with what is coming in now."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from portal import operation, views
from portal.context import PageScope, Portal, PortalOf, SessionOf
from portal.pages.render import page
from portal.scope import NotFoundError, Scope

router = APIRouter(include_in_schema=False)


@router.get("/")
def first_page(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope) -> HTMLResponse:
    """The overview of the reader's first park."""
    parks = scope.rows(portal.site.register.parks()).sort("park")
    if parks.is_empty():
        return page(request, "empty.html", session, {"scope": scope})
    return page(request, "overview.html", session, _context(portal, scope, parks["park"][0]))


@router.get("/parks/{park}")
def of_park(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, park: str) -> HTMLResponse:
    """The overview of one park."""
    return page(request, "overview.html", session, _context(portal, scope, park))


@router.get("/parks/{park}/live")
def live_part(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, park: str) -> HTMLResponse:
    """The part of the overview that is fetched again every few seconds."""
    return page(request, "parts/overview.html", session, _context(portal, scope, park))


def _context(portal: Portal, scope: Scope, park: str) -> dict[str, Any]:
    parks = scope.rows(portal.site.register.parks()).sort("park").to_dicts()
    row = next((one for one in parks if one["park"] == park), None)
    if row is None:
        raise NotFoundError
    last, from_readings = operation.last_readings(portal, scope)
    return {
        "scope": scope, "parks": parks, "park": row, "from_readings": from_readings, "today": portal.today(),
        "live": operation.live(portal, scope, last), "overview": views.overview(portal, scope, park, last),
    }
