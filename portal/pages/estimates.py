"""Ask for estimates of what is not measured, and see what was proposed."""

from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse

from config.errors import BadInputError, Problem
from portal import estimates, views
from portal.auth import Session
from portal.context import PageScope, Portal, PortalOf, SessionOf
from portal.pages.render import page
from portal.scope import NotFoundError, Scope

router = APIRouter(include_in_schema=False, max_body_size=1 << 16)
DAYS: Final = 7  # that the form begins with
Text = Annotated[str, Form(max_length=200)]


@router.get("/estimates")
def form_page(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, enterprise: str = "", meter: str = "") -> HTMLResponse:
    """The form, with the week up to yesterday."""
    scope.require_doing("propose")
    today = portal.today()
    said = {"first": today.fromordinal(today.toordinal() - DAYS), "last": today.fromordinal(today.toordinal() - 1), "method": "auto"}
    return _form(request, portal, session, scope, {**said, "enterprise": enterprise, "meter": meter}, None, [])


@router.post("/estimates")
def propose(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, first: Annotated[date, Form()], last: Annotated[date, Form()],
    method: Annotated[Literal["auto", "linear", "like_days"], Form()] = "auto", token: Text = "", enterprise: Text = "", meter: Text = "",
) -> HTMLResponse:
    """Propose estimates in this person's name, and show them."""
    if not portal.door.form_is_ours(token, session.nonce):
        raise HTTPException(400, "The form is out of date; load the page again.")
    said = {"first": first, "last": last, "method": method, "enterprise": enterprise, "meter": meter}
    try:
        found = estimates.ask(portal, scope, first, last, method, enterprise or None, meter or None)
    except BadInputError as error:
        return _form(request, portal, session, scope, said, None, error.problems)
    except NotFoundError:
        unseen = Problem("enterprise", f"{enterprise!r} is not yours to see", "Name one of your enterprises.")
        return _form(request, portal, session, scope, said, None, [unseen])
    return _form(request, portal, session, scope, said, found.to_dicts(), [])


def _form(request: Request, portal: Portal, session: Session, scope: Scope, said: Any, found: Any, problems: Any) -> HTMLResponse:
    context = {
        "said": said, "methods": estimates.ESTIMATED_BY, "most_days": estimates.MOST_DAYS, "found": found, "problems": problems,
        "names": views.names(portal.site, scope),
    }
    return page(request, "estimates.html", session, context, status=422 if problems else 200)
