"""Papers of enterprises to download."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from portal import papers, views
from portal.context import PageScope, PortalOf, SessionOf
from portal.pages.render import page

router = APIRouter(include_in_schema=False)


@router.get("/papers")
def papers_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, year: Annotated[int | None, Query(ge=1990, le=2200)] = None,
) -> HTMLResponse:
    """The enterprises with their papers of a year, the last closed one first."""
    running = portal.today().year
    chosen = min(year or running - 1, running)
    context = {
        "scope": scope, "names": views.names(portal.site, scope), "enterprises": scope.rows(portal.site.register.enterprises()).to_dicts(),
        "kinds": papers.KINDS, "year": chosen, "running": running,
    }
    return page(request, "papers.html", session, context)
