"""Is it alive, is it ready, and its metrics: for the portal, and for services that run in processes of their own."""

from collections.abc import Callable, Collection
from datetime import datetime

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from pipeline.site import Site
from portal import operation
from portal.auth import Door, now
from portal.context import HealthSource, Portal, PortalOf
from portal.errors import answer_errors
from portal.metrics import exposition, may_scrape
from portal.middleware import SecurityHeaders

router = APIRouter(tags=["health"])


@router.get("/health/live", summary="Whether the process works: no service of it has died")
def live(portal: PortalOf) -> JSONResponse:
    """200 where every service's thread runs, else 503: start the process again."""
    return _answer({name: one.alive for name, one in operation.running(portal).items()})


@router.get("/health/ready", summary="Whether the stores answer and nothing keeps a service from its work")
def ready(portal: PortalOf) -> JSONResponse:
    """200 where it can work, else 503 with what cannot ("low": disk space runs short); why is on the service page and in the log, not here."""
    stores = {name: not trouble for name, trouble in operation.stores(portal).items()}
    low = {"disk"} if stores["disk"] and portal.site.free_mb() < portal.site.settings.retention.warn_free_mb else set()
    return _answer({**stores, **{name: one.ready for name, one in operation.running(portal).items()}}, low)


@router.get("/metrics", summary="Prometheus metrics", dependencies=[Depends(may_scrape)], response_class=Response)
def metrics(portal: PortalOf) -> Response:
    """Free from this machine, else with a token of scope `read` for all parks."""
    return Response(exposition(portal), media_type=CONTENT_TYPE_LATEST)


def health_app(site: Site, *, services: HealthSource | None = None, clock: Callable[[], datetime] = now) -> FastAPI:
    """Health and metrics alone, for services that run apart from the pages."""
    app = FastAPI(title="tcewatch health", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.portal = Portal(site, services, clock, Door(site, clock))
    app.include_router(router)
    answer_errors(app)
    app.add_middleware(SecurityHeaders)
    return app


def _answer(parts: dict[str, bool], low: Collection[str] = ()) -> JSONResponse:
    fine = all(parts.values())
    states = {name: "failed" if not well else "low" if name in low else "ok" for name, well in parts.items()}
    return JSONResponse({"status": "ok" if fine else "failed", "parts": states}, 200 if fine else 503)
