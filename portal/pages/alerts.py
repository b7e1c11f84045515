"""Alerts and cases, open and closed, each with its facts and history."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from portal import casework, views
from portal.context import PageScope, PortalOf, SessionOf
from portal.pages.render import page

router = APIRouter(include_in_schema=False)


@router.get("/alerts")
def alerts_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, show: Literal["open", "all"] = "open",
    after: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
) -> HTMLResponse:
    """Alerts, newest first, and all cases."""
    alerts = casework.alerts(portal.site, scope, open_only=show == "open", limit=views.PAGE_ROWS + 1, after=after)
    context = {
        "scope": scope, "show": show, "alerts": alerts.head(views.PAGE_ROWS).to_dicts(),
        "following": alerts["id"][views.PAGE_ROWS - 1] if alerts.height > views.PAGE_ROWS else None,
        "cases": casework.cases(portal.site, scope).to_dicts(), "names": views.names(portal.site, scope),
    }
    return page(request, "alerts.html", session, context)


@router.get("/alerts/{number}")
def alert_page(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, number: int) -> HTMLResponse:
    """One alert."""
    alert, history = casework.alert(portal.site, scope, number)
    return page(request, "alert.html", session, {"scope": scope, "alert": alert, "history": history, "names": views.names(portal.site, scope)})


@router.get("/cases/{number}")
def case_page(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, number: int) -> HTMLResponse:
    """One case with the verdict that it froze as evidence."""
    case, history = casework.case(portal.site, scope, number)
    return page(request, "case.html", session, {"scope": scope, "case": case, "history": history, "names": views.names(portal.site, scope)})
