"""Registers of enterprises: key energy users, access by park and medium, projects."""

from datetime import date, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from portal import enterprises
from portal.api.answers import PagingOf, attached, listed
from portal.api.measured import Name
from portal.api.problems import ProblemError
from portal.context import ApiScope, PortalOf

router = APIRouter(prefix="/api/v1", tags=["enterprises"])
LONGEST_MONTHS = 120


@router.get("/enterprises/key", summary="Key energy users, by the energy of each year")
def key_units(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, year: Annotated[int | None, Query(ge=1949, le=2200)] = None, enterprise: Name = None,
) -> Response:
    """Status by the thresholds of art. 52 of the Energy Conservation Law, entry and exit, watch list, both bases, each with its reason.

    A year that is not over, or of which not enough is known, is `unknown`.
    """
    scope.require("register")
    return listed(enterprises.key_units(portal, scope, year, enterprise), ["enterprise", "year"], paging, "key-energy-users")


@router.get("/parks/access", summary="Whose data of which medium are on line")
def access(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, of: Literal["shares", "enterprises"] = "shares",
    first: Annotated[date | None, Query(alias="from", description="First local day; without it: live.")] = None,
    last: Annotated[date | None, Query(alias="to", description="Last local day, included.")] = None,
) -> Response:
    """`of=shares`: of the key and the other enterprises of a park that use a medium, the share on line, against its goal.

    `of=enterprises`: each enterprise and medium with its state and the meters that it lacks; of one day at most.
    """
    scope.require("register")
    end = last or first
    if (first is None) != (last is None) and first is None:
        raise ProblemError(400, "no-from", "`to` names the last day. Give `from` too.")
    if first is not None and end is not None and not timedelta() <= end - first < timedelta(days=enterprises.LONGEST_DAYS):
        raise ProblemError(400, "too-many-days", f"Ask for 1 to {enterprises.LONGEST_DAYS} days, `to` not before `from`.")
    if of == "enterprises":
        if first != end:
            raise ProblemError(400, "one-day", "Ask for the enterprises of one day, or without days for those of now.")
        return listed(enterprises.access(portal, scope, first)[0], ["park", "enterprise", "medium"], paging, "access")
    if first is None or end is None:
        return listed(enterprises.access(portal, scope)[1], ["park", "members", "medium"], paging, "access-shares")
    days = [first + timedelta(days=number) for number in range((end - first).days + 1)]
    return listed(enterprises.access_by_day(portal, scope, days), ["day", "park", "members", "medium"], paging, "access-shares")


@router.get("/projects", summary="New projects with quota, design and start")
def projects(portal: PortalOf, scope: ApiScope, paging: PagingOf, enterprise: Name = None) -> Response:
    """Where each project stands, its quota, and whether its design reaches the advanced level."""
    scope.require("register")
    rows = enterprises.projects(portal, scope)
    return listed(rows if enterprise is None else rows.filter(enterprise=enterprise), ["project"], paging, "projects")


@router.get("/projects/expected", summary="What approved projects will add, by month")
def expected(
    portal: PortalOf, scope: ApiScope, paging: PagingOf,
    first: Annotated[date, Query(alias="from", description="A day of the first month.")],
    last: Annotated[date, Query(alias="to", description="A day of the last month.")],
) -> Response:
    """Approved energy spread over the days of operation; a row without period says what cannot be told of a project, and why."""
    scope.require("register")
    if not 0 <= 12 * (last.year - first.year) + last.month - first.month < LONGEST_MONTHS:
        raise ProblemError(400, "too-many-months", f"Ask for 1 to {LONGEST_MONTHS} months, `to` not before `from`.")
    return listed(enterprises.expected(portal, enterprises.projects(portal, scope), first, last), ["project", "period"], paging, "expected-energy")


@router.get("/projects/minutes", summary="Minutes of consultations about projects")
def minutes(portal: PortalOf, scope: ApiScope, paging: PagingOf) -> Response:
    """Day, subject and the SHA-256 of the file."""
    scope.require("register")
    return listed(enterprises.minutes(portal, scope), ["project", "held_on", "evidence"], paging, "minutes")


@router.get("/projects/minutes/{sha256}", summary="A file of minutes")
def minutes_file(portal: PortalOf, scope: ApiScope, sha256: str) -> Response:
    """The bytes as they were kept."""
    scope.require("evidence")
    return attached(*enterprises.minutes_file(portal, scope, sha256))
