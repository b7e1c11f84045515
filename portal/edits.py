"""Read models of edits: what waits for a second person, and what the interval rules found that a person should look at."""

from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from config.calendar import local_day
from config.schemas import WINDOW, conform
from monitors.editing import unconfirmed
from portal import operation, views
from portal.context import Portal
from portal.scope import NotFoundError, Scope
from store.edits import CONFIRM, EXCLUDE, REPLACE

TO_LOOK_AT: Final = ("reset", "over_rating", "uncertain")  # flags that a person should confirm, or mend by an edit or an event
FLAG_DAYS: Final = 60
READINGS_WITHIN: Final = timedelta(days=31)  # the readings of a longer edit are not looked through for a page
_MOMENT: Final = timedelta(microseconds=1)


def edit(portal: Portal, scope: Scope, number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An edit (as `views.with_effect` gives it) and its history.

    Raises:
        NotFoundError: there is no such edit within the scope.
    """
    rows = views.with_effect(portal.site, portal.site.edits.rows(ids=[number]))
    return scope.one(rows, "edit", number), portal.site.edits.history(number).to_dicts()


def visible(portal: Portal, scope: Scope, numbers: list[int]) -> None:
    """Return if all of these edits are the principal's to see.

    Raises:
        NotFoundError: one does not exist, or is not.
    """
    if scope.rows(portal.site.edits.rows(ids=set(numbers))).height < len(set(numbers)):
        raise NotFoundError


def beside(portal: Portal, scope: Scope, row: dict[str, Any]) -> dict[str, Any]:
    """An edit with what stands beside it: unit, the readings in its span (`count`, `first`, `last`; count None: not at hand), and consumption.

    `quantity` is the consumption of the local hours that the span touches, as it is now, and `covered_ratio` its least coverage.
    """
    start, end = row["start"], row["end"] or row["start"] + _MOMENT
    unit = views.registers(portal.site, scope).filter(pl.col("register_key") == row["register_key"])["unit"]
    zone = portal.site.settings.site.zone
    hours = portal.site.derived.read("hourly", local_day(start, zone) - timedelta(days=1), local_day(end, zone)).filter(
        pl.col("register_key") == row["register_key"], pl.col("start") < end, pl.col("end") > start,
    ).select(pl.col("quantity").sum(), pl.col("covered_ratio").min(), pl.len()).collect().row(0, named=True)
    return {
        **row, "unit": unit[0] if unit.len() else "",  # a register may have been taken out since
        "count": None, "first": None, "last": None, **_readings(portal, row["register_key"], start, end),
        "quantity": hours["quantity"] if hours["len"] else None, "covered_ratio": hours["covered_ratio"],
    }


def _readings(portal: Portal, key: int, start: datetime, end: datetime) -> dict[str, Any]:
    if end - start > READINGS_WITHIN or not operation.readings_are_here(portal):
        return {}
    found = portal.site.readings().span([key], start, end).sort("read_at", "copy")
    values = found["value"]
    return {"count": found.height, "first": values[0] if found.height else None, "last": values[-1] if found.height else None}


def flagged(portal: Portal, scope: Scope) -> pl.DataFrame:
    """FLAG of the last FLAG_DAYS days that a person should look at and nobody has confirmed, newest first.

    With enterprise, meter, register, unit, and `edits`: the numbers of exclusions and replacements, waiting or not, at its end.
    """
    site, today = portal.site, portal.today()
    wanted = pl.col("flag").is_in(TO_LOOK_AT)
    flags = site.derived.read("flags", today - timedelta(days=FLAG_DAYS), today).filter(wanted).collect()
    made = site.edits.rows(states=("waiting", "effective", "withdrawing"), kinds=(CONFIRM, EXCLUDE, REPLACE))
    # What is confirmed has no flag any more: one that is there came about later.
    open_ = unconfirmed(flags, conform(made.filter(pl.col("kind") == CONFIRM, pl.col("state") == "waiting"), WINDOW))
    mends = made.filter(pl.col("kind").is_in([EXCLUDE, REPLACE])).select("register_key", "edit", low="start", high=pl.coalesce("end", "start"))
    numbered = open_.with_row_index("row")
    touched = numbered.select("row", "register_key", "start", "end").join(mends, on="register_key").filter(
        pl.col("low") <= pl.col("end"), pl.col("high") >= pl.col("start"),
    ).group_by("row").agg(edits=pl.col("edit").sort())
    names = views.registers(site, scope).select("register_key", "enterprise", "meter", "register", "unit")
    rows = numbered.join(touched, on="row", how="left").drop("row").join(names, on="register_key")
    return scope.rows(rows).sort("start", "register_key", descending=True)
