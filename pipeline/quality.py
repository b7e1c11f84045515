"""How complete and how alive the data of a site are, from the derived tables, the ledger and the fleet."""

from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from config import calendar
from config.schemas import COMPLETENESS, LIVENESS, MESSAGES_BY_DAY, conform
from monitors.completeness import SLOT, completeness, due_spans, messages_by_day, missing_windows, usual_intervals
from monitors.liveness import LOOK_BACK, gateway_status, register_liveness
from pipeline.site import Site
from store.fleet import ASKED_WINDOW, FLEET

LATE: Final = timedelta(hours=2)  # a reading may come so late before it is asked for
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
    spans = due_spans(_first_received(site, last), site.register.registers(), start, end)
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
    spans = due_spans(received, site.register.registers(), calendar.day_span(today - timedelta(days=KEPT_DAYS), zone)[0], now - LATE)
    found = missing_windows(received, spans).join(usual_intervals(received), on="register_key", how="left").filter(
        (pl.col("end") - pl.col("start") + SLOT).dt.total_seconds() > pl.col("usual_interval_s").fill_null(0.0)
    )
    senders = site.register.registers().group_by("register_key").agg(pl.col("gateway").drop_nulls().last(), *(pl.col(name).last() for name in _NAMES))
    named = found.join(senders.filter(pl.col("gateway").is_not_null()), on="register_key")
    return named.select(list(ASKED_WINDOW)[:-3])


def _first_received(site: Site, last: date) -> pl.DataFrame:
    """The first run of each register ever: register_key, start."""
    days = [day for day in site.derived.days("received") if day <= last]
    if not days:
        return site.derived.read("received", last, last).collect()
    return site.derived.read("received", days[0], days[-1]).select("register_key", "start").group_by("register_key").min().collect()


def _names(site: Site) -> pl.DataFrame:
    return site.register.registers().group_by("register_key").agg(pl.col(name).last() for name in _NAMES)
