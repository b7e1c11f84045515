"""Readings -> hourly and daily consumption, only for the days that changed, widened by the reach of the interval rules."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import polars as pl
import structlog

from config import calendar
from config.errors import ServiceUnavailableError, StoreFullError
from monitors.intervals import REACH, Grain, affected_days, counted, spread
from pipeline.site import Site
from store.derived import DerivedTables, Table
from store.readings import ReadingStore

REGISTER_DAYS = 50_000  # as many register-days are computed at once: bounds memory, about 5 M readings at a quarter hour
GRAINS: Final[Mapping[Table, Grain]] = {"hourly": "hour", "daily": "day"}
log = structlog.get_logger("roll")


@dataclass
class Roller:
    """Keeps the derived tables equal to what the readings say."""

    site: Site
    readings: ReadingStore | None = None  # others than the site's (rebuild)
    derived: DerivedTables | None = None
    problem: str = ""

    def run(self, stop: threading.Event) -> None:
        """Roll up until told to stop."""
        while not stop.is_set():
            try:
                self.once()
                self.problem = ""
            except (ServiceUnavailableError, StoreFullError) as error:
                if str(error) != self.problem:
                    log.warning("waiting", reason=str(error))
                self.problem = str(error)
            stop.wait(self.site.settings.roll.interval_s)

    def once(self) -> int:
        """Recompute what is dirty now; how many register-days were marked."""
        dirty = self.site.ledger.dirty()
        if dirty.is_empty():
            return 0
        for part in _parts(dirty):
            self._recompute(part)
            self.site.ledger.clear_dirty(part)
        return dirty.height

    def _recompute(self, dirty: pl.DataFrame) -> None:
        zone = self.site.settings.site.zone
        store = self.readings or self.site.readings()
        derived = self.derived or self.site.derived
        keys = dirty["register_key"].unique().sort().to_list()
        first, last = _span_of(dirty)
        start, end = calendar.day_span(first, zone)[0], calendar.day_span(last, zone)[1]
        # A changed reading changes the intervals to its neighbours, which may lie days away across a gap.
        touched = pl.concat([affected_days(store.span(keys, start, end, pad=REACH), zone), dirty.select("register_key", "day")])
        days = touched.group_by("register_key").agg(first=pl.col("day").min(), last=pl.col("day").max())
        start, end = calendar.day_span(_day(days["first"].min()), zone)[0], calendar.day_span(_day(days["last"].max()), zone)[1]
        chosen = pl.col("register_key").is_in(keys)
        counting = counted(
            store.span(keys, start, end, pad=REACH), self.site.register.registers().filter(chosen), self.site.register.events().filter(chosen),
            zone=zone,
        )
        redone = days.select("register_key", day=pl.date_ranges("first", "last")).explode("day")
        for table, grain in GRAINS.items():
            rows = spread(counting, grain).with_columns(day=pl.col("start").dt.convert_time_zone(zone).dt.date())
            derived.replace(table, rows.join(redone, on=["register_key", "day"], how="semi"), redone)


def _parts(dirty: pl.DataFrame) -> list[pl.DataFrame]:
    """Cut the marks into runs of neighbouring days, and those by size."""
    days = dirty.select(pl.col("day").unique().sort())
    runs = days.with_columns(run=(pl.col("day").diff() > timedelta(days=1)).fill_null(value=False).cum_sum())
    parts = []
    for (_,), run in dirty.join(runs, on="day").sort("run", "register_key", "day").group_by(["run"], maintain_order=True):
        length = (run["day"].max() - run["day"].min()).days + 1  # type: ignore[operator,union-attr]  # dates, not empty
        keys = run["register_key"].unique(maintain_order=True)
        step = max(1, REGISTER_DAYS // length)
        parts += [run.filter(pl.col("register_key").is_in(keys[at : at + step].implode())).drop("run") for at in range(0, keys.len(), step)]
    return parts


def _span_of(dirty: pl.DataFrame) -> tuple[date, date]:
    return _day(dirty["day"].min()), _day(dirty["day"].max())


def _day(value: object) -> date:
    assert isinstance(value, date)
    return value
