"""Readings -> hourly and daily consumption, only for the days that changed, widened by the reach of the interval rules."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final, Literal

import polars as pl

from config import calendar
from monitors.completeness import received_runs
from monitors.data_quality import arrivals
from monitors.editing import edited, filled
from monitors.intervals import Counted, counted, spread, uncovered
from monitors.reach import REACH, SIGHT, affected_days, day_ranges, short_of_reach, widened
from pipeline.changes import Rows, changed_windows, days_of, rolled_with, set_rolled_with
from pipeline.site import Site
from store.derived import Table

READINGS_AT_ONCE = 1_000_000  # about as many are worked on at once: bounds the memory
ROWS_AT_ONCE = 2_000_000  # of derived tables that wait to be written together
GRAINS: Final[Mapping[Table, Literal["hour", "day"]]] = {"hourly": "hour", "daily": "day"}
_LONG: Final = timedelta(days=200 * 366)  # longer than any register


@dataclass
class Roller:
    """Keeps the derived tables equal to what the readings, the register and the edits say.

    `alone`: the days around what is dirty are not in these tables (they are those of another time), so readings tell of them.
    """

    site: Site
    alone: bool = False
    _versions: tuple[str, ...] = ()
    _rows: Rows = field(default_factory=Rows)
    _readings_a_day: float | None = None  # of one register, as last seen
    _waiting: dict[Table, list[tuple[pl.DataFrame, pl.DataFrame]]] = field(default_factory=lambda: defaultdict(list))

    def once(self) -> int:
        """Recompute what is dirty now; how many register-days were marked."""
        self._take_changes()
        dirty = self.site.ledger.dirty()
        if dirty.is_empty():
            return 0
        if self._readings_a_day is None:  # rather too many than too few
            self._readings_a_day = max(1.0, self.site.readings().count() / dirty.height)
        for run in _runs(dirty):
            done = []
            first, last = _day(run["day"].min()), _day(run["day"].max())
            length, keys = (last - first).days + 1, run["register_key"].unique().sort()
            while not keys.is_empty():
                step = max(1, int(READINGS_AT_ONCE / self._readings_a_day / length))
                taken = self._recompute(keys.head(step).to_list(), first, last)
                self._readings_a_day = max(1.0, taken / (min(step, keys.len()) * length))
                done.append(run.filter(pl.col("register_key").is_in(keys.head(step).implode())))
                keys = keys.slice(step)
                if sum(rows.height for table in self._waiting.values() for rows, _ in table) > ROWS_AT_ONCE:
                    self._write(done)
            self._write(done)  # before other days are worked on: they look at what these showed
        return dirty.height

    def _take_changes(self) -> None:
        """Mark the days in which the register's rows, events or edits are other than those that the tables were computed with."""
        site = self.site
        versions = (site.register.version(), str(site.edits.version()))
        if versions == self._versions:
            return
        self._rows = Rows(site.register.registers(), site.register.events(), site.edits.effective())
        days = site.derived.days("daily")
        if days:
            changed = days_of(changed_windows(rolled_with(site.ledger), self._rows), days[0], days[-1], site.settings.site.zone)
            site.ledger.mark_dirty(self._with_neighbours(changed), at_once=True)
        set_rolled_with(site.ledger, self._rows)
        self._versions = versions

    def _with_neighbours(self, changed: pl.DataFrame) -> pl.DataFrame:
        """Days of registers, and those before and after that the readings next to them lie in: register_key, day."""
        days = self.site.derived.days("ranges")
        if changed.is_empty() or not days:
            return changed
        whole = self.site.derived.read("ranges", days[0], days[-1]).select("register_key", "day", whole=pl.col("head").is_not_null())
        known = whole.join(changed.lazy().select("register_key").unique(), on="register_key", how="semi").collect().sort("day")
        full = known.filter("whole").select("register_key", "day", found="day")
        ends = known.group_by("register_key").agg(first=pl.col("day").min(), last=pl.col("day").max())
        at = changed.sort("day")
        one = timedelta(days=1)
        before = at.with_columns(day=pl.col("day") - one).join_asof(full, on="day", by="register_key", strategy="backward", check_sortedness=False)
        after = at.with_columns(day=pl.col("day") + one).join_asof(full, on="day", by="register_key", strategy="forward", check_sortedness=False)
        spans = pl.DataFrame({"register_key": at["register_key"], "day": at["day"], "low": before["found"], "high": after["found"]})
        spans = spans.join(ends, on="register_key", how="left").select(
            "register_key", low=pl.min_horizontal("day", pl.coalesce("low", "first")), high=pl.max_horizontal("day", pl.coalesce("high", "last")),
        ).unique()
        return spans.select("register_key", day=pl.date_ranges("low", "high")).explode("day").unique()

    def _recompute(self, keys: list[int], first: date, last: date) -> int:
        """Compute some local days of some registers again, and what they reach; how many readings that took."""
        given, done = self._counted(keys, first, last)
        now, own = day_ranges(done), pl.col("day").is_between(first, last)
        was = self._ranges_around(keys, first, last)
        windows = self._windows(now, was, keys, first, last)
        # Neighbouring days stay as they are where the readings next to them are those that were there before.
        edges = now.filter(own).group_by("register_key", maintain_order=True).agg(pl.col("head").first(), pl.col("tail").last())
        before = was.filter(own).sort("day").group_by("register_key", maintain_order=True).agg(pl.col("head").first(), pl.col("tail").last())
        same = edges.join(before, on="register_key", suffix="_was").select(
            "register_key", left=pl.col("head") == pl.col("head_was"), right=pl.col("tail") == pl.col("tail_was"),
        )
        reached = affected_days(given, self.site.settings.site.zone, self._of(keys).events, self._span(first, last))
        spans = windows.join(same, on="register_key", how="left").join(
            reached.rename({"first": "from", "last": "to"}), on="register_key", how="left",
        ).select(
            "register_key", "widened",
            first=pl.when(pl.col("left").fill_null(value=False)).then("first").otherwise(pl.min_horizontal("first", "from")),
            last=pl.when(pl.col("right").fill_null(value=False)).then("last").otherwise(pl.max_horizontal("last", "to")),
        )
        within = ~pl.col("widened") & (pl.col("first") >= first) & (pl.col("last") <= last)
        self._put(given, done, spans.filter(within))
        taken = given.height
        for (begin, end, is_wide), part in spans.filter(~within).group_by("first", "last", "widened", maintain_order=True):
            some, low, high = part["register_key"].to_list(), _day(begin), _day(end)
            if is_wide:  # the readings next to a window that was widened may be others than before
                beside = affected_days(self._counted(some, low, high)[0], self.site.settings.site.zone, self._of(some).events, self._span(low, high))
                low, high = min(low, _day(beside["first"].min())), max(high, _day(beside["last"].max()))
            taken += self._replace(some, low, high, known=(first, last))
        return taken

    def _replace(self, keys: list[int], first: date, last: date, known: tuple[date, date]) -> int:
        """Compute just these days again, from as many readings as that takes; how many. Only on the `known` days are readings others."""
        given, done = self._counted(keys, first, last)
        windows = self._windows(day_ranges(done), self._ranges_around(keys, first, last), keys, first, last)
        calm = windows.filter(~pl.col("widened")).with_columns(first=pl.lit(first), last=pl.lit(last))
        self._put(given, done, calm, known)
        taken = given.height
        for (begin, end), part in windows.filter("widened").group_by("first", "last", maintain_order=True):
            given, done = self._counted(part["register_key"].to_list(), _day(begin), _day(end))
            self._put(given, done, part.with_columns(first=pl.lit(first), last=pl.lit(last)), known)
            taken += given.height
        return taken

    def _counted(self, keys: list[int], first: date, last: date) -> tuple[pl.DataFrame, Counted]:
        """READING of some local days and, on either side, as many as the rules look at; and what counts of those that edits leave."""
        store, zone, span, rows = self.site.readings(), self.site.settings.site.zone, self._span(first, last), self._of(keys)
        given, pad = store.span(keys, *span, pad=REACH), REACH
        while True:
            left, _ = edited(given, rows.edits)
            done = counted(left, rows.registers, rows.events, zone=zone, confirmed=rows.edits.filter(pl.col("kind") == "confirm"))
            short = short_of_reach(done, given, *span, pad=pad)  # more where bad ones among them do not count
            if short.is_empty():
                return given, done
            pad *= 4
            given = pl.concat([given.filter(~pl.col("register_key").is_in(short.implode())), store.span(short.to_list(), *span, pad=pad)])

    def _ranges_around(self, keys: list[int], first: date, last: date, sight: timedelta = SIGHT) -> pl.DataFrame:
        """DAY_RANGE of what the tables hold of these registers, from `sight` before the days to `sight` after."""
        if self.alone:
            return day_ranges(self._counted(keys, first - sight, last + sight)[1])
        stored = self.site.derived.read("ranges", first - sight, last + sight)
        return stored.join(pl.LazyFrame({"register_key": keys}, schema={"register_key": pl.UInt32}), on="register_key", how="semi").collect()

    def _windows(self, now: pl.DataFrame, was: pl.DataFrame, keys: list[int], first: date, last: date) -> pl.DataFrame:
        """register_key, first, last, widened: the days that are decided together with first..last, between two seams."""
        asked = pl.DataFrame({"register_key": keys}, schema={"register_key": pl.UInt32}).with_columns(first=pl.lit(first), last=pl.lit(last))
        registers = self._of(keys).registers
        falls = registers.filter(pl.col("kind") == "cumulative", ~pl.col("net").fill_null(value=False))["register_key"].unique()
        extremes = pl.col("low").min(), pl.col("high").max()
        around = [
            was.filter(pl.col("day") < first).group_by("register_key").agg(pl.col("day").min(), *extremes),
            was.filter(pl.col("day") > last).group_by("register_key").agg(pl.col("day").max(), *extremes),
        ]
        inside = was.filter(pl.col("day").is_between(first, last))
        near = pl.concat([now, inside, *around], how="diagonal").sort("register_key", "day")
        found = widened(near, asked.filter(pl.col("register_key").is_in(falls.implode())))
        wide = found.filter(pl.col("open") | (pl.col("first") < first) | (pl.col("last") > last))["register_key"]
        windows = asked.filter(~pl.col("register_key").is_in(wide.implode())).with_columns(widened=pl.lit(value=False))
        sight = SIGHT
        while len(wide):
            some = wide.to_list()
            near = pl.concat([now.filter(pl.col("register_key").is_in(some)), self._ranges_around(some, first, last, sight)])
            found = widened(near.sort("register_key", "day"), asked.filter(pl.col("register_key").is_in(some)))
            days = self.site.derived.days("ranges")
            is_all = sight > _LONG or (not self.alone and bool(days) and first - sight <= days[0] and last + sight >= days[-1])
            known = found.filter(~pl.col("open") | is_all)
            windows = pl.concat([windows, known.select("register_key", "first", "last", widened=pl.lit(value=True))])
            wide, sight = wide.filter(~wide.is_in(known["register_key"].implode())), sight * 4
        return windows

    def _put(self, given: pl.DataFrame, done: Counted, spans: pl.DataFrame, known: tuple[date, date] | None = None) -> None:
        """Let the rows of some days (register_key, first, last) wait to be written; of days that are not `known` if they come out otherwise."""
        if spans.is_empty():
            return
        zone = self.site.settings.site.zone
        redone = spans.select("register_key", day=pl.date_ranges("first", "last")).explode("day")
        own = pl.col("start").dt.convert_time_zone(zone).dt.date()
        estimates = self._of(spans["register_key"].to_list()).edits.filter(pl.col("kind") == "estimate")
        tables: dict[Table, pl.DataFrame] = {}
        for table, grain in GRAINS.items():
            rows = spread(done, grain)
            if estimates.height:
                low, high = self._span(_day(spans["first"].min()), _day(spans["last"].max()))
                gaps = uncovered(done, estimates.select("register_key").unique().with_columns(start=pl.lit(low), end=pl.lit(high)))
                rows = filled(rows, gaps, estimates, grain, zone)
            tables[table] = rows.with_columns(day=own)
        tables["flags"] = done.flags.with_columns(day=own)
        tables["ranges"] = _with_results(day_ranges(done), tables["hourly"], tables["flags"])
        if known is not None:
            redone = self._differing(redone, tables["ranges"], known)
        tables["received"], tables["arrivals"] = received_runs(given, zone), arrivals(given, zone)
        for name, rows in tables.items():
            self._waiting[name].append((rows.join(redone, on=["register_key", "day"], how="semi"), redone))

    def _differing(self, days: pl.DataFrame, ranges: pl.DataFrame, known: tuple[date, date]) -> pl.DataFrame:
        """Those days (register_key, day) that are known to differ, or whose hours and flags do."""
        key = ["register_key", "day"]
        stored = self.site.derived.read("ranges", _day(days["day"].min()), _day(days["day"].max())).select(*key, was="result")
        both = days.join(ranges.select(*key, "result"), on=key, how="left").join(
            stored.join(days.lazy(), on=key, how="semi").collect(), on=key, how="left",
        )
        return both.filter(pl.col("day").is_between(*known) | pl.col("result").ne_missing(pl.col("was")) | pl.col("was").is_null()).select(key)

    def _write(self, done: list[pl.DataFrame]) -> None:
        """Write what waits, then take the marks away."""
        for table, parts in self._waiting.items():
            self.site.derived.replace(table, pl.concat([rows for rows, _ in parts]), pl.concat([days for _, days in parts]))
        self._waiting.clear()
        for marks in done:
            self.site.ledger.clear_dirty(marks)
        done.clear()

    def _of(self, keys: list[int]) -> Rows:
        """The register's rows, events and edits of some registers."""
        chosen = pl.col("register_key").is_in(keys)
        return Rows(self._rows.registers.filter(chosen), self._rows.events.filter(chosen), self._rows.edits.filter(chosen))

    def _span(self, first: date, last: date) -> tuple[datetime, datetime]:
        """The instants from the start of a local day to the end of another."""
        zone = self.site.settings.site.zone
        return calendar.day_span(first, zone)[0], calendar.day_span(last, zone)[1]


def _with_results(ranges: pl.DataFrame, hours: pl.DataFrame, flags: pl.DataFrame) -> pl.DataFrame:
    """DAY_RANGE with the fingerprints of hours and flags. Days without readings have none: they lie between days that have."""
    key = ["register_key", "day"]
    plain = [table.with_columns(pl.selectors.enum().to_physical()) for table in (hours, flags)]
    rows = pl.concat([table.select(*key, result=table.hash_rows(seed=seed)) for seed, table in enumerate(plain)])
    prints = rows.group_by(key).agg(pl.col("result").bitwise_xor())
    return ranges.drop("result").join(prints, on=key, how="left", maintain_order="left")


def _runs(dirty: pl.DataFrame) -> list[pl.DataFrame]:
    """The marks by runs of neighbouring days."""
    days = dirty.select(pl.col("day").unique().sort())
    runs = days.with_columns(run=(pl.col("day").diff() > timedelta(days=1)).fill_null(value=False).cum_sum())
    return [run.drop("run") for run in dirty.join(runs, on="day").partition_by("run", maintain_order=True)]


def _day(value: object) -> date:
    assert isinstance(value, date)
    return value
