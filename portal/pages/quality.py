"""Data quality: the index with its six parts, verifications that run out, repairs and exchanges within three working days."""

from datetime import timedelta
from typing import Annotated, Final

import polars as pl
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from config import calendar
from config.schemas import QUALITY_PARTS
from portal import quality, views
from portal.context import PageScope, PortalOf, SessionOf
from portal.pages.render import page

router = APIRouter(include_in_schema=False)
SHOWN: Final = 50  # rows of a list


@router.get("/quality")
def quality_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope,
    month: Annotated[str, Query(pattern=r"^(20\d{2}-(0[1-9]|1[0-2]))?$")] = "", enterprise: Annotated[str, Query(max_length=64)] = "",
) -> HTMLResponse:
    """One month: parks and enterprises, or the meters of one enterprise; what is due and what is to be repaired as of now."""
    today = portal.today()
    first, last = calendar.period_days(month or f"{today:%Y-%m}")
    found = quality.indices(portal, scope, ("meter",) if enterprise else ("enterprise", "park"), first, last)
    rows = found["meter" if enterprise else "enterprise"].to_dicts()
    parks = [] if enterprise else found["park"].to_dicts()
    due = quality.verifications(portal, scope).filter(pl.col("state") != "valid")
    repairs, exchanges = quality.repairs(portal, scope), quality.exchanges(portal, scope)
    if enterprise:
        rows = [row for row in rows if row["enterprise"] == enterprise]
        due, repairs, exchanges = (frame.filter(pl.col("enterprise") == enterprise) for frame in (due, repairs, exchanges))
    context = {
        "scope": scope, "names": views.names(portal.site, scope), "enterprise": enterprise, "month": f"{first:%Y-%m}",
        "before": f"{first - timedelta(days=1):%Y-%m}", "after": f"{last + timedelta(days=1):%Y-%m}" if last < today else "",
        "codes": QUALITY_PARTS, "rows": [{**row, "parts": quality.parts(row)} for row in rows],
        "parks": [{**row, "parts": quality.parts(row)} for row in parks],
        "park_names": {row["park"]: row for row in scope.rows(portal.site.register.parks()).to_dicts()},
        "due": due.head(SHOWN).to_dicts(), "due_count": due.height, "repairs": repairs.head(SHOWN).to_dicts(), "repair_count": repairs.height,
        "exchanges": exchanges.head(SHOWN).to_dicts(), "exchange_count": exchanges.height,
        "source": next((row["source"] for row in [*parks, *rows]), ""), "today": today,
    }
    return page(request, "quality.html", session, context)
