"""Budgets against what was used, and verdicts that run."""

from typing import Annotated, Literal

import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import Response

from portal import budgets
from portal.api.answers import PagingOf, listed
from portal.api.measured import Name, Period
from portal.context import ApiScope, PortalOf

router = APIRouter(prefix="/api/v1", tags=["evaluated"])


@router.get("/budgets", summary="Goals of regions, parks and enterprises against what was used")
def budgets_of(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, of: Literal["warnings", "months"] = "warnings",
    subject: Annotated[str | None, Query(max_length=64)] = None, measure: Annotated[str | None, Query(max_length=64)] = None, period: Period = None,
    colour: Literal["red", "yellow", "green"] | None = None,
) -> Response:
    """As of the end of yesterday: gap, colour, the rate needed for the rest, the forecast of the year; `of=months`: its months.

    Beside the forecast, not in it: what projects that do not operate yet will add to the rest of the period (`expected_tce`).
    """
    scope.require("budgets")
    rows = budgets.warnings(portal.site, scope)
    wanted = {"subject": subject, "measure": measure, "colour": colour}
    asked = [pl.col(name) == value for name, value in wanted.items() if value is not None]
    rows = rows.filter(pl.col("period").str.starts_with(period or ""), *asked)
    if of == "months":
        return listed(budgets.months(portal.site, rows), ["subject", "measure", "period"], paging, "budget-months")
    return listed(budgets.with_expected(portal.site, rows, portal.today()), ["level", "subject", "measure", "kind", "period"], paging, "budgets")


@router.get("/verdicts/running", summary="Products by month, year so far, twelve months and year, and the forecast")
def running(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, enterprise: Name = None, product: Name = None,
    period_kind: Literal["month", "year_to_date", "rolling_12_months", "calendar_year", "year_forecast"] | None = None,
    near_limit: bool | None = None,
) -> Response:
    """Only a closed calendar year may make a finding (`may_find`); the others warn."""
    scope.require("verdicts")
    wanted = {"enterprise": enterprise, "product": product, "period_kind": period_kind, "near_limit": near_limit}
    rows = budgets.running(portal.site, scope).filter(*(pl.col(name) == value for name, value in wanted.items() if value is not None))
    keys = ["enterprise", "product", "indicator", "line", "plant_status", "period_kind", "period_start", "period_end", "standard", "edition"]
    return listed(rows, keys, paging, "running-verdicts")
