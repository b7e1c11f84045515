"""Registers of enterprises: key energy users, access by park and medium, projects with their quotas and minutes."""

from datetime import date, timedelta
from typing import Annotated, Any, Final

import polars as pl
from fastapi import APIRouter, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from config.errors import BadInputError, Problem
from config.units import FIVE_MEDIA
from portal import enterprises, views
from portal.api.answers import attached
from portal.auth import Session
from portal.context import PageScope, Portal, PortalOf, SessionOf
from portal.pages.render import page
from portal.scope import Scope
from store.edits import MAX_EVIDENCE_BYTES

router = APIRouter(include_in_schema=False, max_body_size=MAX_EVIDENCE_BYTES + (1 << 18))
SHOWN_DAYS: Final = 7  # of access by day
EXPECTED_MONTHS: Final = 12
_WEIGHT: Final = {"key": 0, "designated": 1, "designable": 2, "unknown": 3, "below": 4}
_GAPS: Final = ("no_meter", "not_delivering", "unknown")
Text = Annotated[str, Form(max_length=2000)]


@router.get("/key-units")
def key_units_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, year: Annotated[int, Query(ge=0, le=2200)] = 0,
) -> HTMLResponse:
    """Key energy users by one year, the last one that is over unless another is asked for."""
    asked = year or portal.today().year - 1
    rows = enterprises.key_units(portal, scope)
    weight = pl.col("status").replace_strict(_WEIGHT, return_dtype=pl.Int8())
    shown = rows.filter(pl.col("year") == asked).sort(weight, pl.col("calorific_tce").neg(), "enterprise", nulls_last=True)
    context = {
        "scope": scope, "names": views.names(portal.site, scope), "year": asked, "years": sorted(rows["year"].unique()), "rows": shown.to_dicts(),
        "counts": dict(shown.group_by("status").len().sort("status").iter_rows()),
        "sources": shown["source"].drop_nulls().unique(maintain_order=True).to_list(),
    }
    return page(request, "key_units.html", session, context)


@router.get("/access")
def access_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, day: Annotated[date | None, Query()] = None,
) -> HTMLResponse:
    """Who is on line, of a day or live, and who lacks which meter; the last days beside."""
    rows, shares = enterprises.access(portal, scope, day)
    media = (*FIVE_MEDIA, "all")
    parks = {row["park"]: row for row in scope.rows(portal.site.register.parks()).to_dicts()}
    table: dict[tuple[str, str], dict[str, Any]] = {}
    for share in shares.to_dicts():
        table.setdefault((share["park"], share["members"]), {})[share["medium"]] = share
    today = portal.today()
    days = [today - timedelta(days=before) for before in range(SHOWN_DAYS, 0, -1)]
    by_day: dict[tuple[str, str], dict[date, dict[str, Any]]] = {}
    for share in enterprises.access_by_day(portal, scope, days).filter(pl.col("medium") == "all").to_dicts():
        by_day.setdefault((share["park"], share["members"]), {})[share["day"]] = share
    gaps = rows.filter(pl.col("medium") != "all", pl.col("state").is_in(_GAPS))
    context = {
        "scope": scope, "names": views.names(portal.site, scope), "parks": parks, "day": day, "today": today, "media": media, "table": table,
        "days": days, "by_day": by_day, "gaps": gaps.to_dicts(), "beside": rows.filter("undeclared", pl.col("medium") != "all").to_dicts(),
    }
    return page(request, "access.html", session, context)


@router.get("/projects")
def projects_page(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope) -> HTMLResponse:
    """Projects with state, quota, design and minutes, and what they will add."""
    return _projects(request, portal, session, scope, [])


@router.post("/projects/minutes")
def keep_minutes(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, file: Annotated[UploadFile | None, File()] = None,
    token: Text = "", project: Text = "", held_on: Text = "", subject: Text = "",
) -> Response:
    """Keep the minutes of a consultation."""
    if not portal.door.form_is_ours(token, session.nonce):
        raise HTTPException(400, "The form is out of date; load the page again.")
    scope.require_doing("propose")
    try:
        _keep(portal, scope, project, held_on, subject, file)
    except BadInputError as error:
        return _projects(request, portal, session, scope, error.problems)
    return RedirectResponse("/projects", status_code=303)


@router.get("/projects/minutes/{sha256}")
def minutes_file(portal: PortalOf, scope: PageScope, sha256: str) -> Response:
    """A file of minutes."""
    scope.require("evidence")
    return attached(*enterprises.minutes_file(portal, scope, sha256))


def _projects(request: Request, portal: Portal, session: Session, scope: Scope, problems: Any) -> HTMLResponse:
    first = portal.today().replace(day=1)
    last = first + timedelta(days=31 * (EXPECTED_MONTHS - 1))
    states = enterprises.projects(portal, scope)
    coming = enterprises.expected(portal, states, first, last)
    months = coming.filter(pl.col("period").is_not_null()).pivot("period", index=["project", "state"], values="calorific_tce", sort_columns=True)
    kept: dict[str, list[dict[str, Any]]] = {}
    for row in enterprises.minutes(portal, scope).to_dicts():
        kept.setdefault(row["project"], []).append(row)
    context = {
        "scope": scope, "names": views.names(portal.site, scope), "projects": states.to_dicts(), "minutes": kept,
        "months": [name for name in months.columns if name not in {"project", "state"}], "coming": months.to_dicts(),
        "lost": coming.filter(pl.col("period").is_null()).to_dicts(), "problems": problems, "most_mb": MAX_EVIDENCE_BYTES >> 20,
        "park_names": {row["park"]: row for row in scope.rows(portal.site.register.parks()).to_dicts()}, "today": portal.today(),
    }
    return page(request, "projects.html", session, context, status=422 if problems else 200)


def _keep(portal: Portal, scope: Scope, project: str, held_on: str, subject: str, file: UploadFile | None) -> None:
    problems = []
    if not enterprises.may_see(portal, scope, project):
        problems.append(Problem("project", f"{project!r} is not yours to see", "Name one of the projects of the list."))
    try:
        day = date.fromisoformat(held_on)
    except ValueError:
        problems.append(Problem("held_on", f"{held_on!r} is no day", "Write it as 2026-01-31."))
    if file is None or not file.filename:
        problems.append(Problem("file", "there is none", "Choose the file of the minutes."))
    if problems or file is None:
        raise BadInputError(problems)
    name = file.filename or "minutes"
    portal.site.minutes.add(project, day, subject, file.file.read(), name=name, by=scope.principal.name, at=portal.clock())
