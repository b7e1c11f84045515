"""What was measured and what follows from it: readings, consumption, energy, intensities, verdicts."""

from collections.abc import Collection, Iterator
from datetime import date, datetime, timedelta
from typing import Annotated, Final, Literal

import polars as pl
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import AwareDatetime

from config import calendar
from config.schemas import INSTANT, READING_QUALITY, conform
from monitors.accounts import links
from monitors.data_quality import Level
from pipeline.as_of import Table
from portal import operation, quality, views
from portal.api.answers import MAX_BULK_ROWS, Paging, PagingOf, bulk, cursor_of, listed, numbered, page
from portal.api.problems import ProblemError
from portal.as_of import Asked
from portal.context import ApiScope, Portal, PortalOf
from portal.scope import Scope

router = APIRouter(prefix="/api/v1")
MAX_REGISTER_DAYS_OF_READINGS: Final = 5_000  # a register for 13 years, or 160 registers for a month
MAX_REGISTER_DAYS_THEN: Final = 50_000  # computed from readings: some seconds for each state of knowledge
MAX_REGISTER_DAYS: Final = {"hour": 50_000, "day": 500_000}
REGISTER_DAYS_AT_ONCE: Final = 31  # what one query to the store may span: bounds memory even at a reading a second
READING_ROW: Final = pl.Schema({
    "enterprise": pl.String(), "meter": pl.String(), "register": pl.String(), "read_at": INSTANT, "copy": pl.UInt8(), "value": pl.Float64(),
    "unit": pl.String(), "quality": pl.String(), "received_at": INSTANT, "message": pl.Int64(),
})
READING_KEYS: Final = ("register_key", "read_at", "copy")
Name = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Period = Annotated[str | None, Query(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$", description="2025, 2025-03 or 2025-03-07, and the periods within it.")]
AsOf = Annotated[AwareDatetime | None, Query(description="What was known at that instant, with offset, in place of what is known now.")]


def _asked(
    as_of: AsOf = None,
    against: Annotated[AwareDatetime | None, Query(description="What differs between as_of and this instant, with the causes.")] = None,
) -> Asked | None:
    """What `as_of` and `against` ask for.

    Raises:
        ProblemError: `against` without `as_of`.
    """
    if as_of is None and against is not None:
        raise ProblemError(400, "no-as-of", "`against` names the second instant. Give `as_of` too.")
    return None if as_of is None else Asked(as_of, against)


Then = Annotated[Asked | None, Depends(_asked)]


@router.get("/readings", summary="Readings as they came in", tags=["measured"])
def readings(
    portal: PortalOf, scope: ApiScope, paging: PagingOf,
    start: Annotated[AwareDatetime, Query(alias="from", description="First instant, with offset.")],
    end: Annotated[AwareDatetime, Query(alias="to", description="The instant after the last.")],
    enterprise: Name = None, meter: Name = None, register: Name = None,
) -> Response:
    """Readings in a half-open span, by register, instant and copy (copy > 0: a conflicting value for the same instant)."""
    scope.require("readings")
    if not operation.readings_are_here(portal):
        raise ProblemError(503, "readings-elsewhere", "The process that collects holds the DuckDB file. Ask its own portal, or use InfluxDB.")
    chosen = views.registers(portal.site, scope).filter(
        *(pl.col(column) == value for column, value in (("enterprise", enterprise), ("meter", meter), ("register", register)) if value is not None)
    ).sort("register_key")
    _check_span(start, end, chosen.height, MAX_REGISTER_DAYS_OF_READINGS)
    if paging.bulk:
        found = _everything(portal, chosen, start, end)
        return bulk(_named(found, chosen), paging.format, "readings")
    found, more = _page_of(portal, chosen, start, end, paging)
    return page(_named(found, chosen), cursor_of(found.row(-1, named=True), READING_KEYS) if more else None)


@router.get("/consumption", summary="Consumption by hour or day", tags=["measured"])
def consumption(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, then: Then,
    first: Annotated[date, Query(alias="from", description="First local day.")],
    last: Annotated[date, Query(alias="to", description="Last local day, included.")],
    grain: Literal["hour", "day"] = "day", enterprise: Name = None, meter: Name = None, register: Name = None,
) -> Response:
    """Consumption of each register, in its unit, with how much of it is covered by readings and how much estimated."""
    scope.require("consumption")
    if then is not None:
        found = _known(portal, scope, then, "hourly" if grain == "hour" else "daily", first, last, enterprise)
        chosen = {"meter": meter, "register": register}
        found = found.filter(*(pl.col(column) == value for column, value in chosen.items() if value is not None))
        return listed(found, then.keys(["enterprise", "meter", "register", "start"]), paging, "consumption")
    names = {"enterprise": enterprise, "meter": meter, "register": register}
    count = views.registers(portal.site, scope).filter(*(pl.col(column) == value for column, value in names.items() if value is not None)).height
    _check_days(first, last, count, MAX_REGISTER_DAYS[grain])
    frame = views.consumption(portal.site, scope, "hourly" if grain == "hour" else "daily", first, last, **names)
    return listed(frame, ["enterprise", "meter", "register", "start"], paging, "consumption")


@router.get("/data-quality", summary="Completeness, quality index, repairs, exchanges", tags=["measured"])
def data_quality(
    portal: PortalOf, scope: ApiScope, paging: PagingOf,
    first: Annotated[date | None, Query(alias="from", description="First local day; needed but for repairs and exchanges.")] = None,
    last: Annotated[date | None, Query(alias="to", description="Last local day, included; needed but for repairs and exchanges.")] = None,
    of: Literal["readings", "messages", "index", "repairs", "exchanges"] = "readings", enterprise: Name = None,
    by: Annotated[Level, Query(description="of=index: whose index.")] = "enterprise",
    grain: Annotated[quality.Grain, Query(description="of=index: month by month, or all days together.")] = "month",
    as_of: AsOf = None,
) -> Response:
    """Of each register: slots (15, 30 or 60 minutes) that were due and received. Of each gateway (`of=messages`): messages by its own count.

    `of=index`: the data-quality index with its six parts. A part that is not known makes it `incomplete`: `index_ratio` is null, `missing`
    names the part, `known_index_ratio` is that over the known ones; `as_of` gives that of then. `of=repairs`: meters that were out, of the
    last six months, and whether they were repaired within three working days. `of=exchanges`: whether exchanges of meters were entered
    within three working days, of all that stand in the register. Both may be asked without `from` and `to`.
    """
    scope.require("readings")
    if as_of is not None and of != "index":
        raise ProblemError(400, "no-as-of", "Only the index is told as of an instant. Leave `as_of` out, or ask `of=index`.")
    if of == "repairs":
        frame, keys = quality.repairs(portal, scope, first, last), ["enterprise", "meter", "opened_at"]
    elif of == "exchanges":
        frame, keys = quality.exchanges(portal, scope, first, last), ["enterprise", "meter", "register", "at"]
    elif first is None or last is None:
        raise ProblemError(400, "no-days", f"of={of} is told by local days. Give `from` and `to`.")
    elif of == "index":
        if by == "park" and enterprise is not None:
            raise ProblemError(400, "no-such-filter", "A park's index has no enterprise. Leave `enterprise` out, or ask `by=enterprise`.")
        _check_days(first, last, views.registers(portal.site, scope).height, MAX_REGISTER_DAYS["day"])
        if as_of is not None:
            _check_then(portal, first, last, portal.site.register.names().height)
        frame = quality.index(portal, scope, by, first, last, grain, as_of)
        keys = [*(name for name in ("park", "enterprise", "meter") if name in frame.columns), "period"]
    else:
        _check_days(first, last, views.registers(portal.site, scope).height, MAX_REGISTER_DAYS["day"])
        frame = quality.data_quality(portal, scope, of, first, last)
        keys = ["enterprise", "meter", "register", "day"] if of == "readings" else ["enterprise", "gateway", "day"]
    return listed(frame if enterprise is None else frame.filter(pl.col("enterprise") == enterprise), keys, paging, "data-quality")


@router.get("/energy", summary="Energy on both bases", tags=["evaluated"])
def energy(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, then: Then, by: Literal["enterprise", "carrier"] = "enterprise",
    enterprise: Name = None, period: Period = None, grain: Literal["year", "month", "day"] | None = None,
) -> Response:
    """Coal equivalent, calorific and equivalent side by side (never added), with completeness and what is missing."""
    scope.require("consumption")
    keys = ["enterprise", "period", *([] if by == "enterprise" else ["carrier", "flow", "use", "site", "process", "product", "unit"])]
    frame = _result(portal, scope, then, "energy" if by == "enterprise" else "carriers", period, enterprise)
    return listed(_of_period(frame, enterprise, period, grain), then.keys(keys) if then else keys, paging, "energy")


@router.get("/balances", summary="The energy balance of enterprises, and energy by park and block", tags=["evaluated"])
def balances(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, of: Literal["enterprises", "flows", "parks"] = "enterprises",
    enterprise: Name = None, park: Name = None, period: Period = None,
) -> Response:
    """Supply + conversion - use = residual, by month and year. `of=flows`: the same from node to node. `of=parks`: what lay in parks and blocks."""
    scope.require("energy")
    if of == "parks":
        sums = _of_period(views.result(portal.site, scope, "park_energy"), None, period, None)
        return listed(sums if park is None else sums.filter(pl.col("park") == park), ["park", "block", "period"], paging, "park-energy")
    frame = _of_period(views.result(portal.site, scope, "balance"), enterprise, period, None)
    if of == "flows":
        keys = ["enterprise", "period", "source_kind", "source", "target_kind", "target", "carrier"]
        return listed(links(frame), keys, paging, "energy-flows")
    return listed(frame, ["enterprise", "period", "block", "row", "carrier", "process", "product", "unit"], paging, "balances")


@router.get("/reconciliations", summary="Reported monthly figures against metered ones, and stocks", tags=["evaluated"])
def reconciliations(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, of: Literal["figures", "stocks"] = "figures", enterprise: Name = None, period: Period = None,
) -> Response:
    """Each kind of reported figure of a month with its difference from the meter, and which of them counts; `of=stocks`: the stocks by month."""
    scope.require("figures")
    frame = views.result(portal.site, scope, "reconciliation" if of == "figures" else "stock_balance")
    keys = ["enterprise", "period", "carrier", *(("flow", "kind") if of == "figures" else ())]
    return listed(_of_period(frame, enterprise, period, None), keys, paging, "reconciliations")


@router.get("/intensities", summary="Energy and water by value added", tags=["evaluated"])
def intensities(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, then: Then, by: Literal["enterprise", "park"] = "enterprise",
    enterprise: Name = None, park: Name = None, period: Period = None,
) -> Response:
    """Intensities of enterprises or parks."""
    scope.require("intensities")
    if by == "enterprise":
        frame = _result(portal, scope, then, "intensity", period, enterprise)
    else:
        frame = _result(portal, scope, then, "park_intensity", period, None)
    if by == "park" and park is not None:
        frame = frame.filter(pl.col("park") == park)
    keys = then.keys([str(by), "period"]) if then else [str(by), "period"]
    return listed(_of_period(frame, enterprise if by == "enterprise" else None, period, None), keys, paging, "intensities")


@router.get("/verdicts", summary="Products against their energy-consumption limits", tags=["evaluated"])
def verdicts(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, then: Then, enterprise: Name = None, product: Name = None,
    verdict: Literal["complies", "exceeds", "exceeds_measured_alone", "incomplete", "no_rule"] | None = None, closed: bool | None = None,
    year: Annotated[int | None, Query(ge=1990, le=2200, description="With as_of: of which year; else of as_of's.")] = None,
) -> Response:
    """One row for each edition that a period touches, with derivation, clause and standing."""
    scope.require("verdicts")
    wanted = {"enterprise": enterprise, "product": product, "verdict": verdict, "closed": closed}
    frame = _result(portal, scope, then, "verdicts", None if year is None else str(year), enterprise)
    frame = frame.filter(*(pl.col(column) == value for column, value in wanted.items() if value is not None and column in frame.columns))
    keys = ["enterprise", "product", "indicator", "line", "plant_status", "period_start", "period_end", "standard", "edition"]
    return listed(frame, then.keys(keys) if then else keys, paging, "verdicts")


def _result(portal: Portal, scope: Scope, then: Asked | None, table: Table, period: str | None, enterprise: str | None) -> pl.DataFrame:
    """A result as it stands or, of the period or the year of the instant, as it was known."""
    if then is None:
        return views.result(portal.site, scope, table)
    year = str(calendar.local_day(then.as_of, portal.site.settings.site.zone).year)
    try:
        first, last = calendar.period_days(period or year)
    except ValueError:
        raise ProblemError(400, "bad-period", f"{period} is no period of the calendar.") from None
    return _known(portal, scope, then, table, first, last, enterprise)


def _known(portal: Portal, scope: Scope, then: Asked, table: Table, first: date, last: date, enterprise: str | None) -> pl.DataFrame:
    enterprises = enterprises_then(portal, scope, first, last, enterprise)
    return scope.rows(then.frame(portal.site, table, first, last, enterprises))


def enterprises_then(portal: Portal, scope: Scope, first: date, last: date, enterprise: str | None) -> Collection[str] | None:
    """The enterprises whose days are computed as of an instant; None: all.

    Raises:
        NotFoundError: the one that is named is not theirs to see.
        ProblemError: the readings are not at hand, or so many days are not computed at once.
    """
    if enterprise is not None:
        scope.check(enterprise)
    enterprises = scope.only if enterprise is None else {enterprise}
    names = portal.site.register.names()
    _check_then(portal, first, last, names.height if enterprises is None else names.filter(pl.col("enterprise").is_in(sorted(enterprises))).height)
    return enterprises


def _check_then(portal: Portal, first: date, last: date, registers: int) -> None:
    if not operation.readings_are_here(portal):
        raise ProblemError(503, "readings-elsewhere", "The process that collects holds the DuckDB file. Ask its own portal, or use InfluxDB.")
    _check_days(first, last, registers, MAX_REGISTER_DAYS_THEN)


def _of_period(frame: pl.DataFrame, enterprise: str | None, period: str | None, grain: str | None) -> pl.DataFrame:
    if enterprise is not None:
        frame = frame.filter(pl.col("enterprise") == enterprise)
    if period is not None:
        frame = frame.filter((pl.col("period") == period) | pl.col("period").str.starts_with(f"{period}-"))
    return frame if grain is None else frame.filter(pl.col("period").str.len_chars() == {"year": 4, "month": 7, "day": 10}[grain])


def _check_span(start: datetime, end: datetime, registers: int, most: int) -> None:
    if end <= start:
        raise ProblemError(400, "empty-range", "`to` is not after `from`.")
    _check_budget(registers * (end - start) / timedelta(days=1), most)


def _check_days(first: date, last: date, registers: int, most: int) -> None:
    if last < first:
        raise ProblemError(400, "empty-range", "`to` is before `from`.")
    _check_budget(registers * ((last - first).days + 1), most)


def _check_budget(asked: float, most: int) -> None:
    if asked > most:
        limit = f"at most {most:,} are answered at once"
        detail = f"The range asks for {asked:,.0f} register-days; {limit}. Name an enterprise or meter, or a shorter range."
        raise ProblemError(400, "range-too-large", detail, max_register_days=most)


def _chunks(keys: list[int], start: datetime, end: datetime) -> Iterator[tuple[list[int], datetime, datetime]]:
    """Queries small enough for memory that together cover the range, in the order of the rows."""
    days = (end - start) / timedelta(days=1)
    together = max(1, int(REGISTER_DAYS_AT_ONCE // max(days, 1 / 24)))
    step = timedelta(days=REGISTER_DAYS_AT_ONCE) if days > REGISTER_DAYS_AT_ONCE else end - start
    for at in range(0, len(keys), together):
        begin = start
        while begin < end:
            yield keys[at : at + together], begin, min(begin + step, end)
            begin += step


def _page_of(portal: Portal, chosen: pl.DataFrame, start: datetime, end: datetime, paging: Paging) -> tuple[pl.DataFrame, bool]:
    keys: list[int] = chosen["register_key"].to_list()
    parts: list[pl.DataFrame] = []
    after, wanted = numbered(paging.after, 3), paging.limit + 1
    seen = pl.lit(value=False)
    if after is not None:
        key, instant, copy = after
        keys = [one for one in keys if one >= key]
        at = pl.lit(instant, dtype=pl.Int64()).cast(INSTANT)
        beyond = (pl.col("read_at") > at) | ((pl.col("read_at") == at) & (pl.col("copy") > copy))
        seen = (pl.col("register_key") == key) & ~beyond
    for some, begin, until in _chunks(keys, start, end):
        parts.append(portal.site.readings().span(some, begin, until).filter(~seen).head(wanted))
        wanted -= parts[-1].height
        if wanted == 0:
            break
    found = pl.concat(parts) if parts else pl.DataFrame(schema={"register_key": pl.UInt32(), **READING_ROW})
    return found.head(paging.limit), found.height > paging.limit


def _everything(portal: Portal, chosen: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    parts: list[pl.DataFrame] = []
    height = 0
    for some, begin, until in _chunks(chosen["register_key"].to_list(), start, end):
        parts.append(portal.site.readings().span(some, begin, until))
        height += parts[-1].height
        if height > MAX_BULK_ROWS:
            break  # `bulk` refuses it
    return pl.concat(parts) if parts else pl.DataFrame(schema={"register_key": pl.UInt32(), **READING_ROW})


def _named(found: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    codes = dict(enumerate(READING_QUALITY))
    named = found.select("register_key", "read_at", "copy", "value", "quality", "received_at", "message").join(
        chosen.select("register_key", "enterprise", "meter", "register", "unit"), on="register_key", maintain_order="left"
    )
    quality = pl.col("quality").cast(pl.Int64, strict=False).replace_strict(codes, default=None, return_dtype=pl.String())
    return conform(named.with_columns(quality), READING_ROW)
