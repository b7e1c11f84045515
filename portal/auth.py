"""Who is asking: signed session cookies for people, bearer tokens for machines, and what slows down a guesser."""

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from itsdangerous import BadSignature, URLSafeSerializer
from starlette.requests import Request
from starlette.responses import Response

from config.errors import StoreUnavailableError
from pipeline.site import Site
from store.people import Principal

SESSION_COOKIE: Final = "tcewatch_session"
VISIT_COOKIE: Final = "tcewatch_visit"  # ties the login form to the browser that asked for it
FAILURES_PER_NAME: Final = 5  # for one name from one address
FAILURES_PER_ADDRESS: Final = 30
WINDOW: Final = timedelta(minutes=5)
REMEMBERED: Final = 10_000  # guessers kept in mind; the oldest is forgotten first
HASHES_AT_ONCE: Final = 2  # one argon2id check takes tens of MiB


@dataclass(frozen=True, slots=True)
class Session:
    """A person who has logged in with a browser."""

    principal: Principal
    nonce: str
    expires: datetime


@dataclass
class Throttle:
    """Counts failed logins in memory; the clock is given."""

    _failures: OrderedDict[tuple[str, ...], list[datetime]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_s(self, name: str, address: str, at: datetime) -> int:
        """For how many seconds this name from this address has to wait; 0: it may try."""
        with self._lock:
            waits = [
                (recent[-allowed] + WINDOW - at).total_seconds()
                for key, allowed in _keys(name, address)
                if len(recent := self._recent(key, at)) >= allowed
            ]
        return max((int(wait) + 1 for wait in waits), default=0)

    def failed(self, name: str, address: str, at: datetime) -> None:
        """Note a failed login."""
        with self._lock:
            for key, allowed in _keys(name, address):
                self._failures[key] = [*self._recent(key, at), at][-allowed:]
                self._failures.move_to_end(key)
            while len(self._failures) > REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of this name from this address (not those of the address)."""
        with self._lock:
            self._failures.pop((name, address), None)

    def _recent(self, key: tuple[str, ...], at: datetime) -> list[datetime]:
        return [one for one in self._failures.get(key, []) if one > at - WINDOW]


def _keys(name: str, address: str) -> list[tuple[tuple[str, ...], int]]:
    return [((name, address), FAILURES_PER_NAME), ((address,), FAILURES_PER_ADDRESS)]


class Door:
    """Checks who comes in; one for each application."""

    def __init__(self, site: Site, clock: Callable[[], datetime]) -> None:
        self._site, self._clock = site, clock
        self._secret = _secret(site.data_dir / "portal.key")
        self._signer = URLSafeSerializer(self._secret, salt="session", signer_kwargs={"digest_method": hashlib.sha256})
        self._throttle = Throttle()
        self._hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)
        self._ended: dict[str, datetime] = {}  # sessions logged out before they expired

    def wait_s(self, name: str, address: str) -> int:
        """For how many seconds a login must wait; 0: it may try."""
        return self._throttle.wait_s(name, address, self._clock())

    def login(self, name: str, password: str, address: str) -> Session | None:
        """A new session, or None where name and password do not fit (which then counts against the guesser)."""
        now = self._clock()
        with self._hashing:
            principal = self._site.people.login(name, password, now)
        if principal is None:
            self._throttle.failed(name, address, now)
            return None
        self._throttle.succeeded(name, address)
        return Session(principal, secrets.token_urlsafe(16), now + timedelta(hours=self._site.settings.portal.session_hours))

    def give(self, response: Response, session: Session) -> None:
        """Put the session into the answer's cookie."""
        text = self._signer.dumps({"name": session.principal.name, "nonce": session.nonce, "expires": session.expires.timestamp()})
        self._cookie(response, SESSION_COOKIE, str(text), max_age=int((session.expires - self._clock()).total_seconds()))
        response.delete_cookie(VISIT_COOKIE)

    def session(self, request: Request) -> Session | None:
        """The session that the request's cookie proves, with the person's roles as they are now."""
        try:
            claims = self._signer.loads(request.cookies.get(SESSION_COOKIE, ""))
        except BadSignature:
            return None
        now = self._clock()
        expires = datetime.fromtimestamp(claims["expires"], now.tzinfo)
        if expires <= now or claims["nonce"] in self._ended:
            return None
        principal = self._site.people.user(claims["name"])
        return None if principal is None else Session(principal, claims["nonce"], expires)

    def end(self, response: Response, session: Session) -> None:
        """Log out: the cookie is worthless from now on, wherever a copy of it lies."""
        now = self._clock()
        self._ended = {nonce: expires for nonce, expires in self._ended.items() if expires > now} | {session.nonce: session.expires}
        response.delete_cookie(SESSION_COOKIE)

    def bearer(self, request: Request) -> Principal | None:
        """The principal of the request's bearer token; None for a gateway's, which opens nothing but the gateway's own door."""
        principal = self._token(request)
        return principal if principal is not None and principal.gateway is None else None

    def gateway(self, request: Request) -> Principal | None:
        """The gateway that the request's bearer token stands for."""
        principal = self._token(request)
        return principal if principal is not None and principal.gateway is not None else None

    def _token(self, request: Request) -> Principal | None:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            return None
        return self._site.people.token(text.strip(), self._clock())

    def visit(self, request: Request, response: Response) -> str:
        """The form token of a visitor who has not logged in; a new visitor gets a cookie."""
        if not (nonce := request.cookies.get(VISIT_COOKIE)):
            nonce = secrets.token_urlsafe(16)
            self._cookie(response, VISIT_COOKIE, nonce, max_age=3600)
        return self.form_token(nonce)

    def form_token(self, nonce: str) -> str:
        """What a form must send back, bound to a session or a visit: another site cannot know it."""
        return hmac.new(self._secret, b"form:" + nonce.encode(), hashlib.sha256).hexdigest()

    def form_is_ours(self, given: str, nonce: str | None) -> bool:
        """Whether a form carries the token of this session or visit."""
        return nonce is not None and hmac.compare_digest(given.encode(), self.form_token(nonce).encode())

    def _cookie(self, response: Response, name: str, value: str, *, max_age: int) -> None:
        response.set_cookie(name, value, max_age=max_age, httponly=True, samesite="lax", secure=self._site.settings.portal.secure_cookies)


def now() -> datetime:
    """The present instant."""
    return datetime.now(UTC)


def address_of(request: Request) -> str:
    """The address that the request came from."""
    return request.client.host if request.client else "unknown"


def _secret(path: Path) -> bytes:
    """The key that signs sessions, made on first use and readable by its owner only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):  # another process was quicker: its key counts
                os.link(draft, path)
            Path(draft).unlink()
        return path.read_bytes()
    except OSError as error:
        raise StoreUnavailableError(path, error, "Make the data folder writable for this user.") from error
