"""Pages for people: one module for each, templates beside the package."""

from portal.pages import alerts, conformity, docs, edits, enterprise, estimates, gateways, login, overview, quality, quarantine, service

ROUTERS = (
    login.router, overview.router, enterprise.router, alerts.router, quarantine.router, service.router, gateways.router, conformity.router,
    edits.router, estimates.router, quality.router, docs.router,
)
