"""The registers of enterprises of a site: key energy users, access by park and medium, projects with their quotas."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from config import calendar, key_units, schemas
from config.formulas import terms
from monitors import access as accessed
from monitors import key_units as units
from monitors import projects as planned
from pipeline import quality
from pipeline.site import Site

DELIVERED: Final = 0.9  # of a day's slots, at least: the register delivered on that day (decisions.md 6)
DAY_SHARES: Final = pl.Schema({"day": pl.Date(), **schemas.ACCESS_SHARE})
_YEARS: Final = pl.Schema({"period": pl.String(), **{name: dtype for name, dtype in schemas.YEAR_ENERGY.items() if name != "year"}})
_PLANT: Final = "unit"  # level of a metering point: what crosses the boundary of the enterprise (GB 17167)
_REGISTER: Final = ["enterprise", "meter", "register"]
_METER: Final = ["enterprise", "meter"]


def key_energy_users(site: Site, on: date) -> pl.DataFrame:
    """KEY_UNIT of the registered enterprises that have energy of any year, metered or reported, as of a day."""
    energy = site.derived.result("energy", _YEARS)
    metered = energy.filter(calendar.is_period("year")).with_columns(year=pl.col("period").cast(pl.Int32))
    law = key_units.thresholds(site.settings.site.tables_dir)
    rows = units.key_units(schemas.conform(metered, schemas.YEAR_ENERGY), site.figures.energies(), site.register.designations(), law, on)
    return rows.join(site.register.enterprises().select("enterprise"), on="enterprise", how="semi")


def access(site: Site, on: date, now: datetime, *, live: bool) -> pl.DataFrame:
    """ACCESS of all parks: on a local day by what came on it, or (`live`) by what comes now.

    A plant-level point is one of level `unit` in the sheet `metering_point`; where an enterprise has none of a medium, its meters of that
    medium with an assigned register that is no sub-meter. Its meter delivers on a day on which at least 90 % of the slots of each of
    its registers have a reading; live, while none of them is stale. Whether an enterprise is a key energy user follows from its last year
    that is over and known; else from what the register says of it (`key_unit`).
    """
    if live:
        return _access(site, on, quality.registers(site, now).select(*_REGISTER, delivers=~pl.col("stale")))
    return _access(site, on, _delivered(site, on, on, now))


def access_shares(site: Site, rows: pl.DataFrame, on: date) -> pl.DataFrame:
    """ACCESS_SHARE of what `access` gave, against the goals in force on a day."""
    return accessed.shares(rows, key_units.access_goals(site.settings.site.tables_dir), site.register.parks(), on)


def access_by_day(site: Site, days: Iterable[date], now: datetime) -> pl.DataFrame:
    """ACCESS_SHARE with the local `day` before it (DAY_SHARES), for several days."""
    asked, found = sorted(days), [schemas.empty(DAY_SHARES)]
    if not asked:
        return found[0]
    came = _delivered(site, asked[0], asked[-1], now)
    for day in asked:
        shares = access_shares(site, _access(site, day, came.filter(pl.col("day") == day)), day)
        found.append(schemas.conform(shares.with_columns(day=pl.lit(day)), DAY_SHARES))
    return pl.concat(found)


def project_states(site: Site, on: date) -> pl.DataFrame:
    """PROJECT_STATE of all projects as of a day."""
    register = site.register
    projects = register.projects()
    if projects.is_empty():
        return schemas.empty(schemas.PROJECT_STATE)
    conditions = key_units.entry_conditions(site.settings.site.tables_dir)
    return planned.project_states(projects, register.quotas(), site.limits(), conditions, register.parks(), on)


def expected_energy(site: Site, first: date, last: date, on: date) -> pl.DataFrame:
    """EXPECTED_ENERGY of the months from `first` to `last`: what approved projects that do not operate yet will add."""
    return planned.expected_energy(project_states(site, on), first, last, on)


def _access(site: Site, on: date, came: pl.DataFrame) -> pl.DataFrame:
    """ACCESS of a day, by the registers that deliver (enterprise, meter, register, delivers)."""
    places = _places(site, on)
    points = _points(site, _meters(site, on, came), places)
    return accessed.access(_with_status(site, places.members, on), _declared(site, places, on), points)


class _Places(NamedTuple):
    """Where enterprises are on a day, and where their meters are."""

    members: pl.DataFrame  # park, enterprise
    sites: pl.DataFrame  # enterprise, site as the register names it, owner (to whom it counts), park
    homes: pl.DataFrame  # enterprise, park


def _places(site: Site, on: date) -> _Places:
    """The parks of the sites that an enterprise holds; where it holds none, its own (decisions.md 14: parks count sites)."""
    start, end = calendar.day_span(on, site.settings.site.zone)
    register = site.register
    held = register.holdings().filter(_valid(start, end)).unique(["enterprise", "site"], keep="last").select(
        "enterprise", "site", held_by="owner", held_in="park",
    )
    sites = register.sites().join(held, on=["enterprise", "site"], how="left").select(
        "enterprise", "site", owner=pl.coalesce("held_by", "enterprise"), park=pl.coalesce("held_in", "park"),
    )
    homes = register.enterprises().select("enterprise", "park")
    at_sites = sites.select("park", enterprise="owner")
    bare = register.meters().filter(pl.col("site").is_null()).select("enterprise")  # meters of no site are at home
    at_home = pl.concat([homes.join(at_sites, on="enterprise", how="anti"), homes.join(bare, on="enterprise", how="semi")])
    members = pl.concat([at_sites, at_home.select("park", "enterprise")]).unique().sort("park", "enterprise")
    return _Places(members, sites, homes)


def _with_status(site: Site, members: pl.DataFrame, on: date) -> pl.DataFrame:
    listed = units.latest(key_energy_users(site, on)).select("enterprise", "listed")
    told = members.join(site.register.enterprises().select("enterprise", "key_unit"), on="enterprise", how="left")
    key = pl.coalesce("listed", "key_unit")
    return told.join(listed, on="enterprise", how="left").with_columns(
        members=pl.when(key).then(pl.lit("key")).when(~key).then(pl.lit("other"))
    )


def _meters(site: Site, on: date, came: pl.DataFrame) -> pl.DataFrame:
    """enterprise, meter, medium, plant, delivers: each meter that has a register on a day.

    Its assigned registers that are no sub-meters count (`plant`), else all of them. A derived register delivers where those in its formula do.
    """
    start, end = calendar.day_span(on, site.settings.site.zone)
    valid = _valid(start, end)
    registers = site.register.registers().filter(valid)
    assigned = site.register.assignments().filter(valid).select("register_key").unique()
    parts = site.register.balances().filter(valid, pl.col("kind") == "sub_meter").select(register_key="part_key").unique()
    plant = assigned.join(parts, on="register_key", how="anti").with_columns(plant=pl.lit(value=True))
    came = came.select(*_REGISTER, "delivers")
    shown = registers.join(plant, on="register_key", how="left").with_columns(pl.col("plant").fill_null(value=False))
    shown = shown.join(came, on=_REGISTER, how="left").with_columns(pl.col("delivers").fill_null(value=False))
    derived = _derived(registers).join(came, on=_REGISTER, how="left").group_by("register_key").agg(
        by_formula=pl.col("delivers").fill_null(value=False).all()
    )
    shown = shown.join(derived, on="register_key", how="left").with_columns(delivers=pl.coalesce("by_formula", "delivers"))
    counted = pl.col("plant") | ~pl.col("plant").any().over(_METER)
    return shown.filter(counted).group_by(*_METER, "medium").agg(pl.col("plant").any(), pl.col("delivers").all())


def _derived(registers: pl.DataFrame) -> pl.DataFrame:
    """register_key of each derived register, with enterprise, meter and register of those that its formula names."""
    rows = registers.to_dicts() if registers.filter(kind="derived").height else []
    named = [(rows[term.row]["register_key"], *term.register) for term in terms(rows)[0]]
    return pl.DataFrame(named, orient="row", schema={"register_key": pl.UInt32(), **dict.fromkeys(_REGISTER, pl.String())})


def _points(site: Site, meters: pl.DataFrame, places: _Places) -> pl.DataFrame:
    """park, enterprise, medium, name, delivers: the plant-level points in use."""
    needed = site.register.metering_points().filter(pl.col("level") == _PLANT)
    named = needed.join(meters.select(*_METER, "delivers"), on=_METER, how="left").select(
        *_METER, "medium", name=pl.coalesce("meter", "point"),
        delivers=pl.when(pl.col("meter").is_not_null()).then(pl.col("delivers").fill_null(value=False)),
    )
    others = meters.filter("plant").join(needed, on=["enterprise", "medium"], how="anti").select(*_METER, "medium", "delivers", name="meter")
    sites = site.register.meters().select(*_METER, "site")
    points = pl.concat([named, others.select(named.columns)]).join(sites, on=_METER, how="left")
    at = points.join(places.sites, on=["enterprise", "site"], how="left").join(places.homes, on="enterprise", how="left", suffix="_home")
    return at.select("medium", "name", "delivers", park=pl.coalesce("park", "park_home"), enterprise=pl.coalesce("owner", "enterprise"))


def _declared(site: Site, places: _Places, on: date) -> pl.DataFrame:
    """enterprise, park (null: in all its parks), medium: the declared lists in force on a day."""
    used = site.register.media_used().filter(_valid(on, on + timedelta(days=1))).join(places.sites, on=["enterprise", "site"], how="left")
    return used.select("park", "medium", enterprise=pl.coalesce("owner", "enterprise")).unique()


def _delivered(site: Site, first: date, last: date, now: datetime) -> pl.DataFrame:
    """enterprise, meter, register, day, delivers: of the registers that send."""
    came = quality.readings_by_day(site, first, last, now)
    return came.select(*_REGISTER, "day", delivers=pl.col("completeness_ratio") >= DELIVERED)


def _valid(start: date, end: date) -> pl.Expr:
    """Whether a row of the register holds at some time of a span, its end not included."""
    return (pl.col("valid_from") < end).fill_null(value=True) & (pl.col("valid_to") > start).fill_null(value=True)
