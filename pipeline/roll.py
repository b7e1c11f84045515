"""Readings -> hourly and daily consumption, only for the days that changed, widened by the reach of the interval rules."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from config import calendar
from monitors.completeness import received_runs
from monitors.intervals import Grain, counted, spread
from monitors.reach import REACH, affected_days, short_of_reach
from pipeline.site import Site
from store.derived import Table

READINGS_AT_ONCE = 500_000  # about as many are worked on at once: bounds the memory
GRAINS: Final[Mapping[Table, Grain]] = {"hourly": "hour", "daily": "day"}
ROLLED_WITH = "rolled_with"  # state: register_key -> fingerprint of the rows and events it was rolled up with


@dataclass
class Roller:
    """Keeps the derived tables equal to what the readings say."""

    site: Site
    _version: str = ""
    _readings_a_day: float | None = None  # of one register, as last seen

    def once(self) -> int:
        """Recompute what is dirty now; how many register-days were marked."""
        self._mark_changed_registers()
        dirty = self.site.ledger.dirty()
        if dirty.is_empty():
            return 0
        if self._readings_a_day is None:  # rather too many than too few
            self._readings_a_day = max(1.0, self.site.readings().count() / dirty.height)
        for run in _runs(dirty):
            length = (_day(run["day"].max()) - _day(run["day"].min())).days + 1
            keys = run["register_key"].unique().sort()
            while not keys.is_empty():
                step = max(1, int(READINGS_AT_ONCE / self._readings_a_day / length))
                part = run.filter(pl.col("register_key").is_in(keys.head(step).implode()))
                self._readings_a_day = max(1.0, self._recompute(part) / (min(step, keys.len()) * length))
                self.site.ledger.clear_dirty(part)
                keys = keys.slice(step)
        return dirty.height

    def _mark_changed_registers(self) -> None:
        """Mark all days of registers whose rows or events are other than those that they were rolled up with."""
        site = self.site
        version = site.register.version()
        if version == self._version:
            return
        now = _fingerprints(site.register.registers(), site.register.events())
        before: dict[str, int] = json.loads(site.ledger.get_state(ROLLED_WITH) or "{}")
        changed = [int(key) for key, print_ in before.items() if now.get(key) != print_]
        days = site.derived.days("daily")
        if changed and days:
            keys = pl.DataFrame({"register_key": changed}, schema={"register_key": pl.UInt32()})
            site.ledger.mark_dirty(keys.join(pl.DataFrame({"day": days}), how="cross"), at_once=True)
        site.ledger.set_state(ROLLED_WITH, json.dumps(now))
        self._version = version

    def _recompute(self, dirty: pl.DataFrame) -> int:
        """Replace the hours and days of some registers, as far as what is dirty can reach; how many readings that took."""
        zone = self.site.settings.site.zone
        keys = dirty["register_key"].unique().sort().to_list()
        chosen = pl.col("register_key").is_in(keys)
        registers, events = self.site.register.registers().filter(chosen), self.site.register.events().filter(chosen)
        span = calendar.day_span(_day(dirty["day"].min()), zone)[0], calendar.day_span(_day(dirty["day"].max()), zone)[1]
        # A changed reading changes the intervals to its neighbours, which may lie days away across a gap.
        touched = pl.concat([affected_days(self._reaching(keys, registers, span), zone, events, span), dirty.select("register_key", "day")])
        days = touched.group_by("register_key").agg(first=pl.col("day").min(), last=pl.col("day").max())
        span = calendar.day_span(_day(days["first"].min()), zone)[0], calendar.day_span(_day(days["last"].max()), zone)[1]
        readings = self._reaching(keys, registers, span)
        counting = counted(readings, registers, events, zone=zone)
        redone = days.select("register_key", day=pl.date_ranges("first", "last")).explode("day")
        for table, grain in GRAINS.items():
            rows = spread(counting, grain).with_columns(day=pl.col("start").dt.convert_time_zone(zone).dt.date())
            self.site.derived.replace(table, rows.join(redone, on=["register_key", "day"], how="semi"), redone)
        came = received_runs(readings, zone)
        self.site.derived.replace("received", came.join(redone, on=["register_key", "day"], how="semi"), redone)
        return readings.height

    def _reaching(self, keys: list[int], registers: pl.DataFrame, span: tuple[datetime, datetime]) -> pl.DataFrame:
        """READING of the span and, on either side, as many as the rules look at: more where bad ones among them do not count."""
        store, zone = self.site.readings(), self.site.settings.site.zone
        readings, pad = store.span(keys, *span, pad=REACH), REACH
        while (short := short_of_reach(readings, registers, *span, pad=pad, zone=zone)).len():
            pad *= 4
            readings = pl.concat([readings.filter(~pl.col("register_key").is_in(short.implode())), store.span(short.to_list(), *span, pad=pad)])
        return readings


def _fingerprints(registers: pl.DataFrame, events: pl.DataFrame) -> dict[str, int]:
    rows = registers.drop("known_from", "known_to").sort("register_key", "valid_from")
    rows = rows.select("register_key", row=rows.hash_rows(seed=0))
    happened = events.sort("register_key", "at").select("register_key", row=events.sort("register_key", "at").hash_rows(seed=1))
    both = pl.concat([rows, happened]).group_by("register_key", maintain_order=True).agg(pl.struct(pl.col("row").implode()).hash(seed=2).first())
    return {str(key): print_ for key, print_ in both.iter_rows()}


def _runs(dirty: pl.DataFrame) -> list[pl.DataFrame]:
    """The marks by runs of neighbouring days."""
    days = dirty.select(pl.col("day").unique().sort())
    runs = days.with_columns(run=(pl.col("day").diff() > timedelta(days=1)).fill_null(value=False).cum_sum())
    return [run.drop("run") for run in dirty.join(runs, on="day").partition_by("run", maintain_order=True)]


def _day(value: object) -> date:
    assert isinstance(value, date)
    return value
