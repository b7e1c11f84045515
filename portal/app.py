"""The application: pages for people, the API for machines, health and metrics for operators."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from pipeline.site import Site
from portal import api, health, pages
from portal.auth import Door, now
from portal.context import HealthSource, Portal
from portal.errors import answer_errors
from portal.middleware import SecurityHeaders
from portal.pages.render import STATIC

MAX_BODY_BYTES: Final = 65_536  # forms; nothing larger is sent to the pages or the API


def create_app(site: Site, *, services: HealthSource | None = None, clock: Callable[[], datetime] = now) -> FastAPI:
    """Pages, API, health and metrics of one site.

    Args:
        site: the adapters; what is asked for is opened on first use.
        services: what runs in this process, for its health; a DuckDB store is opened only beside `settle` or `roll`.
        clock: the present instant, UTC.

    Raises:
        StoreUnavailableError: the data folder cannot be written.
    """
    app = FastAPI(
        title="tcewatch", version="1", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", max_body_size=MAX_BODY_BYTES,
        description="Energy of industrial parks: readings, consumption, energy on both bases, intensities, verdicts, alerts and cases. "
        "Send `Authorization: Bearer TOKEN`. Lists page by `cursor`; errors are RFC 9457 problem documents.",
    )
    app.state.portal = Portal(site, services, clock, Door(site, clock))
    app.mount("/static", StaticFiles(directory=str(STATIC)), name="static")
    for router in (*pages.ROUTERS, *api.ROUTERS, health.router):
        app.include_router(router)
    answer_errors(app)
    app.add_middleware(SecurityHeaders)
    return app
