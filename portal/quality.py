"""Read models of data quality: the index, verifications, repairs and exchanges that a principal may see."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final, Literal

import polars as pl

from config.schemas import QUALITY_PARTS
from monitors.calibration import DUE_WITHIN_DAYS
from monitors.data_quality import Level
from pipeline import quality
from pipeline.as_of import index_at
from portal.context import Portal
from portal.scope import Scope

Grain = Literal["month", "span"]
LASTING: Final = ("overdue", "reported", "open")  # states of an outage that goes on, the weightiest first
VERIFICATION: Final = {"due_on": pl.Date(), "due_by": pl.String(), "verification": pl.String(), "days_left": pl.Int32()}
_SUBJECT: Final = {"meter": ("enterprise", "meter"), "enterprise": ("enterprise",), "park": ("park",)}
_WEIGHT: Final = {"overdue": 0, "due_soon": 1, "no_due_date": 2, "never": 3, "valid": 4}


def index(
    portal: Portal, scope: Scope, by: Level, first: date, last: date, grain: Grain = "month", as_of: datetime | None = None,
) -> pl.DataFrame:
    """QUALITY_INDEX without the names that are not the subject's, of the visible subjects; with `as_of`, from what was known then."""
    return indices(portal, scope, (by,), first, last, grain, as_of)[by]


def indices(
    portal: Portal, scope: Scope, levels: Sequence[Level], first: date, last: date, grain: Grain = "month", as_of: datetime | None = None,
) -> dict[Level, pl.DataFrame]:
    """`index` at several levels at once."""
    if as_of is None:
        found = quality.index(portal.site, first, last, portal.clock(), levels, grain)
    else:
        found = index_at(portal.site, as_of, first, last, levels, grain)
    return {by: scope.rows(rows.drop(name for name in ("park", "enterprise", "meter") if name not in _SUBJECT[by])) for by, rows in found.items()}


def parts(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of one row of the index: part, good, total, ratio, unknown."""
    return [{"part": part, **{name: row[f"{part}_{name}"] for name in ("good", "total", "ratio", "unknown")}} for part in QUALITY_PARTS]


def verifications(portal: Portal, scope: Scope, *, within_days: int = DUE_WITHIN_DAYS) -> pl.DataFrame:
    """CALIBRATION of the visible meters as of today, what is most urgent first."""
    rows = scope.rows(quality.verifications(portal.site, portal.today(), within_days))
    weight = pl.col("state").replace_strict(_WEIGHT, return_dtype=pl.Int8())
    return rows.sort(weight, "days_left", "enterprise", "meter", nulls_last=True)


def meters(portal: Portal, scope: Scope, due: date | None = None) -> pl.DataFrame:
    """The visible meters with their verification as of today (VERIFICATION).

    Args:
        portal: the site.
        scope: whose eyes.
        due: only meters whose verification has run out by the end of that day, or of which it is not known until when it is valid.
    """
    told = verifications(portal, scope).select("enterprise", "meter", "due_on", "due_by", "days_left", verification="state")
    rows = scope.rows(portal.site.register.meters()).join(told, on=["enterprise", "meter"], how="left")
    rows = rows.select(pl.exclude(VERIFICATION), *VERIFICATION)
    return rows if due is None else rows.filter(pl.col("due_on").is_null() | (pl.col("due_on") <= due))


def repairs(portal: Portal, scope: Scope, first: date | None = None, last: date | None = None) -> pl.DataFrame:
    """OUTAGE of the visible meters of the last six months, those of the days first..last only: what goes on first, then the newest."""
    rows = scope.rows(quality.repairs(portal.site, portal.clock()))
    zone = portal.site.settings.site.zone
    opened, mended = (pl.col(name).dt.convert_time_zone(zone).dt.date() for name in ("opened_at", "repaired_at"))
    if last is not None:
        rows = rows.filter(opened <= last)
    if first is not None:
        rows = rows.filter(mended.is_null() | (mended >= first))
    weight = pl.col("state").replace_strict({state: place for place, state in enumerate(LASTING)}, default=len(LASTING), return_dtype=pl.Int8())
    return rows.sort(weight, "opened_at", "enterprise", "meter", descending=[False, True, False, False])


def exchanges(portal: Portal, scope: Scope, first: date | None = None, last: date | None = None) -> pl.DataFrame:
    """EXCHANGE of the visible meters, those of the days first..last only, the newest first."""
    rows = scope.rows(quality.exchanges(portal.site))
    day = pl.col("at").dt.convert_time_zone(portal.site.settings.site.zone).dt.date()
    rows = rows.filter(*([day >= first] if first else []), *([day <= last] if last else []))
    return rows.sort("at", "enterprise", "meter", "register", descending=[True, False, False, False])


def data_quality(portal: Portal, scope: Scope, of: Literal["readings", "messages"], first: date, last: date) -> pl.DataFrame:
    """Completeness by local day, first..last, both included: of registers by slots, or of gateways by their own count."""
    site = portal.site
    return scope.rows(quality.readings_by_day(site, first, last, portal.clock()) if of == "readings" else quality.messages(site, first, last))


def summed_by_day(complete: pl.DataFrame) -> pl.DataFrame:
    """enterprise, day, completeness_ratio of registers' completeness: slots that came of all that were due in an enterprise."""
    summed = complete.group_by("enterprise", "day").agg(pl.col("received", "due").sum())
    return summed.select("enterprise", "day", completeness_ratio=pl.col("received") / pl.col("due")).sort("enterprise", "day")


def least_complete(complete: pl.DataFrame, below: float) -> pl.DataFrame:
    """The registers of which less than that share of all slots came over these days: enterprise, meter, register, days, ratios, the worst first."""
    by_register = complete.sort("day").group_by("enterprise", "meter", "register", maintain_order=True)
    rows = by_register.agg(days="day", ratios="completeness_ratio", ratio=pl.col("received").sum() / pl.col("due").sum())
    return rows.filter(pl.col("ratio") < below).sort("ratio", "enterprise", "meter", "register").drop("ratio")
