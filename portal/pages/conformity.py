"""The conformity report of one gateway, over what it sent lately."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from ingest.conformity import TITLES
from pipeline.conformity import recent, report
from portal import views
from portal.context import PageScope, PortalOf, SessionOf
from portal.pages.render import page
from portal.scope import NotFoundError

router = APIRouter(include_in_schema=False)
SPANS_S: Final = (600, 3600, 86_400)


@router.get("/gateways/{enterprise}/{gateway}/conformity")
def conformity_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, enterprise: str, gateway: str,
    seconds: Annotated[int, Query(ge=1, le=86_400)] = SPANS_S[0],
) -> HTMLResponse:
    """What was looked at, what was found, and what to do."""
    site, now = portal.site, portal.clock()
    known = scope.rows(site.register.gateways()).rows(named=True)
    row = next((one for one in known if (one["enterprise"], one["gateway"]) == (enterprise, gateway)), None)
    if row is None:
        raise NotFoundError
    found = report(site, enterprise, gateway, recent(site, enterprise, gateway, now - timedelta(seconds=seconds)), at=now)
    checks = [{**one._asdict(), "title": TITLES[one.id]} for one in found.checks]
    context = {"scope": scope, "row": row, "found": found, "checks": checks, "seconds": seconds, "spans": SPANS_S, "names": views.names(site, scope)}
    return page(request, "conformity.html", session, context)
