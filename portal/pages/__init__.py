"""Pages for people: one module for each, templates beside the package."""

from portal.pages import alerts, conformity, docs, enterprise, gateways, login, overview, quarantine, service

ROUTERS = (
    login.router, overview.router, enterprise.router, alerts.router, quarantine.router, service.router, gateways.router, conformity.router,
    docs.router,
)
