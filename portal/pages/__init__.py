"""Pages for people: one module for each, templates beside the package."""

from portal.pages import (
    alerts,
    budgets,
    conformity,
    docs,
    edits,
    enterprise,
    enterprises,
    estimates,
    gateways,
    login,
    overview,
    papers,
    quality,
    quarantine,
    service,
    signs,
)

ROUTERS = (
    login.router, overview.router, enterprise.router, alerts.router, quarantine.router, service.router, gateways.router, conformity.router,
    edits.router, estimates.router, quality.router, enterprises.router, budgets.router, signs.router, papers.router, docs.router,
)
