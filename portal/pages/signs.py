"""Signs that a person should look at, each with its evidence and what could explain it innocently; and a note by whoever looked."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import polars as pl
from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from config.errors import BadInputError
from monitors.signs import RULES, rules_on
from pipeline.signs import signs
from portal import views
from portal.auth import Session
from portal.context import PageScope, Portal, PortalOf, SessionOf, language_of
from portal.i18n import Language, term
from portal.pages.render import named, page
from portal.scope import NotFoundError, Scope

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Form(max_length=2000)]


@router.get("/signs")
def signs_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, enterprise: Annotated[str, Query(max_length=64)] = "",
) -> HTMLResponse:
    """What was seen, the open ones first, and what cannot be judged."""
    return _page(request, portal, session, scope, enterprise, [])


@router.post("/signs")
def look(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, token: Text = "", enterprise: Text = "", rule: Text = "",
    subject: Text = "", period: Text = "", note: Text = "",
) -> Response:
    """Record what this person found about a sign."""
    if not portal.door.form_is_ours(token, session.nonce):
        raise HTTPException(400, "The form is out of date; load the page again.")
    scope.require_doing("look")
    named = {"enterprise": enterprise, "rule": rule, "period": period}
    found = scope.rows(signs(portal.site, portal.clock())).filter(pl.col("subject").eq_missing(pl.lit(subject or None)), state="seen", **named)
    if found.is_empty():
        raise NotFoundError
    try:
        portal.site.sign_notes.look(enterprise, rule, subject or None, period, note, by=scope.principal.name, now=portal.clock())
    except BadInputError as error:
        return _page(request, portal, session, scope, "", error.problems)
    return RedirectResponse("/signs", status_code=303)


def _page(request: Request, portal: Portal, session: Session, scope: Scope, enterprise: str, problems: object) -> HTMLResponse:
    scope.require("signs")
    found = scope.rows(signs(portal.site, portal.clock()))
    if enterprise:
        found = found.filter(pl.col("enterprise") == enterprise)
    seen = found.filter(pl.col("state") == "seen").sort(pl.col("status") != "open", "enterprise", "rule", maintain_order=True)
    unknown = found.filter(pl.col("state") == "unknown")
    context = {
        "scope": scope, "names": views.names(portal.site, scope), "enterprise": enterprise, "rules": RULES, "problems": problems,
        "bounds": rules_on(portal.site.sign_rules(), portal.today()).to_dicts(),
        "about": partial(_about, language_of(request), _named(portal, language_of(request))),
        "seen": seen.head(views.PAGE_ROWS).to_dicts(), "seen_count": seen.height,
        "unknown": unknown.head(views.PAGE_ROWS).to_dicts(), "unknown_count": unknown.height,
    }
    return page(request, "signs.html", session, context, status=422 if problems else 200)


def _named(portal: Portal, language: Language) -> dict[str, str]:
    limits = portal.site.limits()
    return {row[kind]: named(language, row, kind) for kind in ("product", "indicator") for row in limits.unique(kind, keep="last").to_dicts()}


def _about(language: Language, names: Mapping[str, str], rule: str, subject: str) -> str:
    """What a sign is about, in words: its product and indicator, carrier and flow, meter and register."""
    parts = subject.split("/")
    if rule == "energy_against_bills":
        return " · ".join(term(language, kind, part) for kind, part in zip(("carrier", "flow"), parts, strict=True))
    return " · ".join(names.get(part, part) for part in parts)
