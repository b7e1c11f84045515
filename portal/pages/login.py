"""Logging in and out, and the language switch."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from portal.auth import VISIT_COOKIE, address_of
from portal.context import LANGUAGE_COOKIE, PortalOf, SessionOf
from portal.i18n import Language
from portal.pages.render import page

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Form(max_length=256)]


@router.get("/login")
def login_form(request: Request, portal: PortalOf, next: str = "/") -> HTMLResponse:  # noqa: A002 - the name in the address
    """The form; a visitor's cookie ties it to this browser."""
    return _form(request, portal, next)


@router.post("/login")
def login(request: Request, portal: PortalOf, name: Text = "", password: Text = "", token: Text = "", next: Text = "/") -> Response:  # noqa: A002 - the form's fields
    """Check name and password; go on to where the visitor wanted to go."""
    address = address_of(request)
    if not portal.door.form_is_ours(token, request.cookies.get(VISIT_COOKIE)):
        return _form(request, portal, next, problem="stale", name=name, status=400)
    if (wait := portal.door.wait_s(name, address)) > 0:
        answer = _form(request, portal, next, problem="wait", name=name, wait_s=wait, status=429)
        answer.headers["Retry-After"] = str(wait)
        return answer
    session = portal.door.login(name, password, address)
    if session is None:
        return _form(request, portal, next, problem="refused", name=name, status=401)
    onward = RedirectResponse(_inside(next), status_code=303)
    portal.door.give(onward, session)
    return onward


@router.post("/logout")
def logout(portal: PortalOf, session: SessionOf, token: Text = "") -> Response:
    """End the session."""
    if not portal.door.form_is_ours(token, session.nonce):
        raise HTTPException(400, "The form is out of date; load the page again.")
    away = RedirectResponse("/login", status_code=303)
    portal.door.end(away, session)
    return away


@router.get("/language/{language}")
def switch(language: Language, portal: PortalOf, next: str = "/") -> Response:  # noqa: A002 - the name in the address
    """Remember the reader's language and go back."""
    back = RedirectResponse(_inside(next), status_code=303)
    secure = portal.site.settings.portal.secure_cookies
    back.set_cookie(LANGUAGE_COOKIE, language, max_age=365 * 86_400, httponly=True, samesite="lax", secure=secure)
    return back


def _form(request: Request, portal: PortalOf, onward: str, *, problem: str = "", name: str = "", wait_s: int = 0, status: int = 200) -> HTMLResponse:
    cookies = Response()
    token = portal.door.visit(request, cookies)
    answer = page(request, "login.html", None, {
        "token": token, "next": _inside(onward), "problem": problem, "name": name, "wait_s": wait_s,
        "switch_next": quote("/login?next=" + quote(_inside(onward), safe=""), safe=""),
    }, status=status)
    answer.raw_headers.extend(header for header in cookies.raw_headers if header[0] == b"set-cookie")
    return answer


def _inside(address: str) -> str:
    """An address of this site; anything else becomes the first page (no open redirect)."""
    plain = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if plain else "/"
