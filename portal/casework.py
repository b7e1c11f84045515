"""Read models of alerts and cases, within a scope."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from config.findings import OpenAlert
from pipeline.site import Site
from portal.scope import NotFoundError, Scope


def open_alerts(site: Site, scope: Scope) -> list[OpenAlert]:
    """Open alerts of the visible enterprises."""
    every = site.casebook.open_alerts()
    seen = scope.rows(pl.DataFrame({"enterprise": [one.enterprise for one in every]}, schema={"enterprise": pl.String()}))
    return [one for one in every if one.enterprise in set(seen["enterprise"])]


def alerts(site: Site, scope: Scope, *, open_only: bool, limit: int, after: int | None = None) -> pl.DataFrame:
    """Alerts of the visible enterprises, newest first, with `facts` as JSON; `after` is the last id of the page before."""
    return scope.rows(site.casebook.alerts(open_only=open_only, limit=limit, after=after, enterprises=scope.only))


def alert(site: Site, scope: Scope, number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An alert and its history.

    Raises:
        NotFoundError: there is no such alert within the scope.
    """
    return _with_facts(site.casebook.alert(number), scope)


def cases(site: Site, scope: Scope, *, limit: int = 1000, after: int | None = None) -> pl.DataFrame:
    """Cases of the visible enterprises, newest first, with `facts` as JSON."""
    return scope.rows(site.casebook.cases(limit=limit, after=after, enterprises=scope.only))


def case(site: Site, scope: Scope, number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A case, with its evidence in `facts`, and its history.

    Raises:
        NotFoundError: there is no such case within the scope.
    """
    return _with_facts(site.casebook.case(number), scope)


def _with_facts(
    found: tuple[Mapping[str, Any], pl.DataFrame] | None, scope: Scope,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if found is None:
        raise NotFoundError
    row, history = found
    scope.check(row["enterprise"])
    return {**row, "facts": json.loads(row["facts"])}, history.to_dicts()
