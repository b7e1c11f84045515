"""One enterprise: five media over time, both bases side by side, verdicts with all that they rest on."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import polars as pl
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from monitors.accounts import links
from portal import budgets, operation, views
from portal.context import PageScope, PortalOf, SessionOf, language_of
from portal.i18n import Language, term
from portal.pages.render import named, page, unit_text
from portal.sankey import drawn
from portal.scope import NotFoundError

router = APIRouter(include_in_schema=False)


@router.get("/enterprises/{enterprise}")
def enterprise_page(
    request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, enterprise: str, grain: views.Grain = "day",
) -> HTMLResponse:
    """The page of an enterprise; charts by day or by month."""
    last, from_readings = operation.last_readings(portal, scope)
    shown = views.enterprise(portal, scope, enterprise, grain, last)
    language = language_of(request)
    for chart in shown.charts:
        chart["drawn"] = [
            {"name": _series_name(language, one["carrier"], one["flow"]), "unit": unit_text(one["unit"]), "values": one["values"]}
            for one in chart["series"]
        ]
    drawing = drawn(links(shown.balance).to_dicts(), partial(_node_name, language, shown.products))
    rules = portal.site.energy_figures().unique("figure", keep="last", maintain_order=True).to_dicts()
    running = budgets.running(portal.site, scope).filter(pl.col("enterprise") == enterprise)
    stated = portal.site.figures.renewables().filter(pl.col("enterprise") == enterprise).sort("period", descending=True).head(views.PAGE_ROWS)
    return page(request, "enterprise.html", session, {
        "running": running.to_dicts(), "levels": budgets.levels(running),
        "scope": scope, "it": shown, "grain": grain, "from_readings": from_readings,
        "balance": shown.balance.to_dicts(), "drawing": drawing, "rules": rules, "renewables": stated.to_dicts(),
    })


@router.get("/enterprises/{enterprise}/registers")
def registers_part(request: Request, portal: PortalOf, session: SessionOf, scope: PageScope, enterprise: str) -> HTMLResponse:
    """The registers with their last readings, fetched again every few seconds."""
    last, from_readings = operation.last_readings(portal, scope)
    mine = [row for row in last.to_dicts() if row["enterprise"] == enterprise]
    if not mine:
        raise NotFoundError
    return page(request, "parts/registers.html", session, {"registers": mine, "from_readings": from_readings})


def _node_name(language: Language, products: Mapping[str, Mapping[str, Any]], kind: str, name: str) -> str:
    if kind == "carrier":
        return term(language, "carrier", name)
    if kind == "process":
        return named(language, products[name], "product") if name in products else name or term(language, "node", "use")
    return term(language, "flow", name)


def _series_name(language: Language, carrier: str, flow: str) -> str:
    name = term(language, "carrier", carrier)
    return name if flow in {"consumed", "purchased"} else f"{name} · {term(language, 'flow', flow)}"
