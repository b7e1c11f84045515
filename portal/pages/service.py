"""Data and service health: both balances, the gateways' sequences, services and stores."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from portal import operation, views
from portal.context import PageScope, Portal, PortalOf, SessionOf
from portal.pages.render import page
from portal.scope import Scope

router = APIRouter(include_in_schema=False)


@router.get("/service")
def service_page(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope) -> HTMLResponse:
    """The whole page."""
    return page(request, "service.html", session, _context(portal, scope))


@router.get("/service/live")
def live_part(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope) -> HTMLResponse:
    """The part that is fetched again every few seconds."""
    return page(request, "parts/service.html", session, _context(portal, scope))


def _context(portal: Portal, scope: Scope) -> dict[str, Any]:
    return {"scope": scope, "operation": operation.operation(portal, scope), "names": views.names(portal.site, scope)}
