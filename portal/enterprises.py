"""Read models of the registers of enterprises: key energy users, access, projects, as far as a principal may see them."""

from collections.abc import Iterable
from datetime import date

import polars as pl

from monitors.projects import expected_energy
from pipeline import enterprises
from portal.context import Portal
from portal.scope import NotFoundError, Scope

LONGEST_DAYS = 31  # of access by day: each day is worked out anew


def key_units(portal: Portal, scope: Scope, year: int | None = None, enterprise: str | None = None) -> pl.DataFrame:
    """KEY_UNIT of the visible enterprises as of today, of all years or one."""
    rows = scope.rows(enterprises.key_energy_users(portal.site, portal.today()))
    chosen = ((column, value) for column, value in (("year", year), ("enterprise", enterprise)) if value is not None)
    return rows.filter(*(pl.col(column) == value for column, value in chosen))


def access(portal: Portal, scope: Scope, day: date | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """ACCESS of the visible places of enterprises, and ACCESS_SHARE of the visible parks: of a local day, else live.

    The shares are those of whole parks; who is behind them is told of visible enterprises only.
    """
    on = day or portal.today()
    rows = enterprises.access(portal.site, on, portal.clock(), live=day is None)
    return _in_parks(scope, rows), scope.rows(enterprises.access_shares(portal.site, rows, on))


def access_by_day(portal: Portal, scope: Scope, days: Iterable[date]) -> pl.DataFrame:
    """DAY_SHARES of the visible parks."""
    return scope.rows(enterprises.access_by_day(portal.site, days, portal.clock()))


def projects(portal: Portal, scope: Scope) -> pl.DataFrame:
    """PROJECT_STATE of the visible projects as of today."""
    return _in_parks(scope, enterprises.project_states(portal.site, portal.today()))


def expected(portal: Portal, states: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    """EXPECTED_ENERGY of what `projects` gave, in the months from `first` to `last`."""
    return expected_energy(states, first, last, portal.today())


def may_see(portal: Portal, scope: Scope, project: str) -> bool:
    """Whether there is such a project and the principal may see it."""
    return project in _in_parks(scope, portal.site.register.projects())["project"]


def minutes(portal: Portal, scope: Scope) -> pl.DataFrame:
    """MINUTES of the visible projects."""
    visible = _in_parks(scope, portal.site.register.projects())
    return scope.rows(portal.site.minutes.rows()).join(visible, on="project", how="semi")


def minutes_file(portal: Portal, scope: Scope, sha256: str) -> tuple[str, bytes]:
    """Name and content of the minutes of a visible project.

    Raises:
        NotFoundError: there are none, or they are not the principal's to see.
        StoreUnavailableError: the file is gone or is not what was kept.
    """
    if minutes(portal, scope).filter(pl.col("evidence") == sha256).is_empty() or (found := portal.site.edits.evidence(sha256)) is None:
        raise NotFoundError
    return found


def _in_parks(scope: Scope, rows: pl.DataFrame) -> pl.DataFrame:
    seen = scope.rows(rows)
    return seen if scope.everything else seen.filter(pl.col("park").is_in(sorted(scope.parks)))
