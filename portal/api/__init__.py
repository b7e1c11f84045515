"""The API for machines: /api/v1."""

from portal.api import budgets, edits, enterprises, estimates, exports, found, measured, push, registered, validated

ROUTERS = (  # paths of words before those that take any name
    enterprises.router, budgets.router, measured.router, registered.router, found.router, push.router, edits.router, edits.evidence_router,
    estimates.router, validated.router, exports.router,
)
