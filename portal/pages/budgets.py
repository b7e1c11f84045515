"""Budgets of regions, parks and enterprises: colours, what is needed for the rest, and where the year is heading."""

from typing import Annotated

import polars as pl
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from portal import budgets, views
from portal.context import PageScope, PortalOf, SessionOf
from portal.pages.render import page

router = APIRouter(include_in_schema=False)


@router.get("/budgets")
def budgets_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, subject: Annotated[str, Query(max_length=64)] = "",
    year: Annotated[str, Query(pattern=r"^(\d{4})?$")] = "",
) -> HTMLResponse:
    """The budgets of a year, the newest that there is unless another is asked for; of one subject or of all."""
    rows = budgets.warnings(portal.site, scope)
    years = sorted(rows["period"].str.slice(0, 4).unique(), reverse=True)
    asked = year or (years[0] if years else str(portal.today().year))
    shown = rows.filter(pl.col("period").str.starts_with(asked), pl.lit(subject == "") | (pl.col("subject") == subject))
    shown = budgets.with_expected(portal.site, shown, portal.today())
    running_year = shown if asked == str(portal.today().year) else shown.clear()
    context = {
        "scope": scope, "names": views.names(portal.site, scope), "rows": shown.to_dicts(), "year": asked, "years": years, "subject": subject,
        "parks": {row["park"]: row for row in scope.rows(portal.site.register.parks()).to_dicts()},
        "regions": {row["region"]: row for row in portal.site.register.regions().to_dicts()},
        "charts": budgets.drawn(budgets.months(portal.site, running_year)), "as_of": rows["through"].max(),
        "colours": dict(shown.group_by("colour").len().iter_rows()),
    }
    return page(request, "budgets.html", session, context)
