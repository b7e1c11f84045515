"""Estimates for gaps, asked for by a person or a machine: proposed in their name, so that another person checks them."""

from datetime import date
from typing import Final

import polars as pl

from config.errors import BadInputError, Problem
from monitors.estimation import Method
from pipeline.estimate import propose
from portal import views
from portal.context import Portal
from portal.scope import Scope

MOST_DAYS: Final = 92  # asked for at once
ESTIMATED_BY: Final = ("auto", "like_days", "linear")  # `linked` asks for a list of which goes with which: a file on the command line


def ask(portal: Portal, scope: Scope, first: date, last: date, method: Method, enterprise: str | None, meter: str | None) -> pl.DataFrame:
    """Propose estimates for the gaps of the principal's registers on the local days first..last (pipeline.estimate.PROPOSAL).

    Raises:
        ForbiddenError, NotFoundError: it is not theirs to do, or the enterprise not theirs to see.
        BadInputError: the days are none or too many, or no register has these names.
    """
    scope.require_doing("propose")
    if enterprise is not None:
        scope.check(enterprise)
    problems = []
    if not 0 <= (last - first).days < MOST_DAYS:
        problems.append(Problem("to", f"{last} is before {first} or more than {MOST_DAYS} days on", f"Ask for 1 to {MOST_DAYS} days at once."))
    wanted = [pl.col(name) == value for name, value in (("enterprise", enterprise), ("meter", meter)) if value is not None]
    registers = views.registers(portal.site, scope).filter(*wanted)
    if registers.is_empty():
        problems.append(Problem("meter", f"there is no register of {meter or enterprise or 'yours'}", "Name a registered meter of the enterprise."))
    if problems:
        raise BadInputError(problems)
    keys = registers["register_key"].to_list()
    return propose(portal.site, first, last, now=portal.clock(), maker=scope.principal.name, method=method, registers=keys)
