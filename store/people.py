"""People, their passwords and roles, and the tokens of machines."""

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl
from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from config.errors import BadInputError, Problem
from config.schemas import INSTANT
from store import audit
from store.database import Database
from store.models import GATEWAY, TOKEN, USER

ROLES: Final = ("admin", "operator", "regulator", "evaluator", "viewer")
# What a token may read, named as the collections of the API; "read" is all of them. "propose" lets it propose edits, and nothing else does.
SCOPES: Final = (
    "read", "register", "readings", "consumption", "intensities", "verdicts", "alerts", "cases", "figures", "quarantine", "edits", "evidence",
    "signs", "budgets", "propose",
)
MIN_PASSWORD: Final = 12
MAX_PASSWORD: Final = 256  # hashing a longer one would only cost time
_TOKEN_BYTES: Final = 32
_PREFIX: Final = "tce_"  # of a token: lets a scanner of repositories recognise a leaked one
_USERS = pl.Schema({"name": pl.String(), "roles": pl.List(pl.String()), "parks": pl.List(pl.String()), "created_at": INSTANT})
_TOKENS = pl.Schema({
    "name": pl.String(), "scopes": pl.List(pl.String()), "parks": pl.List(pl.String()),
    "created_at": INSTANT, "expires_at": INSTANT, "revoked_at": INSTANT, "enterprise": pl.String(), "gateway": pl.String(),
})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a person, or a machine with a token. parks None: all parks. scopes None: whatever the roles allow.

    `gateway` (enterprise, gateway): a gateway, which sends its own readings and asks for nothing else.
    """

    name: str
    roles: frozenset[str]
    parks: frozenset[str] | None
    scopes: frozenset[str] | None = None
    gateway: tuple[str, str] | None = None

    def allows(self, scope: str) -> bool:
        """Whether a request for that collection may be answered at all."""
        return self.scopes is None or scope in self.scopes or "read" in self.scopes


class People:
    """Passwords are kept as argon2id hashes, tokens as SHA-256 of 32 random bytes: neither can be read back."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._hashes = PasswordHash.recommended()
        self._nobody = self._hashes.hash(secrets.token_hex())  # an unknown name costs as much time as a wrong password

    def add_user(self, name: str, password: str, roles: Collection[str], parks: Collection[str] | None, at: datetime, *, by: str = "") -> None:
        """Add a person; the first must be an administrator.

        Args:
            name: for the login.
            password: 12 to 256 characters.
            roles: of ROLES, at least one.
            parks: the parks whose data the person may see; None: all.
            at: now.
            by: who adds the person, for the audit (default: the person's own name).

        Raises:
            BadInputError: a name that exists or is empty, a weak password, an unknown role, no administrator yet.
        """
        name = name.strip()
        problems = _unknown("role", roles, ROLES)
        if not name or len(name) > 64 or not name.isprintable():
            problems.append(Problem("user name", f"{name!r} cannot be used", "Give 1 to 64 printable characters."))
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            remedy = f"Choose {MIN_PASSWORD} to {MAX_PASSWORD}; several words make a good one."
            problems.append(Problem("password", f"has {len(password)} characters", remedy))
        if problems:
            raise BadInputError(problems)
        row = {"name": name, "password_hash": self._hashes.hash(password), "roles": _json(roles), "parks": _json(parks), "created_at": at}
        with self._db.session() as session:
            if "admin" not in roles and not session.execute(select(func.count()).select_from(USER)).scalar_one():
                problem = Problem("role", "there is no administrator yet", "Add the first person with --role admin.")
                raise BadInputError([problem])
            try:
                session.execute(insert(USER).values(**row))
            except IntegrityError:
                raise BadInputError([Problem("user name", f"{name!r} exists", "Choose another name.")]) from None
            audit.append(session, by=by or name, action="user.add", subject=name, details={"roles": sorted(roles), "parks": parks and sorted(parks)})

    def login(self, name: str, password: str, at: datetime) -> Principal | None:  # noqa: ARG002 - part of the promise: accounts may come to have dates
        """The person with that name and password, or None; both answers take the same time."""
        with self._db.reading() as session:
            row = session.execute(select(USER).where(USER.c.name == name.strip())).mappings().one_or_none() if name.isprintable() else None
        try:
            right = len(password) <= MAX_PASSWORD and self._hashes.verify(password, row["password_hash"] if row else self._nobody)
        except (PwdlibError, UnicodeEncodeError):
            right = False
        return _person(row) if row is not None and right else None

    def user(self, name: str) -> Principal | None:
        """The person with that name, with roles and parks as they are now."""
        with self._db.reading() as session:
            row = session.execute(select(USER).where(USER.c.name == name)).mappings().one_or_none()
        return None if row is None else _person(row)

    def add_token(
        self, name: str, scopes: Collection[str], parks: Collection[str] | None, at: datetime, expires: datetime | None, *, by: str = "",
    ) -> str:
        """Make a token for a machine; its text is returned this once and cannot be had again.

        Args:
            name: what it is for.
            scopes: of SCOPES, at least one.
            parks: the parks whose data it may read; None: all.
            at: now.
            expires: from when on it is refused; None: never.
            by: who makes it, for the audit.

        Raises:
            BadInputError: a name that exists or is empty, an unknown scope, an end that has passed.
        """
        values = {"roles": _json(["viewer"]), "scopes": _json(scopes), "parks": _json(parks)}
        details = {"scopes": sorted(scopes), "parks": parks and sorted(parks)}
        return self._add_token(name, values, _unknown("scope", scopes, SCOPES), details, at, expires, by)

    def add_gateway_token(self, name: str, gateway: tuple[str, str], at: datetime, expires: datetime | None, *, by: str = "") -> str:
        """Make a token with which one gateway (enterprise, gateway) sends its readings, and which reads nothing; its text is returned this once.

        Raises:
            BadInputError: a name that exists or is empty, a gateway that is not registered, an end that has passed.
        """
        enterprise, of_gateway = gateway
        known = (GATEWAY.c.enterprise == enterprise) & (GATEWAY.c.gateway == of_gateway) & GATEWAY.c.known_to.is_(None)
        with self._db.reading() as session:
            is_known = session.execute(select(GATEWAY.c.id).where(known)).first() is not None
        problem = Problem("gateway", f"{enterprise}/{of_gateway} is not registered", "Name a registered one as ENTERPRISE/GATEWAY.")
        values = {"roles": _json([]), "scopes": _json([]), "parks": _json([]), "enterprise": enterprise, "gateway": of_gateway}
        return self._add_token(name, values, [] if is_known else [problem], {"gateway": f"{enterprise}/{of_gateway}"}, at, expires, by)

    def _add_token(
        self, name: str, values: Mapping[str, Any], problems: list[Problem], details: Mapping[str, Any], at: datetime, expires: datetime | None,
        by: str,
    ) -> str:
        name = name.strip()
        if not name or len(name) > 64 or not name.isprintable():
            problems.append(Problem("token name", f"{name!r} cannot be used", "Give 1 to 64 printable characters."))
        if expires is not None and expires <= at:
            problems.append(Problem("expiry", f"{expires.isoformat()} has passed", "Give a later one."))
        if problems:
            raise BadInputError(problems)
        secret = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        row = {"name": name, "digest": _digest(secret), "created_at": at, "expires_at": expires, **values}
        with self._db.session() as session:
            try:
                session.execute(insert(TOKEN).values(**row))
            except IntegrityError:
                raise BadInputError([Problem("token name", f"{name!r} exists", "Choose another name.")]) from None
            audit.append(session, by=by or name, action="token.add", subject=name, details={**details, "expires": expires})
        return secret

    def token(self, text: str, at: datetime) -> Principal | None:
        """Whom a token stands for at that instant; None where it is unknown, expired or revoked."""
        with self._db.reading() as session:
            row = session.execute(select(TOKEN).where(TOKEN.c.digest == _digest(text))).one_or_none()
        if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= at):
            return None
        gateway = None if row.gateway is None else (row.enterprise, row.gateway)
        return Principal(f"token:{row.name}", _set(row.roles), _parks(row.parks), _set(row.scopes), gateway)

    def revoke_token(self, name: str, at: datetime, *, by: str = "") -> None:
        """Refuse a token from now on.

        Raises:
            BadInputError: there is no such token in use.
        """
        with self._db.session() as session:
            used = (TOKEN.c.name == name) & TOKEN.c.revoked_at.is_(None)
            if session.execute(update(TOKEN).where(used).values(revoked_at=at).returning(TOKEN.c.id)).first() is None:
                raise BadInputError([Problem("token name", f"there is no token {name!r} in use", "`tcewatch token list` shows them.")])
            audit.append(session, by=by or name, action="token.revoke", subject=name)

    def users(self) -> pl.DataFrame:
        """People: name, roles, parks (null: all), created_at."""
        return self._listed(select(USER).order_by(USER.c.name), _USERS)

    def tokens(self) -> pl.DataFrame:
        """Tokens: name, scopes, parks (null: all), created_at, expires_at, revoked_at, enterprise and gateway of a gateway's; never their text."""
        return self._listed(select(TOKEN).order_by(TOKEN.c.name), _TOKENS)

    def _listed(self, query: Any, schema: pl.Schema) -> pl.DataFrame:
        with self._db.reading() as session:
            rows = [dict(row) for row in session.execute(query).mappings()]
        for row in rows:
            row |= {name: json.loads(row[name]) for name, dtype in schema.items() if isinstance(dtype, pl.List) and row[name] is not None}
        return pl.DataFrame(rows, schema=schema)


def _person(row: Mapping[Any, Any]) -> Principal:
    return Principal(row["name"], _set(row["roles"]), _parks(row["parks"]))


def _unknown(what: str, given: Collection[str], known: Collection[str]) -> list[Problem]:
    remedy = f"Choose from {', '.join(known)}."
    if not given:
        return [Problem(what, "none is given", remedy)]
    return [Problem(what, f"{name!r} is not known", remedy) for name in sorted(set(given) - set(known))]


def _json(values: Collection[str] | None) -> str | None:
    return None if values is None else json.dumps(sorted(set(values)), ensure_ascii=False)


def _set(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


def _parks(text: str | None) -> frozenset[str] | None:
    return None if text is None else _set(text)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
