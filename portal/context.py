"""What every request works with: the site, the clock, the door; and who is asking."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Annotated, Protocol, cast

import polars as pl
from fastapi import Depends, Request

from config import calendar
from pipeline.intake import SharedCommit
from pipeline.site import Site
from portal.auth import Door, Session
from portal.i18n import Language, as_language
from portal.scope import Scope, scope_of

LANGUAGE_COOKIE = "tcewatch_language"


class ServiceHealth(Protocol):
    """How one service is."""

    @property
    def name(self) -> str: ...
    @property
    def alive(self) -> bool: ...
    @property
    def ready(self) -> bool: ...
    @property
    def detail(self) -> str: ...
    @property
    def since(self) -> datetime: ...
    @property
    def figures(self) -> Mapping[str, int]: ...


class HealthSource(Protocol):
    """Whatever runs services in this process."""

    def health(self) -> Mapping[str, ServiceHealth]:
        """Every service by name."""
        ...


@dataclass(frozen=True)
class Portal:
    """What the application was created with."""

    site: Site
    services: HealthSource | None
    clock: Callable[[], datetime]
    door: Door
    cache: dict[str, tuple[float, pl.DataFrame | None]] = field(default_factory=dict)  # what is asked for often: when, and what it was

    @cached_property
    def intake(self) -> SharedCommit:
        """Takes what is sent over HTTP into the journal."""
        return SharedCommit(self.site.journal)

    def today(self) -> date:
        """The site's local day."""
        return calendar.local_day(self.clock(), self.site.settings.site.zone)


class NotLoggedInError(Exception):
    """The request proves nobody."""


def portal_of(request: Request) -> Portal:
    """The application's own things."""
    return cast(Portal, request.app.state.portal)


def language_of(request: Request) -> Language:
    """The language of the reader: the cookie of the switch, else the site's."""
    return as_language(request.cookies.get(LANGUAGE_COOKIE), portal_of(request).site.settings.portal.language)


def session_of(request: Request) -> Session:
    """The session of a person with a browser.

    Raises:
        NotLoggedInError: there is none.
    """
    session = portal_of(request).door.session(request)
    if session is None:
        raise NotLoggedInError
    return session


def page_scope(request: Request, session: Annotated[Session, Depends(session_of)]) -> Scope:
    """What the person may see."""
    return scope_of(portal_of(request).site, session.principal)


def api_scope(request: Request) -> Scope:
    """What the sender of a bearer token, or else the person with a session, may see.

    A request with an Authorization header is judged by it alone: a bad token is not saved by a good cookie.

    Raises:
        NotLoggedInError: neither proves anybody.
    """
    portal = portal_of(request)
    if "authorization" in request.headers:
        principal = portal.door.bearer(request)
    else:
        session = portal.door.session(request)
        principal = session.principal if session else None
    if principal is None:
        raise NotLoggedInError
    return scope_of(portal.site, principal)


def gateway_of(request: Request) -> tuple[str, str]:
    """The gateway (enterprise, gateway) whose token the request carries.

    Raises:
        NotLoggedInError: it carries none.
    """
    principal = portal_of(request).door.gateway(request)
    if principal is None or principal.gateway is None:
        raise NotLoggedInError
    return principal.gateway


PortalOf = Annotated[Portal, Depends(portal_of)]
SessionOf = Annotated[Session, Depends(session_of)]
PageScope = Annotated[Scope, Depends(page_scope)]
ApiScope = Annotated[Scope, Depends(api_scope)]
GatewayOf = Annotated[tuple[str, str], Depends(gateway_of)]
