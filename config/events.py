"""What a declared event of a register can say: read by the register of a site and by the commands on files."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from config.calendar import EARLIEST, LATEST


class Fault(NamedTuple):
    """A cell of an event that cannot be."""

    column: str
    what: str
    remedy: str


def faults(
    at: datetime | None, closing_value: float | None, opening_value: float | None, *,
    modulus: float | None, range_low: float | None, range_high: float | None,
    valid: Sequence[tuple[datetime | None, datetime | None]] = ((None, None),),
) -> list[Fault]:
    """What is wrong with the instant and the values of an event.

    Args:
        at: when it happened.
        closing_value: what the register showed at the end of what was before; it may be the modulus itself, at a rollover.
        opening_value: what it showed at the start of what came after: below the modulus, which is shown as 0.
        modulus: the greatest of the register's rows; None: one of them has none.
        range_low: the lowest of its rows, by the same rule.
        range_high: the highest of its rows, by the same rule.
        valid: from when to when its rows hold; a value outside of all of them would be that of another meter.

    >>> from config.events import faults
    >>> [fault.column for fault in faults(None, 1000.0, 1000.0, modulus=1000.0, range_low=None, range_high=None)]
    ['opening_value']
    """
    found = []
    if at is not None and not EARLIEST <= at < LATEST:
        found.append(Fault("at", "it is no time of an event", f"Write a time from {EARLIEST.year} to {LATEST.year - 1}"))
    elif at is not None and (closing_value, opening_value) != (None, None) and not any(
        (begin is None or begin <= at) and (end is None or at <= end) for begin, end in valid
    ):
        found.append(Fault("at", "no row of the register holds then, and the event gives a value", "Correct it, or from when to when the rows hold"))
    for column, value in (("closing_value", closing_value), ("opening_value", opening_value)):
        if value is None:
            continue
        if modulus is not None and value > modulus:
            found.append(Fault(column, f"it is beyond the register's modulus of {modulus:g}", "Correct it, or the register's modulus"))
        elif modulus is not None and value == modulus and column == "opening_value":
            found.append(Fault(column, f"it is the register's modulus of {modulus:g}, which is shown as 0", "Correct it, or the register's modulus"))
        elif (range_low is not None and value < range_low) or (range_high is not None and value > range_high):
            low, high = ("..." if bound is None else f"{bound:g}" for bound in (range_low, range_high))
            found.append(Fault(column, f"it is outside the register's range of {low} to {high}", "Correct it, or the register's range"))
    return found
