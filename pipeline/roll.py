"""Readings -> hourly and daily consumption, only for the days that changed, widened by the reach of the interval rules."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final, Literal, NamedTuple

import polars as pl

from config import calendar
from monitors import formulas, vee_bounds, vee_days
from monitors.completeness import received_runs
from monitors.data_quality import arrivals
from monitors.editing import confirmed, edited, effects, filled
from monitors.falls import NEARBY
from monitors.intervals import COUNTED_KINDS, Counted, counted, spread, uncovered
from monitors.reach import REACH, SIGHT, affected_days, day_ranges, short_of_reach, widened
from pipeline.changes import Rows, changed_days, days_of, rolled_with, set_rolled_with
from pipeline.site import Site
from pipeline.validate import balance, changed_bounds, rules_of, validate
from store.derived import Table

READINGS_AT_ONCE = 2_000_000  # about as many are worked on at once: bounds the memory
ROWS_AT_ONCE = 2_000_000  # of derived tables that wait to be written together
GRAINS: Final[Mapping[Table, Literal["hour", "day"]]] = {"hourly": "hour", "daily": "day"}
_DAY: Final = ("register_key", "day")
_SEEN: Final = ("register_key", "day", "low", "high", "first", "last", "head", "tail")
_PRINTS: Final = ("result", "grounds")  # of DAY_RANGE: what a day's rows are known again by
_LONG: Final = timedelta(days=200 * 366)  # longer than any register


class _Look(NamedTuple):
    """Readings of some days with their reach, and what the rules make of them."""

    given: pl.DataFrame  # READING
    aside: pl.DataFrame  # SET_ASIDE, by edits and by the interval rules
    confirmed: pl.DataFrame  # WINDOW
    replaced: pl.DataFrame  # FLAG
    done: Counted


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
    _redone: list[pl.DataFrame] = field(default_factory=list)  # register_key, day: of which something may be other than before

    def once(self) -> int:
        """Recompute what is dirty now; how many register-days were marked."""
        self._take_changes()
        dirty = self.site.ledger.dirty()
        if dirty.is_empty():
            return 0
        if self._readings_a_day is None:  # rather too many than too few
            self._readings_a_day = max(1.0, self.site.readings().count() / dirty.height)
        for run in _runs(dirty):
            self._roll(run)
            self.site.ledger.clear_dirty(run)
        return dirty.height

    def _roll(self, run: pl.DataFrame) -> None:
        """Replace neighbouring days, whole before other days are worked on: these look at what they show."""
        registers = self._rows.registers
        derived = registers.filter(pl.col("kind") == "derived")["register_key"].unique()
        first, last, all_keys = _day(run["day"].min()), _day(run["day"].max()), run["register_key"].unique().sort()
        length, keys = (last - first).days + 1, all_keys.filter(~all_keys.is_in(derived.implode()))
        self._redone = [run.select("register_key", "day")]
        while not keys.is_empty():
            step = max(1, int(READINGS_AT_ONCE / (self._readings_a_day or 1.0) / length))
            taken = self._recompute(keys.head(step).to_list(), first, last)
            self._readings_a_day = max(1.0, taken / (min(step, keys.len()) * length))
            keys = keys.slice(step)
            if sum(rows.height for table in self._waiting.values() for rows, _ in table) > ROWS_AT_ONCE:
                self._write()
        if len(derived):
            self._write()
            days = formulas.with_derived(pl.concat(self._redone).unique(), registers)
            self._derive(days.filter(pl.col("register_key").is_in(derived.implode())))
        self._write()

    def _take_changes(self) -> None:
        """Mark the days in which the register's rows, events or edits are other than those that the tables were computed with."""
        site = self.site
        versions = (site.register.version(), str(site.edits.version()))
        if versions == self._versions:
            return
        rows = Rows(site.register.registers(), site.register.events(), site.edits.effective(), rules_of(site))
        days, before, zone = site.derived.days("daily"), rolled_with(site.ledger), site.settings.site.zone
        changed = changed_days(before, rows, days, zone)
        if days and not (before.rules.equals(rows.rules) and before.registers.equals(rows.registers)):
            bounds = changed_bounds(vee_bounds.bounds(before.registers, before.rules), vee_bounds.bounds(rows.registers, rows.rules))
            changed = pl.concat([changed, days_of(bounds, days[0], days[-1], zone)]).unique()
        if changed.height:
            site.ledger.mark_dirty(self._with_neighbours(changed), at_once=True)
        self._rows = rows
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
        """Compute some local days of some registers again, and what they reach; how many readings were looked at first."""
        was, taken = self._ranges_around(keys, first, last), 0
        come = self._arriving(was, keys, first)
        if come:
            left, taken = self._append(come, was, first, last)
            keys = sorted(set(keys) - set(come) | set(left))
            was = was.filter(pl.col("register_key").is_in(keys))
        return taken + self._compute_again(keys, was, first, last) if keys else taken

    def _arriving(self, was: pl.DataFrame, keys: list[int], first: date) -> list[int]:
        """The registers of which nothing is known yet of some days and what comes after, but all of the day before."""
        day, before = pl.col("day"), first - timedelta(days=1)
        known = was.filter(day >= first)["register_key"]
        whole = was.filter(day == before, pl.col("tail").is_not_null(), ~pl.col("register_key").is_in(known.implode()))["register_key"]
        with_events = self._of(keys).events["register_key"]
        return whole.filter(~whole.is_in(with_events.implode())).to_list()

    def _append(self, keys: list[int], was: pl.DataFrame, first: date, last: date) -> tuple[list[int], int]:
        """Compute days that are new, and the one before, which goes on in them; the registers for which that is not enough, and the readings."""
        before = first - timedelta(days=1)
        look = self._look(keys, before, last)
        now, after = day_ranges(look.done), look.given.filter(pl.col("read_at") >= self._span(first, last)[1])["register_key"].unique()
        whole = now.filter(pl.col("day") == before, pl.col("tail").is_not_null(), ~pl.col("register_key").is_in(after.implode()))["register_key"]
        for begin in (first, before):  # no fall reaches across their ends
            windows = self._windows(now, was, whole.to_list(), begin, last)
            whole = windows.filter(~pl.col("widened"))["register_key"]
        self._put(look, pl.DataFrame({"register_key": whole}).with_columns(first=pl.lit(before), last=pl.lit(last)), known=(first, last))
        return sorted(set(keys) - set(whole)), look.given.height

    def _compute_again(self, keys: list[int], was: pl.DataFrame, first: date, last: date) -> int:
        """Compute days of which something may be known; how many readings were looked at first."""
        look = self._look(keys, first, last)
        now, own = day_ranges(look.done), pl.col("day").is_between(first, last)
        # Neighbouring days stay as they are where the readings next to them are those that were there before.
        ends = pl.col("head").first(), pl.col("tail").last()
        edges, before = (rows.filter(own).sort("day").group_by("register_key", maintain_order=True).agg(*ends) for rows in (now, was))
        same = edges.join(before, on="register_key", suffix="_was").select(
            "register_key", left=pl.col("head") == pl.col("head_was"), right=pl.col("tail") == pl.col("tail_was"),
        )
        reached = self._beside(keys, look, first, last).rename({"first": "from", "last": "to"})
        windows = self._windows(now, was, keys, first, last)
        spans = windows.join(same, on="register_key", how="left").join(reached, on="register_key", how="left").select(
            "register_key", "widened",
            first=pl.when(pl.col("left").fill_null(value=False)).then("first").otherwise(pl.min_horizontal("first", "from")),
            last=pl.when(pl.col("right").fill_null(value=False)).then("last").otherwise(pl.max_horizontal("last", "to")),
        )
        within = ~pl.col("widened") & (pl.col("first") >= first) & (pl.col("last") <= last)
        self._put(look, spans.filter(within))
        for (begin, end, is_wide), part in spans.filter(~within).group_by("first", "last", "widened", maintain_order=True):
            some, low, high = part["register_key"].to_list(), _day(begin), _day(end)
            if is_wide:  # the readings next to a window that was widened may be others than before
                beside = self._beside(some, self._look(some, low, high), low, high)
                low, high = min(low, _day(beside["first"].min() or low)), max(high, _day(beside["last"].max() or high))
            self._replace(some, low, high, known=(first, last))
        return look.given.height

    def _replace(self, keys: list[int], first: date, last: date, known: tuple[date, date]) -> None:
        """Compute just these days again, from as many readings as that takes. Only on the `known` days are readings others."""
        look = self._look(keys, first, last)
        windows = self._windows(day_ranges(look.done), self._ranges_around(keys, first, last), keys, first, last)
        days = {"first": pl.lit(first), "last": pl.lit(last)}
        self._put(look, windows.filter(~pl.col("widened")).with_columns(**days), known)
        for (begin, end), part in windows.filter("widened").group_by("first", "last", maintain_order=True):
            look = self._look(part["register_key"].to_list(), _day(begin), _day(end))
            self._put(look, part.with_columns(**days), known)

    def _look(self, keys: list[int], first: date, last: date) -> _Look:
        """The readings of some local days and, on either side, as many as the rules look at; and what counts of those that edits leave."""
        store, zone, span, rows = self.site.readings(), self.site.settings.site.zone, self._span(first, last), self._of(keys)
        registers = rows.registers.filter(pl.col("kind").is_in(COUNTED_KINDS))
        has_consumption = pl.col("register_key").is_in(registers["register_key"].unique().implode())
        given, pad = store.span(keys, *span, pad=REACH), REACH
        while True:
            left, aside = edited(given, rows.edits)
            held = confirmed(rows.edits, left.clear(), aside)
            done = counted(left.filter(has_consumption), registers, rows.events, zone=zone, confirmed=held)
            seen = confirmed(rows.edits, left, done.set_aside)
            if not seen.equals(held):
                done = counted(left.filter(has_consumption), registers, rows.events, zone=zone, confirmed=seen)
            short = short_of_reach(done, given.filter(has_consumption), *span, pad=pad)  # more where bad ones among them do not count
            if short.is_empty():
                return _Look(given, pl.concat([aside, done.set_aside]), seen, effects(rows.edits, left, done.set_aside), done)
            pad *= 4
            given = pl.concat([given.filter(~pl.col("register_key").is_in(short.implode())), store.span(short.to_list(), *span, pad=pad)])

    def _beside(self, keys: list[int], look: _Look, first: date, last: date) -> pl.DataFrame:
        """register_key, first, last: the days to the readings or declared values next to some days."""
        return affected_days(look.done, look.given, self._of(keys).events, *self._span(first, last), zone=self.site.settings.site.zone)

    def _ranges_around(self, keys: list[int], first: date, last: date, sight: timedelta = SIGHT) -> pl.DataFrame:
        """_SEEN of DAY_RANGE of what the tables hold of these registers, from `sight` before the days to `sight` after."""
        if self.alone:
            return day_ranges(self._look(keys, first - sight, last + sight).done).select(_SEEN)
        stored = self.site.derived.read("ranges", first - sight, last + sight).select(_SEEN)
        return stored.join(pl.LazyFrame({"register_key": keys}, schema={"register_key": pl.UInt32}), on="register_key", how="semi").collect()

    def _windows(self, now: pl.DataFrame, was: pl.DataFrame, keys: list[int], first: date, last: date) -> pl.DataFrame:
        """register_key, first, last, widened: the days that are decided together with first..last, between two seams."""
        asked = pl.DataFrame({"register_key": keys}, schema={"register_key": pl.UInt32}).with_columns(first=pl.lit(first), last=pl.lit(last))
        registers = self._of(keys).registers
        falls = registers.filter(pl.col("kind") == "cumulative", ~pl.col("net").fill_null(value=False))["register_key"].unique()
        low, high = pl.col("low"), pl.col("high").max()
        around = [  # of the days before, only the last zeros matter
            was.filter(pl.col("day") < first).group_by("register_key").agg(pl.col("day").min(), low.sort_by("day").tail(NEARBY).min(), high),
            was.filter(pl.col("day") > last).group_by("register_key").agg(pl.col("day").max(), low.min(), high),
        ]
        inside = was.filter(pl.col("day").is_between(first, last))
        near = pl.concat([now, inside, *around], how="diagonal").sort("register_key", "day")
        found = widened(near, asked.filter(pl.col("register_key").is_in(falls.implode())))
        wide = found.filter(pl.col("open") | (pl.col("first") < first) | (pl.col("last") > last))["register_key"]
        windows = asked.filter(~pl.col("register_key").is_in(wide.implode())).with_columns(widened=pl.lit(value=False))
        sight = SIGHT
        while len(wide):
            some = wide.to_list()
            near = pl.concat([now.filter(pl.col("register_key").is_in(some)).select(_SEEN), self._ranges_around(some, first, last, sight)])
            found = widened(near.sort("register_key", "day"), asked.filter(pl.col("register_key").is_in(some)))
            days = self.site.derived.days("ranges")
            is_all = sight > _LONG or (not self.alone and bool(days) and first - sight <= days[0] and last + sight >= days[-1])
            known = found.filter(~pl.col("open") | is_all)
            windows = pl.concat([windows, known.select("register_key", "first", "last", widened=pl.lit(value=True))])
            wide, sight = wide.filter(~wide.is_in(known["register_key"].implode())), sight * 4
        return windows

    def _put(self, look: _Look, spans: pl.DataFrame, known: tuple[date, date] | None = None) -> None:
        """Let the rows of some days (register_key, first, last) wait to be written; of days that are not `known` if they come out otherwise."""
        if spans.is_empty():
            return
        zone = self.site.settings.site.zone
        redone = spans.select("register_key", day=pl.date_ranges("first", "last")).explode("day")
        own = pl.col("start").dt.convert_time_zone(zone).dt.date()
        rows_of, done = self._of(spans["register_key"].to_list()), look.done
        estimates = rows_of.edits.filter(pl.col("kind") == "estimate")
        tables: dict[Table, pl.DataFrame] = {}
        for table, grain in GRAINS.items():
            rows = spread(done, grain)
            if estimates.height:
                low, high = self._span(_day(spans["first"].min()), _day(spans["last"].max()))
                gaps = uncovered(done, estimates.select("register_key").unique().with_columns(start=pl.lit(low), end=pl.lit(high)))
                rows = filled(rows, gaps, estimates, grain, zone)
            tables[table] = rows.with_columns(day=own)
        tables["flags"] = pl.concat([done.flags, look.replaced]).with_columns(day=own)
        edges = vee_days.day_edges(look.given, look.aside, zone=zone)
        tables["ranges"] = _with_results(day_ranges(done), tables["hourly"], tables["flags"]).drop("grounds").join(
            vee_days.grounds(edges, look.aside, rows_of.registers, zone=zone), on=_DAY, how="left", maintain_order="left",
        )
        self._redone.append(redone)  # what follows by a formula may be another one where the hours are the same
        came = judged = redone
        if known is not None:
            differs, own = self._differing(redone, tables["ranges"]), pl.col("day").is_between(*known)
            redone = differs.filter(own | pl.col("result") | pl.col("grounds")).select(_DAY)
            came, judged = differs.filter(own).select(_DAY), differs.filter(own | pl.col("grounds")).select(_DAY)
        if came.height:
            low, high = self._span(_day(came["day"].min()), _day(came["day"].max()))
            given = look.given.filter(pl.col("read_at") >= low, pl.col("read_at") < high)
            self._wait({"received": received_runs(given, zone), "arrivals": arrivals(given, zone)}, came)
        self._wait(tables, redone)
        self._wait(validate(self.site, look.given, look.aside, edges, rows_of.registers, rows_of.events, judged), judged)

    def _wait(self, tables: Mapping[Table, pl.DataFrame], days: pl.DataFrame) -> None:
        """Let the rows of some days (register_key, day) wait to be written."""
        for table, rows in tables.items():
            self._waiting[table].append((rows.join(days, on=_DAY, how="semi"), days))

    def _derive(self, days: pl.DataFrame) -> None:
        """Let the rows of registers that follow from others by a formula wait to be written, for some days (register_key, day)."""
        if days.is_empty():
            return
        zone, everything, key = self.site.settings.site.zone, self._rows.registers, pl.col("register_key")
        used = formulas.with_inputs(days["register_key"].unique(), everything).to_list()
        first, last = _day(days["day"].min()), _day(days["day"].max())
        inputs = everything.filter(key.is_in(used), pl.col("kind") != "derived")["register_key"].unique().to_list()
        look = self._look(inputs, first, last)
        windows = self._windows(day_ranges(look.done), self._ranges_around(inputs, first, last), inputs, first, last)
        if windows["widened"].any():
            look = self._look(inputs, _day(windows["first"].min()), _day(windows["last"].max()))
        rows, span = self._of(used), self._span(first, last)
        readings, _ = edited(look.given, rows.edits)
        found = formulas.evaluated(
            rows.registers.filter(pl.col("kind") == "derived"), readings, rows.registers, rows.events, zone=zone, edits=rows.edits,
            confirmed=look.confirmed,
        )
        estimates = rows.edits.filter(pl.col("kind") == "estimate", key.is_in(days["register_key"].implode()))
        gaps = formulas.uncovered(found, estimates.select("register_key").unique().with_columns(start=pl.lit(span[0]), end=pl.lit(span[1])))
        for table, grain in GRAINS.items():
            hours = formulas.spread(found, grain)
            hours = filled(hours, gaps, estimates, grain, zone) if estimates.height else hours
            hours = hours.with_columns(day=pl.col("start").dt.convert_time_zone(zone).dt.date())
            self._waiting[table].append((hours.join(days, on=["register_key", "day"], how="semi"), days))
        if found.set_aside.height:  # a pressure or temperature for which a formula has no factor
            states = found.set_aside["register_key"].unique()
            mine = key.is_in(states.implode())
            judged = pl.DataFrame({"register_key": states}).join(days.select(pl.col("day").unique()), how="cross")
            aside, those = pl.concat([look.aside.filter(mine), found.set_aside]), self._of(states.to_list())
            readings = look.given.filter(mine)
            edges = vee_days.day_edges(readings, aside, zone=zone)
            self._wait(validate(self.site, readings, aside, edges, those.registers, those.events, judged), judged)

    def _differing(self, days: pl.DataFrame, ranges: pl.DataFrame) -> pl.DataFrame:
        """register_key, day, result, grounds: of some days whether the hours and flags, or the grounds of verdicts, are other than in the tables."""
        stored = self.site.derived.read("ranges", _day(days["day"].min()), _day(days["day"].max())).select(*_DAY, *_PRINTS)
        both = days.join(ranges.select(*_DAY, *_PRINTS), on=_DAY, how="left").join(
            stored.join(days.lazy(), on=_DAY, how="semi").collect(), on=_DAY, how="left", suffix="_was",
        )
        was = [pl.col(f"{name}_was") for name in _PRINTS]
        return both.select(*_DAY, *(pl.col(name).ne_missing(one) | one.is_null() for name, one in zip(_PRINTS, was, strict=True)))

    def _write(self) -> None:
        """Write what waits."""
        written = [days for _, days in self._waiting["daily"]]
        for table, parts in self._waiting.items():
            if parts:
                self.site.derived.replace(table, pl.concat([rows for rows, _ in parts]), pl.concat([days for _, days in parts]))
        self._waiting.clear()
        if written:
            balance(self.site, pl.concat(written))

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
