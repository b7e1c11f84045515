"""How good the data of a site are: complete, alive, verified, repaired in time, and the index of it all.

Everything is computed when it is asked for, from the derived tables, the register, the ledger and the fleet: nothing has to be kept.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final, Literal

import polars as pl

from config import calendar
from config.schemas import COMPLETENESS, LIVENESS, MESSAGES_BY_DAY, OUTAGE, QUALITY_COUNT, conform, empty
from monitors import data_quality, repair
from monitors.calibration import DUE_WITHIN_DAYS, calibration
from monitors.completeness import SLOT, completeness, due_spans, messages_by_day, missing_windows, usual_intervals
from monitors.liveness import LOOK_BACK, gateway_status, register_liveness
from pipeline.site import Site
from store.fleet import ASKED_WINDOW, FLEET

LATE: Final = timedelta(hours=2)  # a reading may come so late before it is asked for
SUMS: Final = ("tariff_sum", "sub_meter")  # rules of validation that hold a register's figures against others
KEPT_DAYS: Final = 183  # gateways keep six months of history
_NAMES: Final = {"enterprise": pl.String(), "meter": pl.String(), "register": pl.String()}
STATUS: Final = pl.Schema({**FLEET, "status": pl.String(), "clock_wrong": pl.Boolean()})
REGISTER_COMPLETENESS: Final = pl.Schema({**_NAMES, **{name: dtype for name, dtype in COMPLETENESS.items() if name != "register_key"}})
REGISTER_LIVENESS: Final = pl.Schema({**_NAMES, **{name: dtype for name, dtype in LIVENESS.items() if name != "register_key"}})


def gateways(site: Site, now: datetime) -> pl.DataFrame:
    """STATUS: the fleet, and how each gateway is now."""
    return conform(gateway_status(site.fleet.gateways(), now), STATUS)


def registers(site: Site, now: datetime) -> pl.DataFrame:
    """REGISTER_LIVENESS: registers that sent within the last days, and whether they are stale or frozen."""
    zone = site.settings.site.zone
    received = site.derived.read("received", calendar.local_day(now - LOOK_BACK, zone), calendar.local_day(now, zone)).collect()
    return conform(register_liveness(received, now).join(_names(site), on="register_key"), REGISTER_LIVENESS)


def readings_by_day(site: Site, first: date, last: date, now: datetime) -> pl.DataFrame:
    """REGISTER_COMPLETENESS of the local days first..last, both included: slots due until now and received."""
    zone = site.settings.site.zone
    start, end = calendar.day_span(first, zone)[0], min(calendar.day_span(last, zone)[1], now)
    spans = due_spans(_first_received(site, last), _read_ones(site), start, end)
    found = completeness(site.derived.read("received", first, last).collect(), spans, zone)
    return conform(found.join(_names(site), on="register_key").sort(*_NAMES, "day"), REGISTER_COMPLETENESS)


def messages(site: Site, first: date, last: date) -> pl.DataFrame:
    """MESSAGES_BY_DAY of the local days first..last, both included."""
    return conform(messages_by_day(site.fleet.highest(), site.ledger.gaps()).filter(pl.col("day").is_between(first, last)), MESSAGES_BY_DAY)


def windows(site: Site, now: datetime) -> pl.DataFrame:
    """ASKED_WINDOW up to `end`: where registers of known gateways have no readings, of the last six months, LATE and longer ago.

    Where readings come less often than every slot, what lies between two of them is no gap.
    """
    zone = site.settings.site.zone
    today = calendar.local_day(now, zone)
    received = site.derived.read("received", today - timedelta(days=KEPT_DAYS), today).collect()
    spans = due_spans(received, _read_ones(site), calendar.day_span(today - timedelta(days=KEPT_DAYS), zone)[0], now - LATE)
    found = missing_windows(received, spans).join(usual_intervals(received), on="register_key", how="left").filter(
        (pl.col("end") - pl.col("start") + SLOT).dt.total_seconds() > pl.col("usual_interval_s").fill_null(0.0)
    )
    senders = site.register.registers().group_by("register_key").agg(pl.col("gateway").drop_nulls().last(), *(pl.col(name).last() for name in _NAMES))
    named = found.join(senders.filter(pl.col("gateway").is_not_null()), on="register_key")
    return named.select(list(ASKED_WINDOW)[:-3])


def verifications(site: Site, on: date, within_days: int = DUE_WITHIN_DAYS) -> pl.DataFrame:
    """CALIBRATION of all meters as of a day."""
    return calibration(site.register.meter_history(), site.calibration_intervals(), on, within_days)


def repairs(site: Site, now: datetime) -> pl.DataFrame:
    """OUTAGE of the last six months, as readings that must have come until LATE before now say."""
    zone, until = site.settings.site.zone, now - LATE
    today = calendar.local_day(now, zone)
    first = today - timedelta(days=KEPT_DAYS)
    since = calendar.day_span(first, zone)[0]
    registers = _read_ones(site)
    received = site.derived.read("received", first, today).collect()
    spans = due_spans(pl.concat([received, _first_received(site, first)], how="diagonal"), registers, since, until)
    if spans.is_empty():
        return empty(OUTAGE)
    names = registers.group_by("register_key").agg(pl.col("enterprise", "meter").last())
    return repair.outages(
        received, spans, names, site.repairs.reports(), site.holidays(), since=since, until=until, now=now, zone=zone,
    )


def exchanges(site: Site) -> pl.DataFrame:
    """EXCHANGE: all exchanges of meters in the register."""
    return repair.exchanges(site.register.exchange_entries(), site.holidays(), site.settings.site.zone)


def index(
    site: Site, first: date, last: date, now: datetime, levels: Iterable[data_quality.Level], grain: Literal["month", "span"] = "month",
) -> dict[data_quality.Level, pl.DataFrame]:
    """QUALITY_INDEX over the local days first..last, both included, as far as they have begun.

    Args:
        site: the adapters.
        first: first day.
        last: last day.
        now: what is due and verified is so until now.
        levels: by meter, enterprise or park.
        grain: each month by itself, or all days together.

    Returns:
        QUALITY_INDEX by level; a period is "2025-03" where it is that month (so far), else "2025-03-05/2025-03-20".
    """
    zone = site.settings.site.zone
    last = min(last, calendar.local_day(now, zone))
    periods = _periods(first, last, calendar.local_day(now, zone), grain)
    weights, meters = site.quality_weights(), _counted(site)
    counts = empty(QUALITY_COUNT) if periods.is_empty() else _counts(site, first, last, now, periods, weights)
    return {by: data_quality.data_quality(counts, meters, periods, weights, by) for by in levels}


def _counts(site: Site, first: date, last: date, now: datetime, periods: pl.DataFrame, weights: pl.DataFrame) -> pl.DataFrame:
    """QUALITY_COUNT of all parts."""
    zone = site.settings.site.zone
    start, end = calendar.day_span(first, zone)[0], min(calendar.day_span(last, zone)[1], now)
    registers = _read_ones(site)
    names = registers.group_by("register_key").agg(pl.col("enterprise", "meter").last())
    received = site.derived.read("received", first, last).collect()
    spans = due_spans(_first_received(site, last), registers, start, end)
    came = site.derived.read("arrivals", first, last).collect()
    verdicts = site.derived.read("verdict_counts", first, last).filter(pl.col("rule").is_null()).collect()
    judged = _judged(verdicts)
    starts = site.derived.read("day_starts", first, last).collect()
    refused = site.quarantine.by_day(start, end, zone)
    return pl.concat([
        data_quality.completeness_counts(completeness(received, spans, zone), names, periods),
        *(data_quality.accuracy_counts(verifications(site, to), period) for period, _, to in periods.iter_rows()),
        data_quality.timeliness_counts(came, received, weights, names, periods),
        data_quality.verifiability_counts(came, received, _checked(site, periods), names, periods),
        data_quality.validity_counts(judged, received, names, periods),
        data_quality.conformity_counts(received, refused, judged, starts, spans, names, periods),
    ])


def _periods(first: date, last: date, today: date, grain: Literal["month", "span"]) -> pl.DataFrame:
    """period, first, last: the months of some days, or these as a whole."""
    rows: list[tuple[str, date, date]] = []
    while first <= last:
        month = f"{first:%Y-%m}"
        begin, end = calendar.period_days(month)
        to = min(end, last) if grain == "month" else last
        whole = first == begin and to == min(end, today) and to <= end
        rows.append((month if whole else f"{first}/{to}", first, to))
        first = to + timedelta(days=1)
    return pl.DataFrame(rows, orient="row", schema={"period": pl.String(), "first": pl.Date(), "last": pl.Date()})


def _counted(site: Site) -> pl.DataFrame:
    """enterprise, meter, park of all meters, in the park of their site or else of their enterprise; and each enterprise without a meter."""
    enterprises = site.register.enterprises().select("enterprise", "park")
    sites = site.register.sites().select("enterprise", "site", park_of_site="park")
    meters = site.register.meters().join(enterprises, on="enterprise", how="left").join(sites, on=["enterprise", "site"], how="left")
    meters = meters.select("enterprise", "meter", park=pl.coalesce("park_of_site", "park"))
    return pl.concat([meters, enterprises.select("enterprise", meter=pl.lit(None, pl.String()), park="park")])


def _read_ones(site: Site) -> pl.DataFrame:
    """REGISTER rows in force of registers that are read: what a formula gives is owed by nobody."""
    return site.register.registers().filter(pl.col("kind") != "derived")


def _judged(verdicts: pl.DataFrame) -> pl.DataFrame:
    """register_key, day, passed, failed, unknown: readings by their verdict, of the days at which validation looked."""
    said = {name: pl.col("readings").filter(pl.col("verdict") == name).sum() for name in ("passed", "failed", "unknown")}
    return verdicts.group_by("register_key", "day").agg(**said)


def _checked(site: Site, periods: pl.DataFrame) -> pl.DataFrame:
    """register_key, period: registers' figures that were held against a second source.

    These are sums of tariff registers and sub-meters against their total, and figures of bills, weighbridges, receipts or stock-taking
    whose last day lies in the period, of a carrier that the register measures; what the enterprise itself reports is no second source.
    """
    days = periods.select("period", day=pl.date_ranges("first", "last")).explode("day")
    if periods.is_empty():
        return pl.DataFrame(schema={"register_key": pl.UInt32(), "period": pl.String()})
    first, last = periods["first"].min(), periods["last"].max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    held = site.derived.read("balances", first, last).filter(pl.col("rule").is_in(SUMS), pl.col("verdict") != "unknown")
    totals = held.select("register_key", "day").unique().collect()
    parts = site.register.balances().filter(pl.col("kind") != "output").select("part_key", register_key="total_key").unique()
    members = totals.join(parts, on="register_key").select("day", register_key="part_key")
    figures = site.reported.monthly.frame().filter(pl.col("kind") != "report").select("enterprise", "carrier", day="last_day")
    billed = site.register.assignments().select("register_key", "enterprise", "carrier").join(figures, on=["enterprise", "carrier"])
    every = pl.concat([one.select("register_key", "day") for one in (totals, members, billed)])
    return every.join(days, on="day").select("register_key", "period").unique()


def _first_received(site: Site, last: date) -> pl.DataFrame:
    """The first run of each register ever: register_key, start."""
    days = [day for day in site.derived.days("received") if day <= last]
    if not days:
        return site.derived.read("received", last, last).collect()
    return site.derived.read("received", days[0], days[-1]).select("register_key", "start").group_by("register_key").min().collect()


def _names(site: Site) -> pl.DataFrame:
    return site.register.registers().group_by("register_key").agg(pl.col(name).last() for name in _NAMES)
