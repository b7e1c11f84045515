"""Read models: what the pages and the API show, from the site's adapters, within a scope.

No arithmetic on energy happens here: figures are the results that the evaluate service wrote, or what the core's own
functions make of the derived tables. A frame leaves this module only through `Scope.rows`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal, cast

import polars as pl

from config import calendar
from config.findings import OpenAlert
from config.schemas import (
    EDIT,
    ENERGY,
    ENERGY_BALANCE,
    ENERGY_SUM,
    FLAG,
    INSTANT,
    INTENSITY,
    PARK_ENERGY,
    RECONCILIATION,
    STOCK_BALANCE,
    VERDICT,
    conform,
    empty,
)
from config.units import FIVE_MEDIA
from monitors.editing import NEIGHBOURS, REPLACED, explained
from monitors.energy import figures
from monitors.quantities import quantities
from pipeline.evaluate import assignments
from pipeline.site import Site
from portal import casework
from portal.context import Portal
from portal.scope import Scope
from store.edits import REPLACE

EFFECTS: Final = {REPLACED[True]: "counts", REPLACED[False]: "set_aside"}
RESULTS: Final[Mapping[str, pl.Schema]] = {
    "energy": pl.Schema({"enterprise": pl.String(), "period": pl.String(), **ENERGY_SUM}),
    "carriers": ENERGY,
    "intensity": pl.Schema({"enterprise": pl.String(), **INTENSITY}),
    "park_intensity": pl.Schema({"park": pl.String(), **INTENSITY}),
    "verdicts": pl.Schema({**VERDICT, "closed": pl.Boolean()}),
    "reconciliation": RECONCILIATION,
    "stock_balance": STOCK_BALANCE,
    "balance": ENERGY_BALANCE,
    "park_energy": PARK_ENERGY,
}
CONSUMPTION: Final = pl.Schema({
    "enterprise": pl.String(), "meter": pl.String(), "register": pl.String(), "medium": pl.String(), "start": INSTANT, "end": INSTANT,
    "quantity": pl.Float64(), "unit": pl.String(), "quality": pl.String(), "covered_ratio": pl.Float64(), "estimated_ratio": pl.Float64(),
    "edits": pl.List(pl.Int64()),  # of the edits that count and touch it
})
PAGE_ROWS: Final = 50
LATE_AFTER: Final = timedelta(hours=2)
CHART_DAYS: Final = 60
VERDICT_WEIGHT: Final = {"exceeds": 0, "exceeds_measured_alone": 1, "incomplete": 2, "no_rule": 3, "complies": 4}
Grain = Literal["day", "month"]


def result(site: Site, scope: Scope, name: str) -> pl.DataFrame:
    """A result of the evaluate service, one of RESULTS; empty where nothing is evaluated yet."""
    return scope.rows(site.derived.result(name, RESULTS[name]))


def registers(site: Site, scope: Scope) -> pl.DataFrame:
    """One row for each register (REGISTER), its newest where its dates differ."""
    rows = site.register.registers().sort("valid_from", nulls_last=False)
    return scope.rows(rows.unique("register_key", keep="last").sort("enterprise", "meter", "register"))


def consumption(site: Site, scope: Scope, table: Literal["hourly", "daily"], first: date, last: date, **names: str | None) -> pl.DataFrame:
    """Consumption of the visible registers (CONSUMPTION) on the local days first..last, both included.

    Args:
        site: the adapters.
        scope: whose eyes.
        table: hours or days.
        first: first local day.
        last: last local day.
        names: enterprise, meter, register; only registers of that name.
    """
    chosen = registers(site, scope)
    for column, value in names.items():
        if value is not None:
            chosen = chosen.filter(pl.col(column) == value)
    columns = chosen.select("register_key", "enterprise", "meter", "register", "medium", "unit")
    intervals = site.derived.read(table, first, last).filter(pl.col("register_key").is_in(columns["register_key"].implode())).collect()
    named = explained(intervals, _edits_around(site, intervals)).join(columns, on="register_key")
    return conform(named.sort("enterprise", "meter", "register", "start"), CONSUMPTION)


def _edits_around(site: Site, intervals: pl.DataFrame) -> pl.DataFrame:
    """EDIT: those that count and may touch one of the intervals."""
    if intervals.is_empty():
        return empty(EDIT)
    start, end = cast("tuple[datetime, datetime]", (intervals["start"].min(), intervals["end"].max()))
    return site.edits.effective(within=(start - NEIGHBOURS, end + NEIGHBOURS))


def by_carrier(
    site: Site, scope: Scope, first: date, last: date, by: Grain, *, until: datetime, enterprise: str | None = None,
) -> pl.DataFrame:
    """What was used of each carrier, from the daily table by the core's own rule.

    Returns:
        enterprise, period, carrier, flow, unit, quantity, covered_ratio (of the worst part), estimated_ratio, medium.
    """
    assigned = scope.rows(assignments(site))
    if enterprise is not None:
        assigned = assigned.filter(pl.col("enterprise") == enterprise)
    keys = assigned["register_key"].unique().implode()
    rows = site.register.registers().filter(pl.col("register_key").is_in(keys))
    intervals = site.derived.read("daily", first, last).filter(pl.col("register_key").is_in(keys)).collect().drop("day")
    used = quantities(intervals, rows, assigned, by=by, zone=site.settings.site.zone, until=until).filter(pl.col("quantity").is_not_null())
    # Sites, processes and products of an enterprise are parts of one sum, as they are in the core's.
    whole = used.group_by("enterprise", "period", "carrier", "flow", "unit", maintain_order=True).agg(
        pl.col("quantity").sum(), pl.col("covered_ratio").min(), pl.col("estimated_ratio").max()
    )
    return whole.join(carrier_media(site), on="carrier", how="left").with_columns(pl.col("medium").fill_null("other"))


def carrier_media(site: Site) -> pl.DataFrame:
    """carrier, medium: which of the media a carrier is, as the meters that measure it say."""
    assignments = site.register.assignments().select("register_key", "carrier")
    media = site.register.registers().select("register_key", "medium")
    return assignments.join(media, on="register_key").group_by("carrier").agg(pl.col("medium").drop_nulls().sort().first())


def names(site: Site, scope: Scope) -> dict[str, dict[str, Any]]:
    """Enterprise -> its row, for the names beside the codes."""
    return {row["enterprise"]: row for row in scope.rows(site.register.enterprises()).to_dicts()}


@dataclass(frozen=True, slots=True)
class EnterpriseLine:
    """One enterprise in the park's table."""

    row: Mapping[str, Any]
    today: Mapping[str, list[dict[str, Any]]]  # medium -> QUANTITY rows of the day shown
    this_year: Mapping[str, Any] | None  # ENERGY_SUM
    last_year: Mapping[str, Any] | None
    intensity: Mapping[str, Any] | None  # of the last closed year
    verdicts: list[dict[str, Any]]
    alerts: int
    last_reading: datetime | None
    freshness: str  # fresh, late, none


@dataclass(frozen=True, slots=True)
class Overview:
    """One park at a glance."""

    day: date  # the day whose quantities are shown
    this_year: str
    last_year: str
    lines: list[EnterpriseLine]
    totals: Mapping[str, dict[str, Any]]  # year -> ENERGY_SUM of the park
    intensities: list[dict[str, Any]]  # of the park, newest year first


def overview(portal: Portal, scope: Scope, park: str, last: pl.DataFrame) -> Overview:
    """What the first page shows of a park."""
    site, today = portal.site, portal.today()
    inside = members(site, scope, park)
    day = max((one for one in site.derived.days("daily") if one <= today), default=today)
    energy = _index(result(site, scope, "energy"))
    intensity = _index(result(site, scope, "intensity"))
    verdicts = latest_verdicts(site, scope)
    used: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for one in by_carrier(site, scope, day, day, "day", until=portal.clock()).filter(pl.col("flow").is_in(["consumed", "purchased"])).to_dicts():
        used.setdefault(one["enterprise"], {}).setdefault(one["medium"], []).append(one)
    alerts = casework.open_alerts(site, scope)
    this_year, last_year = str(today.year), str(today.year - 1)
    readings = {row["enterprise"]: row["read_at"] for row in last.group_by("enterprise").agg(pl.col("read_at").max()).to_dicts()}
    lines = [
        EnterpriseLine(
            row=row, today=used.get(code, {}), this_year=energy.get((code, this_year)), last_year=energy.get((code, last_year)),
            intensity=intensity.get((code, last_year)), verdicts=[one for one in verdicts if one["enterprise"] == code],
            alerts=sum(one.enterprise == code for one in alerts), last_reading=readings.get(code),
            freshness="none" if readings.get(code) is None else "fresh" if portal.clock() - readings[code] < LATE_AFTER else "late",
        )
        for row in inside.to_dicts() for code in [row["enterprise"]]
    ]
    intensities = result(site, scope, "park_intensity").filter((pl.col("park") == park) & calendar.is_period("year"))
    return Overview(day, this_year, last_year, lines, park_totals(site, scope, park), intensities.sort("period", descending=True).to_dicts())


def _index(frame: pl.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    years = frame.filter(calendar.is_period("year"))
    return {(row["enterprise"], row["period"]): row for row in years.to_dicts()}


def members(site: Site, scope: Scope, park: str) -> pl.DataFrame:
    """The visible enterprises that a park counts."""
    return scope.rows(site.register.enterprises()).filter(pl.col("park") == park).sort("enterprise")


def park_totals(site: Site, scope: Scope, park: str) -> dict[str, dict[str, Any]]:
    """Year -> ENERGY_SUM of what lay in a park, site by site and day by day."""
    rows = result(site, scope, "park_energy").filter(pl.col("park") == park, pl.col("block").is_null(), calendar.is_period("year"))
    return {row["period"]: row for row in rows.to_dicts()}


def latest_verdicts(site: Site, scope: Scope) -> list[dict[str, Any]]:
    """Verdicts of the last closed and of the running year of each enterprise, product and indicator, the weightiest first."""
    rows = result(site, scope, "verdicts")
    subject = ["enterprise", "product", "indicator", "line", "closed"]
    return named_verdicts(site, rows.filter(pl.col("period_end") == pl.col("period_end").max().over(subject)))


def named_verdicts(site: Site, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """VERDICT rows with names and with who confirmed the limit; closed years first, the weightiest and newest first."""
    names = site.limits().select("product", "standard", "indicator", "product_zh", "product_en", "indicator_zh", "indicator_en")
    limit = ["product", "standard", "indicator"]
    confirmed = site.confirmations.frame().select(*limit, "confirmed_by", "copy")
    named = rows.join(names.unique(limit), on=limit, how="left").join(confirmed, on=limit, how="left")
    weight = pl.col("verdict").replace_strict(VERDICT_WEIGHT, default=len(VERDICT_WEIGHT), return_dtype=pl.Int8)
    return named.sort("closed", weight, "period_end", descending=[True, False, True]).to_dicts()


@dataclass(frozen=True, slots=True)
class Enterprise:
    """One enterprise in depth."""

    row: Mapping[str, Any]
    park: Mapping[str, Any] | None
    years: list[dict[str, Any]]  # ENERGY_SUM, newest first
    carriers: list[dict[str, Any]]  # ENERGY of `year`
    balance: pl.DataFrame  # ENERGY_BALANCE of `year`
    figures: Mapping[str, Mapping[str, Any]]  # year -> the named figures
    year: str
    verdicts: list[dict[str, Any]]
    products: Mapping[str, Mapping[str, Any]]  # product -> its names
    intensities: list[dict[str, Any]]
    reconciled: list[dict[str, Any]]  # RECONCILIATION, newest first
    stocks: list[dict[str, Any]]  # STOCK_BALANCE by month, newest first
    registers: list[dict[str, Any]]
    alerts: list[OpenAlert]
    charts: list[dict[str, Any]]
    edits: list[dict[str, Any]]  # that count and concern the last CHART_DAYS days, newest first


def enterprise(portal: Portal, scope: Scope, code: str, grain: Grain, last: pl.DataFrame) -> Enterprise:
    """What the page of an enterprise shows.

    Raises:
        NotFoundError: there is no such enterprise within the scope.
    """
    site = portal.site
    row = scope.one(site.register.enterprises(), "enterprise", code)
    parks = {one["park"]: one for one in site.register.parks().to_dicts()}
    mine = pl.col("enterprise") == code
    yearly = calendar.is_period("year")
    carriers = result(site, scope, "carriers").filter(mine)
    years = result(site, scope, "energy").filter(mine, yearly).sort("period", descending=True)
    year = str(carriers.filter(yearly)["period"].max() or portal.today().year)
    return Enterprise(
        row=row, park=parks.get(row["park"]),
        years=years.to_dicts(),
        carriers=carriers.filter(pl.col("period") == year).sort("carrier", "flow").to_dicts(), year=year,
        balance=result(site, scope, "balance").filter(mine, pl.col("period") == year),
        figures={one["period"]: one for one in figures(years, site.energy_figures()).to_dicts()},
        verdicts=named_verdicts(site, result(site, scope, "verdicts").filter(mine)),
        products={one["product"]: one for one in site.limits().select("product", "product_zh", "product_en").to_dicts()},
        intensities=result(site, scope, "intensity").filter(mine, yearly).sort("period", descending=True).to_dicts(),
        reconciled=result(site, scope, "reconciliation").filter(mine).sort("period", descending=True, maintain_order=True).head(PAGE_ROWS).to_dicts(),
        stocks=result(site, scope, "stock_balance").filter(mine).sort("period", descending=True, maintain_order=True).head(PAGE_ROWS).to_dicts(),
        registers=last.filter(mine).to_dicts(), alerts=[one for one in casework.open_alerts(site, scope) if one.enterprise == code],
        charts=charts(portal, scope, code, grain), edits=edits_since(portal, scope, code, portal.today() - timedelta(days=CHART_DAYS)),
    )


def with_effect(site: Site, rows: pl.DataFrame) -> pl.DataFrame:
    """Edits (store.edits.ROW) with `effect`: of a replacement that is in force, whether its value counts or the interval rules set it aside.

    Null: the edit is of another kind, is not in force, or its day is not computed yet.
    """
    zone = site.settings.site.zone
    given = rows.filter(pl.col("kind") == REPLACE, pl.col("known_from").is_not_null(), pl.col("known_to").is_null())
    days = given.select(pl.col("start").dt.convert_time_zone(zone).dt.date().unique()).to_series()
    flags = [site.derived.read("flags", day, day).filter(pl.col("flag").is_in(list(EFFECTS))).collect() for day in days]
    told = pl.concat([empty(FLAG), *(flag.drop("day") for flag in flags)]).join(
        given.select("register_key", "start", "edit"), on=["register_key", "start"],
    )
    effect = pl.col("flag").replace_strict(EFFECTS, return_dtype=pl.String())
    return rows.join(told.select("edit", effect=effect), on="edit", how="left", maintain_order="left")


def edits_since(portal: Portal, scope: Scope, code: str, first: date) -> list[dict[str, Any]]:
    """The edits of an enterprise that count and reach beyond the start of a local day, newest first."""
    start, _ = calendar.day_span(first, portal.site.settings.site.zone)
    rows = with_effect(portal.site, scope.rows(portal.site.edits.rows(states=("effective", "withdrawing"), enterprises=[code])))
    return rows.filter(pl.coalesce("end", "start") >= start).sort("start", "edit", descending=True).to_dicts()


def charts(portal: Portal, scope: Scope, code: str, grain: Grain) -> list[dict[str, Any]]:
    """For each of the five media: its periods, and one series for each carrier and unit; empty media are named too."""
    today = portal.today()
    first = today - timedelta(days=CHART_DAYS - 1) if grain == "day" else date(today.year, 1, 1)
    if grain == "day":
        periods = [str(first + timedelta(days=ahead)) for ahead in range(CHART_DAYS)]
    else:
        periods = [f"{today.year}-{month:02}" for month in range(1, today.month + 1)]
    used = by_carrier(portal.site, scope, first, today, grain, until=portal.clock(), enterprise=code)
    drawn = []
    for medium in FIVE_MEDIA:
        series = [
            {"carrier": carrier, "flow": flow, "unit": unit, "values": [values.get(period) for period in periods]}
            for (carrier, flow, unit), part in used.filter(pl.col("medium") == medium).group_by(["carrier", "flow", "unit"], maintain_order=True)
            for values in [dict(part.select("period", "quantity").iter_rows())]
        ]
        drawn.append({"medium": medium, "periods": periods, "series": series})
    return drawn
