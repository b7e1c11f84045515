"""Gateways: whether they are there, how their clocks go, how far they have counted, and how complete their data are."""

from datetime import timedelta
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from portal import operation, quality, views
from portal.context import PageScope, PortalOf, SessionOf
from portal.pages.render import page

router = APIRouter(include_in_schema=False)
DAYS: Final = 7
SIGNS_SHOWN: Final = 50
ASKED_FOR: Final = 0.9  # share of slots, by national monitoring


@router.get("/gateways")
def gateways_page(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope) -> HTMLResponse:
    """Gateways, signs of registers that are not alive, and completeness of the last days."""
    today = portal.today()
    by_register = quality.data_quality(portal, scope, "readings", today - timedelta(days=DAYS - 1), today)
    complete: dict[str, dict[str, float]] = {}
    for enterprise, day, ratio in quality.summed_by_day(by_register).iter_rows():
        complete.setdefault(enterprise, {})[str(day)] = ratio
    poor = quality.least_complete(by_register, ASKED_FOR)
    signs = operation.signs(portal, scope)
    context = {
        "scope": scope, "names": views.names(portal.site, scope), "gateways": operation.gateways(portal, scope).to_dicts(),
        "signs": signs.head(SIGNS_SHOWN).to_dicts(), "sign_count": signs.height, "complete": complete,
        "poor": [{**row, "by_day": dict(zip(map(str, row["days"]), row["ratios"], strict=True))} for row in poor.head(SIGNS_SHOWN).to_dicts()],
        "poor_count": poor.height, "asked_for": ASKED_FOR,
        "days": [str(today - timedelta(days=back)) for back in range(DAYS)],
    }
    return page(request, "gateways.html", session, context)
