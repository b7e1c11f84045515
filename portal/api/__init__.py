"""The API for machines: /api/v1."""

from portal.api import found, measured, registered

ROUTERS = (measured.router, registered.router, found.router)
