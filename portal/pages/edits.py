"""Edits: what waits for a second person, what the interval rules found, the form for a new edit, and each edit with its history."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

import polars as pl
from fastapi import APIRouter, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from config.errors import BadInputError, Problem
from portal import edits as models
from portal import views
from portal.api.edits import act
from portal.auth import Session
from portal.context import PageScope, Portal, PortalOf, SessionOf
from portal.pages.render import page
from portal.scope import NotFoundError, Scope
from store.edits import DECIDED, KINDS, MAX_EVIDENCE_BYTES, METHODS

router = APIRouter(include_in_schema=False, max_body_size=MAX_EVIDENCE_BYTES + (1 << 18))
RESET: Final = "reset"  # no edit, but an event of the register
OF_EDIT: Final = ("enterprise", "meter", "register", "kind", "start", "end", "value", "low", "high", "method", "reason")
Said = Annotated[str, Query(max_length=200)]
Text = Annotated[str, Form(max_length=2000)]
Kind = Literal["exclude", "replace", "confirm", "estimate", "reset"]


@router.get("/edits")
def edits_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, after: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
) -> HTMLResponse:
    """What waits, what a person should look at, and what was decided."""
    return _queue(request, portal, session, scope, after)


@router.get("/edits/new")
def form_page(
    request: Request, session: SessionOf, scope: PageScope, kind: Kind = "exclude", enterprise: Said = "", meter: Said = "",
    register: Said = "", start: Said = "", end: Said = "",
) -> HTMLResponse:
    """The form for an edit, or for a reset that is declared, with what is known already."""
    scope.require_doing("propose")
    said = {"kind": kind, "enterprise": enterprise, "meter": meter, "register": register, "start": start, "end": end}
    return _form(request, session, scope, said, [])


@router.post("/edits/new")
def propose(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, evidence: Annotated[UploadFile | None, File()] = None,
    register_: Annotated[str, Form(alias="register", max_length=2000)] = "",  # the name itself is taken in the library's class
    token: Text = "", kind: Text = "", enterprise: Text = "", meter: Text = "", start: Text = "", end: Text = "",
    value: Text = "", low: Text = "", high: Text = "", method: Text = "", reason: Text = "",
) -> Response:
    """Propose the edit of the form, with its evidence; or declare the reset."""
    _must_be_ours(portal, session, token)
    scope.require_doing("propose")
    given = (enterprise, meter, register_, kind, start, end, value, low, high, method, reason)
    said = dict(zip(OF_EDIT, given, strict=True))
    try:
        _check_sight(scope, enterprise)
        if kind == RESET:
            _declare_reset(portal, scope, said)
            return RedirectResponse("/edits", status_code=303)
        number = _propose(portal, scope, said, evidence)
    except BadInputError as error:
        return _form(request, session, scope, said, error.problems)
    return RedirectResponse(f"/edits/{number}", status_code=303)


@router.get("/edits/{number}")
def edit_page(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, number: int) -> HTMLResponse:
    """One edit with what stands beside it and its history."""
    return _one(request, portal, session, scope, number, [])


@router.post("/edits/{number}/{action}")
def decide(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, number: int, action: Literal["check", "refuse", "withdraw"],
    token: Text = "", reason: Text = "",
) -> Response:
    """Check, refuse or withdraw one edit; a refusal of ours is told on its page."""
    _must_be_ours(portal, session, token)
    try:
        act(portal, scope, action, [number], reason)
    except BadInputError as error:
        return _one(request, portal, session, scope, number, error.problems)
    return RedirectResponse("/edits", status_code=303)


def _queue(request: Request, portal: Portal, session: Session, scope: Scope, after: int | None) -> HTMLResponse:
    scope.require("edits")
    edits = portal.site.edits
    waiting = scope.rows(edits.waiting())
    done = views.with_effect(
        portal.site, scope.rows(edits.rows(states=DECIDED, enterprises=scope.only, before=after, newest=views.PAGE_ROWS + 1)),
    )
    flags = models.flagged(portal, scope)
    zone = ZoneInfo(portal.site.settings.site.zone)
    context = {
        "scope": scope, "names": views.names(portal.site, scope),
        "waiting": [models.beside(portal, scope, row) for row in waiting.head(views.PAGE_ROWS).to_dicts()], "waiting_count": waiting.height,
        "flags": [{**row, "start_text": _local(row["start"], zone), "end_text": _local(row["end"], zone)}
                  for row in flags.head(views.PAGE_ROWS).to_dicts()],
        "flag_count": flags.height, "flag_days": models.FLAG_DAYS, "done": done.head(views.PAGE_ROWS).to_dicts(),
        "following": done["edit"][views.PAGE_ROWS - 1] if done.height > views.PAGE_ROWS else None,
    }
    return page(request, "edits.html", session, context)


def _one(request: Request, portal: Portal, session: Session, scope: Scope, number: int, problems: Any) -> HTMLResponse:
    scope.require("edits")
    row, history = models.edit(portal, scope, number)
    context = {
        "scope": scope, "names": views.names(portal.site, scope), "e": models.beside(portal, scope, row), "history": history, "problems": problems,
    }
    return page(request, "edit.html", session, context, status=422 if problems else 200)


def _form(request: Request, session: Session, scope: Scope, said: dict[str, str], problems: Any) -> HTMLResponse:
    context = {
        "scope": scope, "said": dict.fromkeys(OF_EDIT, "") | said, "kinds": (*KINDS, RESET), "methods": METHODS, "problems": problems,
        "most_mb": MAX_EVIDENCE_BYTES >> 20,
    }
    return page(request, "edit_form.html", session, context, status=422 if problems else 200)


def _propose(portal: Portal, scope: Scope, said: dict[str, str], evidence: UploadFile | None) -> int:
    edits, who, now = portal.site.edits, scope.principal.name, portal.clock()
    row = {name: said[name] or None for name in OF_EDIT}
    if evidence is not None and evidence.filename:
        row["evidence"] = edits.keep_evidence(evidence.file.read(), name=evidence.filename, by=who, at=now)
    frame = pl.DataFrame([row], schema=dict.fromkeys(row, pl.String()))
    return edits.propose(frame, maker=who, at=now)[0]


def _declare_reset(portal: Portal, scope: Scope, said: dict[str, str]) -> None:
    """A reset is an event of the register. Without values nothing is counted across it, so one person may say so here."""
    names = ("enterprise", "meter", "register")
    row = {name: said[name] or None for name in names} | {"event": RESET, "at": said["start"] or None}
    frame = pl.DataFrame([row], schema=dict.fromkeys(row, pl.String()))
    portal.site.register.apply({"event": frame}, by=scope.principal.name, known_from=portal.clock())


def _check_sight(scope: Scope, enterprise: str) -> None:
    try:
        scope.check(enterprise)
    except NotFoundError:
        raise BadInputError([Problem("enterprise", f"{enterprise!r} is not yours to see", "Name one of your enterprises.")]) from None


def _must_be_ours(portal: Portal, session: Session, token: str) -> None:
    if not portal.door.form_is_ours(token, session.nonce):
        raise HTTPException(400, "The form is out of date; load the page again.")


def _local(instant: datetime, zone: ZoneInfo) -> str:
    return instant.astimezone(zone).isoformat()
