"""The API for machines: /api/v1."""

from portal.api import edits, estimates, found, measured, push, registered, validated

ROUTERS = (measured.router, registered.router, found.router, push.router, edits.router, edits.evidence_router, estimates.router, validated.router)
