"""What a principal may see. Every page and every answer of the API is built from frames that went through here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from pipeline.site import Site
from store.people import Principal

# Collections that not every role sees: raw messages and evidence may hold what an enterprise did not mean to publish, and a sign that
# nobody has looked at is nothing to spread.
_INSIDERS: Final = frozenset({"admin", "operator", "regulator"})
FOR_ROLES: Final[Mapping[str, frozenset[str]]] = {"quarantine": _INSIDERS, "evidence": _INSIDERS, "signs": _INSIDERS}
# Who makes an edit and who checks it; whoever has both roles still cannot check what is their own (store.edits).
DOES: Final[Mapping[str, frozenset[str]]] = {
    "propose": frozenset({"admin", "operator"}), "check": frozenset({"admin", "regulator"}), "withdraw": _INSIDERS,
    "look": _INSIDERS,  # say what was found about a sign
}


class NotFoundError(Exception):
    """No such thing, or none that this principal may see: the two look the same from outside."""


class ForbiddenError(Exception):
    """The principal's roles or token scopes do not cover this collection."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows that one principal may see."""

    principal: Principal
    everything: bool
    parks: frozenset[str]
    enterprises: frozenset[str]

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The one function that every answer goes through: rows of the principal's parks and enterprises.

        A frame names its rows by `enterprise` or, where it has no such column, by `park`. A row that names neither
        (a message of nobody) is for those who see everything.

        Raises:
            ValueError: the frame has neither column; such a table may not be shown.
        """
        column = next((name for name in ("enterprise", "park") if name in frame.columns), None)
        if column is None:
            raise ValueError("a table without an enterprise or park column cannot be shown to a principal")
        if self.everything:
            return frame
        allowed = self.enterprises if column == "enterprise" else self.parks
        return frame.filter(pl.col(column).is_in(sorted(allowed)))

    @property
    def only(self) -> frozenset[str] | None:
        """The enterprises that a store's own query is limited to; None: all."""
        return None if self.everything else self.enterprises

    def one(self, frame: pl.DataFrame, column: str, value: object) -> dict[str, Any]:
        """The row with that value.

        Raises:
            NotFoundError: there is none, or it is not the principal's to see.
        """
        found = self.rows(frame).filter(pl.col(column) == value)
        if found.is_empty():
            raise NotFoundError
        return found.row(0, named=True)

    def check(self, enterprise: str | None) -> None:
        """Let a single row of that enterprise pass.

        Raises:
            NotFoundError: it is not the principal's to see.
        """
        if self.rows(pl.DataFrame({"enterprise": [enterprise]}, schema={"enterprise": pl.String()})).is_empty():
            raise NotFoundError

    def may_see(self, collection: str) -> bool:
        """Whether the principal's token scopes, or else its roles, cover a collection."""
        if self.principal.scopes is not None:
            return self.principal.allows(collection)
        return collection not in FOR_ROLES or bool(self.principal.roles & FOR_ROLES[collection])

    def may_do(self, action: str) -> bool:
        """Whether the principal may change something (DOES); a machine may only propose, and only with the scope of that name."""
        if self.principal.scopes is not None:
            return action in self.principal.scopes
        return bool(self.principal.roles & DOES[action])

    def require_doing(self, action: str) -> None:
        """Let nobody past who may not do it.

        Raises:
            ForbiddenError: the principal may not.
        """
        if not self.may_do(action):
            raise ForbiddenError

    def require(self, collection: str) -> None:
        """Let nobody past who may not see the collection.

        Raises:
            ForbiddenError: the principal may not.
        """
        if not self.may_see(collection):
            raise ForbiddenError


def scope_of(site: Site, principal: Principal) -> Scope:
    """What the principal may see now: all, or the parks it is bound to and the enterprises in them."""
    if principal.parks is None:
        return Scope(principal, everything=True, parks=frozenset(), enterprises=frozenset())
    enterprises = site.register.enterprise_parks().filter(pl.col("park").is_in(sorted(principal.parks)))
    return Scope(principal, everything=False, parks=principal.parks, enterprises=frozenset(enterprises["enterprise"].to_list()))
