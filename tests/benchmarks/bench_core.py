"""How fast the analytics core is, beside plain Python with the same rules and DuckDB SQL without them, in one run.

    python tests/benchmarks/bench_core.py [PART ...] [--quick] [--runs N] [--write]

Parts: hours, year, minutes, memory, window, roller, screening, rollup, region, verdicts, files. Without a part all run; --quick takes a hundredth
of the sizes, to see that they work; --write puts the results into docs/benchmarks/core.json. Each figure is the best of the runs, wall time
and processor time of the whole process each; figures hold for a quiet machine.
"""

import argparse
import gc
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import duckdb
import polars as pl
from stdnum.cn import uscc
from typer.testing import CliRunner

import pipeline.roll
from config import coal_equivalents, data_rules, limit_tables
from config import settings as site_settings
from config.allocator import keep_freed_memory
from config.benchmarks import benchmarks
from config.schemas import ASSIGNMENT, COEFFICIENT, CONFIRMATION, EVENT, INTERVAL, QUALITY, READING, REGISTER, conform, empty
from monitors.corrections import Parameter, parameters
from monitors.energy import energy, sum_energy
from monitors.intensity import intensity
from monitors.intervals import counted, intervals, spread
from monitors.limits import limits
from monitors.quantities import quantities
from monitors.reach import REACH
from monitors.rollup import coarser
from monitors.vee import screened
from pipeline.roll import Roller
from pipeline.site import Site
from portal.cli.calc import app

ROOT = Path(__file__).parents[2]
ZONE = "Asia/Shanghai"
BEGIN = datetime(2025, 5, 31, 16, tzinfo=UTC)  # local 1 June 2025
HOUR_US = 3_600_000_000
NO_EVENTS = pl.DataFrame(schema=EVENT)
RESULTS = ROOT / "docs" / "benchmarks" / "core.json"
# One of so many readings: received 30 h late; a false zero; a step back by the resolution. One of so many registers passes its modulus, is reset.
LATE, FALSE_ZERO, JITTER, WRAPS, RESETS = 100, 20_000, 5_000, 50, 100


@dataclass(frozen=True)
class Took:
    """The best of some runs."""

    wall_s: float
    cpu_s: float

    def of(self, readings: int, aim: float | None = None) -> str:
        """Both, as speed and as processor time for a million, for so many readings."""
        aimed = "" if aim is None else f" (aim {aim:g})"
        return f"{self.wall_s * 1e3:,.0f} ms, {readings / self.wall_s / 1e6:.2f} M/s{aimed}, {self.cpu_s / readings * 1e6:.3f} CPU-s a million"


def cpu_s() -> float:
    """Processor time of this process so far, its threads and the kernel's work for it included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def best(work: Callable[[], object], runs: int) -> Took:
    """Run some times and keep the shortest times."""
    walls, cpus = [], []
    for _ in range(runs):
        gc.collect()
        began, busy = time.perf_counter(), cpu_s()
        work()
        walls.append(time.perf_counter() - began)
        cpus.append(cpu_s() - busy)
    return Took(min(walls), min(cpus))


def peak_mb() -> float:
    """The most memory that this process held since `reset_peak`."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


# --- data -------------------------------------------------------------------------------------------------------------

def park(registers: int, days: int, every: str = "15m") -> tuple[pl.DataFrame, pl.DataFrame]:
    """READING in order of arrival, and REGISTER: a modulus of a million, 100 an hour at most, steps of 0.01.

    Registers are read at even steps, each some seconds after the full minute. Which readings are late, false zeros or steps back and which
    registers wrap or are reset follows from their numbers: the same in every run.
    """
    slots = pl.datetime_range(BEGIN, BEGIN + timedelta(days=days), every, closed="left", eager=True, time_unit="us")
    each = len(slots)
    frame = pl.DataFrame({"row": pl.int_range(registers * each, eager=True)}).with_columns(register_key=(pl.col("row") // each).cast(pl.UInt32))
    hashed = pl.col("row") * 2_654_435_761 % 4_294_967_291
    key, per_h = pl.col("register_key").cast(pl.Int64), each / days / 24
    used = (hashed % 4_000 / 100 / per_h).round(2)  # 0 .. 40 an hour
    start = pl.when(key % WRAPS == 7).then(1e6 - 10 * days * 24).otherwise(key * 977 % 500_000)  # so it wraps half way through
    since = pl.duration(microseconds=(pl.col("row") % each) * (days * 24 * HOUR_US // each) + key * 37 % 240 * 1_000_000)
    frame = frame.with_columns(value=(start + used.cum_sum().over("register_key")) % 1e6, read_at=pl.lit(BEGIN, pl.Datetime("us", "UTC")) + since)
    was_reset = (key % RESETS == 13) & (pl.col("row") % each > each // 3)
    since_reset = pl.col("value") - pl.col("value").get(each // 3).over("register_key")
    frame = frame.with_columns(pl.when(was_reset).then(since_reset).otherwise("value").round(2))
    frame = frame.with_columns(
        value=pl.when(hashed % FALSE_ZERO == 17).then(0.0).when(hashed % JITTER == 11).then(
            (pl.col("value").shift(1).over("register_key") - 0.01).clip(0),
        ).otherwise("value"),
    ).with_columns(
        pl.col("value").fill_null(0.0), received_at=pl.col("read_at") + pl.duration(hours=pl.when(hashed % LATE == 3).then(30).otherwise(0)),
    )
    frame = frame.sort("received_at", maintain_order=True)
    readings = conform(frame.with_columns(copy=pl.lit(0), quality=pl.lit(0), message=pl.int_range(pl.len(), dtype=pl.Int64)), READING)
    keys = pl.DataFrame({"register_key": pl.int_range(registers, dtype=pl.UInt32, eager=True)})
    declared = keys.with_columns(
        enterprise=pl.format("91150400MA{}", pl.col("register_key").cast(pl.String).str.zfill(8)), meter=pl.lit("E-1"),
        register=pl.lit("active_import"), medium=pl.lit("electricity"), unit=pl.lit("kWh"),
        kind=pl.lit("cumulative"), modulus=pl.lit(1e6), max_rate_per_h=pl.lit(100.0),
        resolution=pl.lit(0.01), multiplier=pl.lit(1.0),
    )
    return readings, conform(declared, REGISTER)


def reference() -> ModuleType:
    """The plain rules that the tests hold the kernel against."""
    spec = importlib.util.spec_from_file_location("plain_rules", ROOT / "tests" / "monitors" / "plain_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


DUCKDB_HOURS = f"""
CREATE OR REPLACE TABLE hours AS
WITH steps AS (
  SELECT register_key, value, read_at, lag(read_at) OVER one AS a, lag(value) OVER one AS before
  FROM readings WINDOW one AS (PARTITION BY register_key ORDER BY read_at)
), pieces AS (
  SELECT *, unnest(range(a // {HOUR_US}, (read_at - 1) // {HOUR_US} + 1)) AS hour FROM steps WHERE read_at > a
)
SELECT register_key, hour,
  sum((value - before) * (least(read_at, (hour + 1) * {HOUR_US}) - greatest(a, hour * {HOUR_US})) / (read_at - a)) AS quantity,
  sum(least(read_at, (hour + 1) * {HOUR_US}) - greatest(a, hour * {HOUR_US})) / {HOUR_US} AS covered_ratio
FROM pieces GROUP BY register_key, hour
"""


# --- parts ------------------------------------------------------------------------------------------------------------

def hours(scale: float, runs: int) -> dict[str, Any]:
    """Registers to hours with all rules, beside plain Python with the same rules and DuckDB without them."""
    registers = max(20, int(1000 * scale))
    readings, declared = park(registers, 30)
    ours = best(lambda: intervals(readings, declared, NO_EVENTS, by="hour", zone=ZONE), runs)
    done = intervals(readings, declared, NO_EVENTS, by="hour", zone=ZONE)
    deciding = best(lambda: counted(readings, declared, NO_EVENTS, zone=ZONE), runs)
    what = counted(readings, declared, NO_EVENTS, zone=ZONE)
    spreading = best(lambda: spread(what, "hour"), runs)
    as_days = best(lambda: spread(what, "day"), runs)

    plain = reference()
    sample = range(7, registers, max(1, registers // 4))  # a register that wraps among them
    rows = {key: readings.filter(pl.col("register_key") == key).rows(named=True) for key in sample}
    by_hand = best(lambda: [plain.spread(plain.plain(mine, declared.filter(pl.col("register_key") == key).rows(named=True), []).steps, "hour", ZONE)
                            for key, mine in rows.items()], min(runs, 3))
    taken = sum(len(mine) for mine in rows.values())

    with tempfile.TemporaryDirectory(prefix="tcewatch-bench-") as folder, duckdb.connect(config={"threads": 2}) as db:
        readings.select("register_key", pl.col("read_at").to_physical(), "value").write_parquet(f"{folder}/readings.parquet")
        db.execute(f"CREATE TABLE readings AS SELECT * FROM read_parquet('{folder}/readings.parquet')")
        sql = best(lambda: db.execute(DUCKDB_HOURS), runs)
        db.execute("SELECT count(*) FROM hours")
        rows_by_sql = int((db.fetchone() or (0,))[0])

    flags = dict(done.flags["flag"].value_counts(sort=True).iter_rows())
    plain_ratio, sql_ratio = by_hand.wall_s / taken * readings.height / ours.wall_s, sql.wall_s / ours.wall_s
    print(f"{registers} registers x 30 days x 96, {readings.height:,} readings in order of arrival -> {done.intervals.height:,} hours; "
          f"{done.set_aside.height} set aside; flags {flags}")
    print(f"  all rules          {ours.of(readings.height, 12)} (aim 0.13)")
    print(f"    what counts {deciding.wall_s * 1e3:.0f} ms (CPU {deciding.cpu_s * 1e3:.0f}), to hours {spreading.wall_s * 1e3:.0f} (CPU "
          f"{spreading.cpu_s * 1e3:.0f}), to days instead {as_days.wall_s * 1e3:.0f} (CPU {as_days.cpu_s * 1e3:.0f})")
    print(f"  plain Python       {taken / by_hand.wall_s / 1e3:,.0f} k/s, the same rules ({taken:,} readings): ours is {plain_ratio:.0f} x (aim 40)")
    print(f"  DuckDB, no rules   {sql.of(readings.height)} -> {rows_by_sql:,} hours: ours is {sql_ratio:.1f} x (aim 2), in processor time "
          f"{sql.cpu_s / ours.cpu_s:.1f} x")
    return {
        "readings": readings.height, "hours": done.intervals.height, "flags": flags, "set_aside": done.set_aside.height,
        "all_rules": asdict(ours), "what_counts": asdict(deciding), "to_hours": asdict(spreading), "to_days": asdict(as_days),
        "plain_python": {"readings": taken, **asdict(by_hand)}, "times_plain": plain_ratio,
        "duckdb_without_rules": asdict(sql), "times_duckdb": sql_ratio,
    }


def plainly(what: str, registers: int, days: int, every: str, aim: float, runs: int) -> dict[str, Any]:
    """Readings to hours with all rules."""
    readings, declared = park(registers, days, every)
    took = best(lambda: intervals(readings, declared, NO_EVENTS, by="hour", zone=ZONE), runs)
    print(f"{what}, {readings.height:,} readings: {took.of(readings.height, aim)}")
    return {"readings": readings.height, **asdict(took)}


def year(scale: float, runs: int) -> dict[str, Any]:
    """Ten million readings of a year."""
    registers = max(3, int(286 * scale))
    return plainly(f"{registers} registers x 365 days x 96", registers, 365, "15m", 8, runs)


def minutes(scale: float, runs: int) -> dict[str, Any]:
    """One meter, minute by minute."""
    days = max(10, int(365 * scale))
    return plainly(f"one register x {days} days x 1440", 1, days, "1m", 8, max(runs, 5))


def memory(scale: float, _: int) -> dict[str, Any]:
    """How much memory is held beyond the input, in a process of its own."""
    readings, declared = park(max(20, int(1000 * scale)), 30)
    with tempfile.TemporaryDirectory(prefix="tcewatch-bench-") as folder:
        readings.write_parquet(f"{folder}/readings.parquet")
        declared.write_parquet(f"{folder}/registers.parquet")
        found = apart("memory", folder)
    print(f"memory: the input is {found['input_mb']:.0f} MB, hours of it take {found['growth_mb']:.0f} MB more at the peak: "
          f"{found['growth_mb'] / found['input_mb']:.1f} x (aim 6)")
    return {**found, "times_input": found["growth_mb"] / found["input_mb"]}


def memory_apart(folder: str) -> dict[str, float]:
    """In the process of its own: growth over the loaded input."""
    readings, declared = (pl.read_parquet(f"{folder}/{name}.parquet").rechunk() for name in ("readings", "registers"))
    intervals(readings.head(1000), declared, NO_EVENTS, by="hour", zone=ZONE)  # what the program itself takes
    gc.collect()
    reset_peak()
    before = peak_mb()
    done = intervals(readings, declared, NO_EVENTS, by="hour", zone=ZONE)
    assert done.intervals.height
    return {"input_mb": readings.estimated_size("mb"), "growth_mb": peak_mb() - before}


def apart(what: str, *arguments: str) -> dict[str, Any]:
    """Run a part of this file in a process of its own; what it tells."""
    command = [sys.executable, __file__, "--apart", what, *arguments]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def window(scale: float, runs: int) -> dict[str, Any]:
    """A dirty day of many registers with its reach, through the rules alone."""
    registers = max(20, int(1000 * scale))
    readings, declared = park(registers, 3)
    begin, reach = BEGIN + timedelta(days=1), timedelta(minutes=15 * (REACH + 1))
    near = readings.filter(pl.col("read_at").is_between(begin - reach, begin + timedelta(days=1) + reach))

    def work() -> None:
        what = counted(near, declared, NO_EVENTS, zone=ZONE)
        spread(what, "hour")
        spread(what, "day")

    took = best(work, max(runs, 10))
    print(f"dirty window, the rules alone: {registers} registers x 1 day, {near.height:,} readings with their reach, to hours and days: "
          f"{took.wall_s * 1e3:.1f} ms (aim 30), CPU {took.cpu_s * 1e3:.1f} ms")
    return {"registers": registers, "readings": near.height, **asdict(took)}


class Shares:
    """Wall and processor time of some functions while they are called, without that of each other."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = defaultdict(float)
        self.cpu_s: dict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._at = (0.0, 0.0)

    def _turn(self) -> None:
        now = time.perf_counter(), cpu_s()
        if self._stack:
            self.wall_s[self._stack[-1]] += now[0] - self._at[0]
            self.cpu_s[self._stack[-1]] += now[1] - self._at[1]
        self._at = now

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        self._turn()
        self._stack.append(name)
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Count what a function takes, from now on, to a name."""
        function = getattr(owner, attribute)

        def watched(*arguments: Any, **named: Any) -> Any:
            with self.of(name):
                return function(*arguments, **named)

        setattr(owner, attribute, watched)


def roller(scale: float, runs: int) -> dict[str, Any]:
    """A dirty day of a whole region through the real Roller on DuckDB: late readings in a day that stands, then a whole day that arrives."""
    registers = max(50, int(20_000 * scale))
    runs = min(runs, 3)
    with tempfile.TemporaryDirectory(prefix="tcewatch-bench-") as folder:
        site = Site(site_settings.build({"site": {"data_dir": Path(folder) / "data"}}))
        try:
            declare(site, registers)
            keys = site.register.registers()["register_key"].sort()
            readings = park(registers, 3 + runs)[0].with_columns(received_at="read_at")
            readings = readings.with_columns(keys.gather(readings["register_key"]))
            slot = (pl.col("read_at") - pl.lit(BEGIN)).dt.total_minutes() // 15
            held_back = [slot == 96 + 40 + 3 * run for run in range(runs)]  # of the second day
            stands = readings.filter(slot < 3 * 96, ~pl.any_horizontal(held_back))
            began = time.perf_counter()
            put(site, stands)
            appended = time.perf_counter() - began
            site.ledger.mark_dirty(marks(stands, set(range(3))), at_once=True)
            began = time.perf_counter()
            Roller(site).once()
            first_s = time.perf_counter() - began
            print(f"roller: {registers} registers, {stands.height:,} readings of 3 days stored in {appended:.1f} s and rolled up in {first_s:.1f} s")
            late = [(readings.filter(test), {1}) for test in held_back]
            arriving = [(readings.filter(slot.is_between(96 * (3 + run), 96 * (4 + run) - 1)), {3 + run}) for run in range(runs)]
            found: dict[str, Any] = {"registers": registers, "first_load_s": first_s}
            for name, cases in (("late readings inside a day", late), ("a whole day arriving", arriving)):
                found[name.replace(" ", "_")] = dirty(site, name, cases)
        finally:
            site.close()
    return found


def dirty(site: Site, name: str, cases: list[tuple[pl.DataFrame, set[int]]]) -> dict[str, Any]:
    """Store some readings and roll up what they make dirty; the best of the cases with its shares."""
    at_work, taken = Roller(site), []
    at_work.once()
    for readings, days in cases:
        put(site, readings)
        site.ledger.mark_dirty(marks(readings, days), at_once=True)
        with watching(site) as shares:
            began, busy = time.perf_counter(), cpu_s()
            with shares.of("the rest"):
                at_work.once()
            took = time.perf_counter() - began, cpu_s() - busy
        began = time.perf_counter()
        while at_work.once():  # verdicts of later days that look back to this one
            pass
        taken.append((*took, time.perf_counter() - began, shares))
    wall, cpu, later, shares = min(taken, key=lambda one: one[0])
    print(f"  {name}, {cases[0][0].height:,} readings: {wall:.2f} s (aim 1 for 20,000 registers), CPU {cpu:.2f} s; "
          f"then {later:.2f} s for the verdicts of later days")
    for part, share in sorted(shares.wall_s.items(), key=lambda item: -item[1]):
        print(f"    {part:<22} {share:6.2f} s, CPU {shares.cpu_s[part]:6.2f}")
    return {
        "readings": cases[0][0].height, "wall_s": wall, "cpu_s": cpu, "later_days_s": later, "shares_wall_s": dict(shares.wall_s),
        "shares_cpu_s": dict(shares.cpu_s),
    }


@contextmanager
def watching(site: Site) -> Iterator[Shares]:
    """Shares of the Roller's work."""
    shares, module = Shares(), pipeline.roll
    kept = [(owner, name, getattr(owner, name)) for owner, names in (
        (module, ("counted", "spread", "day_ranges", "widened", "short_of_reach", "affected_days", "received_runs", "arrivals", "edited", "validate",
                  "balance")),
        (site.derived, ("replace", "read")), (site.readings(), ("span",)),
    ) for name in names]
    names = {"counted": "kernel: what counts", "spread": "kernel: hours and days", "span": "reading the store", "validate": "validation",
             "balance": "validation", "replace": "writing tables", "read": "reading tables", "received_runs": "what was received",
             "arrivals": "what was received"}
    for owner, name, _ in kept:
        shares.watch(owner, name, names.get(name, "reach and edits"))
    try:
        yield shares
    finally:
        for owner, name, function in kept:
            if isinstance(owner, ModuleType):
                setattr(owner, name, function)
            else:
                delattr(owner, name)


def declare(site: Site, registers: int) -> None:
    """So many meters of one register each, fifty to an enterprise."""
    heads = [f"91159901MA0{number:06d}" for number in range(registers // 50 + 1)]
    codes = pl.Series([head + uscc.calc_check_digit(head) for head in heads])
    names = pl.DataFrame({"n": pl.int_range(registers, eager=True)}).select(
        enterprise=pl.lit(codes).gather(pl.col("n") // 50), gateway=pl.lit("GW-01"),
        meter=pl.format("E-{}", (pl.col("n") % 50).cast(pl.String).str.zfill(5)),
    )
    firms = names.select("enterprise").unique().sort("enterprise")
    site.register.apply({
        "region": pl.DataFrame({"region": ["159901"]}), "park": pl.DataFrame({"park": ["p1"], "region": ["159901"]}),
        "enterprise": firms.with_columns(name_zh=pl.lit("示例"), park=pl.lit("p1")),
        "gateway": firms.with_columns(gateway=pl.lit("GW-01"), region=pl.lit("159901")),
        "meter": names.with_columns(medium=pl.lit("electricity")),
        "register": names.drop("gateway").with_columns(
            register=pl.lit("active_import"), unit=pl.lit("kWh"), kind=pl.lit("cumulative"), modulus=pl.lit(1e6), max_rate_per_h=pl.lit(100.0),
            resolution=pl.lit(0.01),
        ),
    }, by="bench", known_from=BEGIN - timedelta(days=100))


def put(site: Site, readings: pl.DataFrame) -> None:
    for part in readings.iter_slices(500_000):
        site.readings().append(part)


def marks(readings: pl.DataFrame, days: set[int]) -> pl.DataFrame:
    """register_key, day: those days of all registers."""
    dates = pl.DataFrame({"day": [date(2025, 6, 1) + timedelta(days=day) for day in sorted(days)]})
    return readings.select(pl.col("register_key").unique()).join(dates, how="cross")


def screening(scale: float, runs: int) -> dict[str, Any]:
    """The rules on a single reading, before anything is stored."""
    readings, declared = park(max(20, int(1000 * scale)), 30)
    rules = data_rules.vee_rules(None, ZONE)
    took = best(lambda: screened(readings, declared, rules), runs)
    failed = screened(readings, declared, rules).failed.height
    print(f"screening: {readings.height:,} readings, {failed:,} of them fail: {took.of(readings.height, 12)}")
    return {"readings": readings.height, "failed": failed, **asdict(took)}


def rollup(scale: float, _: int) -> dict[str, Any]:
    """A year of hours of a region to days, month files one after the other, in a process of its own."""
    registers = max(100, int(20_000 * scale))
    with tempfile.TemporaryDirectory(prefix="tcewatch-bench-") as folder:
        rows = write_year(registers, folder)
        held = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
        found = apart("rollup", folder)
    print(f"hours to days: {rows:,} rows ({held:.0f} MB of Parquet) -> {found['days']:,}: {found['wall_s']:.1f} s (aim 8 for 175 M), "
          f"CPU {found['cpu_s']:.1f} s, {rows / found['wall_s'] / 1e6:.0f} M/s, peak {found['peak_mb']:.0f} MB (aim 500)")
    return {"rows": rows, "parquet_mb": held, **found}


def write_year(registers: int, folder: str) -> int:
    """Hours of a year, a file for each month; how many rows."""
    rows = 0
    for month in range(1, 13):
        frame = month_of_hours(registers, month)
        frame.write_parquet(f"{folder}/{month:02d}.parquet")
        rows += frame.height
    return rows


def month_of_hours(registers: int, month: int) -> pl.DataFrame:
    """INTERVAL of a local month, by register and hour."""
    first = datetime(2025, month, 1, tzinfo=UTC) - timedelta(hours=8)
    last = datetime(2025 + month // 12, month % 12 + 1, 1, tzinfo=UTC) - timedelta(hours=8)
    each = (last - first) // timedelta(hours=1)
    row, start = pl.int_range(registers * each, dtype=pl.Int64), pl.lit(first, pl.Datetime("us", "UTC"))
    hashed = row * 2_654_435_761 % 4_294_967_291
    return pl.select(
        register_key=(row // each).cast(pl.UInt32), start=start + pl.duration(hours=row % each), end=start + pl.duration(hours=row % each + 1),
        quantity=(hashed % 400_000) / 100, quality=pl.when(hashed % 200 == 0).then(1).otherwise(0).cast(pl.UInt8).cat.to(QUALITY),
        covered_ratio=pl.when(hashed % 500 == 1).then(0.5).otherwise(1.0), estimated_ratio=pl.when(hashed % 200 == 0).then(1.0).otherwise(0.0),
    ).select(INTERVAL.names())


def rollup_apart(folder: str) -> dict[str, float]:
    """In the process of its own: the months one after the other, written."""
    days = 0
    began, busy = time.perf_counter(), cpu_s()
    for path in sorted(Path(folder).glob("*.parquet")):
        found = coarser(pl.scan_parquet(path), "day", ZONE).collect(engine="streaming")
        found.write_parquet(path.with_suffix(".days"))
        days += found.height
    return {"days": days, "wall_s": time.perf_counter() - began, "cpu_s": cpu_s() - busy, "peak_mb": peak_mb()}


CARRIERS = {"electricity": "kWh", "raw_coal": "kg", "heat": "MJ", "diesel": "kg", "coke": "kg"}
REGISTERS_OF_ONE = 10


def region(scale: float, _: int) -> dict[str, Any]:
    """A year of hours, and of days, of a region to energy on both bases and intensity by enterprise and month, beside DuckDB."""
    registers = max(100, int(20_000 * scale))
    with tempfile.TemporaryDirectory(prefix="tcewatch-bench-") as folder:
        rows = write_year(registers, folder)
        for hours_of_month in sorted(Path(folder).glob("*.parquet")):
            coarser(pl.scan_parquet(hours_of_month), "day", ZONE).collect(engine="streaming").write_parquet(hours_of_month.with_suffix(".days"))
        for name, frame in declared_region(registers).items():
            frame.write_parquet(f"{folder}/{name}.table")
        found, sql = apart("region", folder), apart("region_sql", folder)
    apart_ratio = abs(found["tce"] - sql["tce"]) / abs(sql["tce"])
    assert apart_ratio < 1e-9, f"tcewatch {found['tce']}, DuckDB {sql['tce']}"
    times = found["cpu_s"] / sql["cpu_s"]
    print(f"region, hours to enterprises and months: {rows:,} rows: {found['wall_s']:.1f} s (aim 3), CPU {found['cpu_s']:.1f} s (aim 4), "
          f"{times:.2f} x DuckDB (aim 0.7; it has the sums alone), peak {found['peak_mb']:.0f} MB (aim 500); "
          f"from days {found['days_s']:.2f} s (aim 0.3)")
    return {"rows": rows, **found, "duckdb_wall_s": sql["wall_s"], "duckdb_cpu_s": sql["cpu_s"], "times_duckdb": times}


def declared_region(registers: int) -> dict[str, pl.DataFrame]:
    """Registers, what they measure, coefficients of which two change within the year, and value added."""
    key, names = pl.int_range(registers, dtype=pl.UInt32), list(CARRIERS)
    measured = pl.select(register_key=key).with_columns(
        enterprise=pl.format("E{}", pl.col("register_key") // REGISTERS_OF_ONE),
        carrier=(pl.col("register_key") % len(names)).replace_strict(dict(enumerate(names))), kind=pl.lit("interval"), flow=pl.lit("consumed"),
    ).with_columns(unit=pl.col("carrier").replace_strict(CARRIERS))
    dates = [date(2025, 1, 1), date(2025, 7, 1), date(2026, 1, 1)]
    brought = pl.DataFrame([
        {"carrier": carrier, "basis": basis, "unit": CARRIERS[carrier], "kgce_per_unit": kgce, "valid_from": start, "valid_to": end, "source": "-"}
        for carrier, basis, values in (
            ("electricity", "equivalent", (0.3, 0.298)), ("heat", "equivalent", (0.04, 0.04)), ("raw_coal", "calorific", (0.7143, 0.69)),
        ) for kgce, start, end in zip(values, dates, dates[1:], strict=False)
    ])
    months = pl.DataFrame({"period": [f"2025-{month:02d}" for month in range(1, 13)]})
    return {
        "registers": conform(measured, REGISTER), "assignments": conform(measured, ASSIGNMENT),
        "coefficients": coal_equivalents.overlay(coal_equivalents.coefficients(), conform(brought, COEFFICIENT)),
        "figures": measured.select("enterprise").unique(maintain_order=True).join(months, how="cross").with_columns(value_added_10k_cny=100.0),
    }


def region_apart(folder: str) -> dict[str, float]:
    """In the process of its own: the accounts from hours, one month's file after the other; the same from days."""
    known = {name: pl.read_parquet(f"{folder}/{name}.table") for name in ("registers", "assignments", "coefficients", "figures")}

    def accounted(suffix: str) -> float:
        files = (pl.scan_parquet(path) for path in sorted(Path(folder).glob(suffix)))
        used = quantities(files, known["registers"], known["assignments"], by="month", zone=ZONE)
        sums = sum_energy(energy(used, known["coefficients"]), ["enterprise", "period"])
        found = intensity(sums, known["figures"], "enterprise")
        return float(100 * found.select(pl.sum("calorific_tce_per_10k_cny", "equivalent_tce_per_10k_cny")).sum_horizontal().item())

    began, busy = time.perf_counter(), cpu_s()
    tce = accounted("*.parquet")
    found = {"tce": tce, "wall_s": time.perf_counter() - began, "cpu_s": cpu_s() - busy, "peak_mb": peak_mb()}
    days = best(lambda: accounted("*.days"), 3)
    assert abs(accounted("*.days") - tce) < 1e-6 * abs(tce)
    return {**found, "days_s": days.wall_s, "days_cpu_s": days.cpu_s}


def region_sql_apart(folder: str) -> dict[str, float]:
    """In the process of its own: one statement of DuckDB for both bases and the intensity, without coverage, reasons and sources."""
    statement = f"""
        with months as (
            select register_key, date_trunc('month', "start" + interval 8 hour) as month, sum(quantity) as quantity
            from (select register_key, make_timestamp(epoch_us("start")) as "start", quantity
                  from read_parquet('{folder}/*.parquet')) group by 1, 2
        ), used as (
            select enterprise, carrier, month, sum(quantity) as quantity
            from months join read_parquet('{folder}/assignments.table') using (register_key) group by 1, 2, 3
        ), bases as (
            select enterprise, month, sum(quantity * c.kgce_per_unit) / 1000 as calorific,
                sum(quantity * coalesce(e.kgce_per_unit, c.kgce_per_unit)) / 1000 as equivalent
            from used
            join read_parquet('{folder}/coefficients.table') c on c.carrier = used.carrier and c.basis = 'calorific'
                and month >= c.valid_from and (c.valid_to is null or month < c.valid_to)
            left join read_parquet('{folder}/coefficients.table') e on e.carrier = used.carrier and e.basis = 'equivalent'
                and month >= e.valid_from and (e.valid_to is null or month < e.valid_to)
            group by 1, 2
        )
        select sum(100 * (calorific / value_added_10k_cny + equivalent / value_added_10k_cny))
        from bases join read_parquet('{folder}/figures.table') f on f.enterprise = bases.enterprise and f.period = strftime(month, '%Y-%m')
    """
    with duckdb.connect(config={"threads": 2}) as db:
        began, busy = time.perf_counter(), cpu_s()
        row = db.execute(statement).fetchone()
        assert row is not None
        return {"tce": row[0], "wall_s": time.perf_counter() - began, "cpu_s": cpu_s() - busy}


def verdicts(scale: float, runs: int) -> dict[str, Any]:
    """A year of months of three products an enterprise against the limits, in process and as a command, beside a comparison in DuckDB."""
    products = made_in_a_year(max(100, int(10_000 * scale)))
    table, nobody = limit_tables.limits(), empty(CONFIRMATION)
    beside = benchmarks()
    ours = best(lambda: limits(products, table, nobody, benchmarks=beside), runs)
    found = dict(limits(products, table, nobody, benchmarks=beside)["verdict"].value_counts().iter_rows())
    with tempfile.TemporaryDirectory(prefix="tcewatch-bench-") as folder, duckdb.connect(config={"threads": 2}) as db:
        products.write_parquet(f"{folder}/products.parquet")
        table.drop("corrections").write_parquet(f"{folder}/limits.parquet")
        statement = f"""
            create or replace table held as
            select p.*, l.level_3, p.value <= l.level_3 as complies
            from read_parquet('{folder}/products.parquet') p join read_parquet('{folder}/limits.parquet') l
                on p.product = l.product and p.indicator = l.indicator and p.feedstock is not distinct from l.feedstock
                and l.effective_from <= strptime(p.period || '-01', '%Y-%m-%d')
                and (l.effective_to is null or l.effective_to >= strptime(p.period || '-01', '%Y-%m-%d'))
        """
        sql = best(lambda: db.execute(statement), runs)
        rows = db.execute("select count(*) from held").fetchone()
        assert rows == (products.height - found.get("no_rule", 0),), f"DuckDB holds {rows} rows against a limit, tcewatch {found}"
        whole, peak = as_command(folder, "calc", "limits", "--products", "products.parquet", "--out", "verdicts.parquet", runs=min(runs, 3))
    print(f"verdicts: {products.height:,} rows of {products['product'].n_unique()} products -> {found}: in process {ours.wall_s:.2f} s (aim 3), "
          f"CPU {ours.cpu_s:.2f} s; `calc limits`, Parquet to Parquet, {whole.wall_s:.2f} s, CPU {whole.cpu_s:.2f} s, peak {peak:.0f} MB; "
          f"DuckDB, value <= limit alone, {sql.wall_s:.2f} s, CPU {sql.cpu_s:.2f} s")
    return {"rows": products.height, "verdicts": found, "in_process": asdict(ours), "command": {**asdict(whole), "peak_mb": peak},
            "duckdb_comparison": asdict(sql)}


def made_in_a_year(enterprises: int) -> pl.DataFrame:
    """Three products of each enterprise in each month of 2025, going through all that have a level 3, with the parameters of their corrections.

    Figures lie from 0.7 to 1.2 of level 3; of some rows too little is covered, too much estimated or a parameter left out.
    """
    law = limit_tables.limits().filter(pl.col("level_3").is_not_null()).sort("product", "indicator", "effective_from", nulls_last=False)
    one = law.unique("product", keep="last", maintain_order=True)
    asked = {row["product"]: parameters(row["corrections"]) for row in one.iter_rows(named=True)}
    names = list(dict.fromkeys(each.name for those in asked.values() for each in those))

    def cell(parameter: Parameter) -> str | float:
        if parameter.allowed:
            return parameter.allowed[0]
        return float(parameter.reach[0][0]) if parameter.reach else parameter.low or parameter.high or 0.0

    possible = [{"product": product, **{each.name: cell(each) for each in those}} for product, those in asked.items()]
    one = one.select("product", "indicator", "feedstock", "unit", "level_3").join(
        pl.DataFrame(possible, infer_schema_length=None), on="product", maintain_order="left",
    ).with_row_index("_product")
    row = pl.col("row")
    hashed = row * 2_654_435_761 % 4_294_967_291 % 1000
    rows = pl.DataFrame({"row": pl.int_range(enterprises * 36, eager=True)}).with_columns(
        _product=(row // 12 % one.height).cast(pl.UInt32), period=pl.format("2025-{}", (row % 12 + 1).cast(pl.String()).str.zfill(2)), _h=hashed,
    ).join(one, on="_product", how="left", maintain_order="left")
    return rows.select(
        enterprise=pl.format("E{}", row // 36), product="product", indicator="indicator", feedstock="feedstock", period="period",
        value=pl.col("level_3") * (0.7 + pl.col("_h") / 2000) + row % 1009 * 1e-5, unit="unit",
        covered_ratio=pl.when(pl.col("_h") % 10 == 0).then(0.85).otherwise(0.97),
        estimated_ratio=pl.when(pl.col("_h") % 25 == 1).then(0.08).otherwise(0.01),
        **{name: pl.when(pl.col("_h") % 20 != 5).then(name) for name in names},
    )


def as_command(folder: str, *words: str, runs: int) -> tuple[Took, float]:
    """`tcewatch` in processes of its own, the start of Python included: the shortest times, and the least of the peaks in MB."""
    # It tells its peak itself: what the system counts of a child begins with what its parent held.
    told = "lambda: pathlib.Path('peak').write_text(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    program = f"import atexit, pathlib; atexit.register({told}); from portal.cli.main import main; main()"
    walls, cpus, peaks = [], [], []
    for _ in range(runs):
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", program, *words], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
        ) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, words
        walls.append(time.perf_counter() - began)
        cpus.append(used.ru_utime + used.ru_stime)
        peaks.append(int(Path(folder, "peak").read_text(encoding="utf-8")) / 1024)
    return Took(min(walls), min(cpus)), min(peaks)


def files(scale: float, runs: int) -> dict[str, Any]:
    """`tcewatch calc intervals --by hour` from Parquet to Parquet, its checks included."""
    readings, declared = park(max(20, int(1000 * scale)), 30)
    names = declared.select("register_key", "enterprise", "meter", "register")
    with tempfile.TemporaryDirectory(prefix="tcewatch-bench-") as folder:
        r, g, o = (f"{folder}/{name}.parquet" for name in ("readings", "registers", "hours"))
        named = readings.select("register_key", "read_at", "value", "received_at").join(names, on="register_key", maintain_order="left")
        named.drop("register_key").write_parquet(r)
        given = ("enterprise", "meter", "register", "medium", "unit", "kind", "modulus", "max_rate_per_h", "resolution", "multiplier")
        declared.select(given).write_parquet(g)
        command = ["intervals", "--readings", r, "--registers", g, "--by", "hour", "--out", o]
        took = best(lambda: CliRunner().invoke(app, command, catch_exceptions=False, standalone_mode=False), min(runs, 3))
    print(f"calc intervals --by hour, Parquet to Parquet: {took.of(readings.height, 2)}")
    return {"readings": readings.height, **asdict(took)}


PARTS: dict[str, Callable[[float, int], dict[str, Any]]] = {
    "hours": hours, "year": year, "minutes": minutes, "memory": memory, "window": window, "roller": roller, "screening": screening,
    "rollup": rollup, "region": region, "verdicts": verdicts, "files": files,
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count(), "processor": models[0] if models else platform.machine(),
        "memory_gb": round(memory_gb), "load": os.getloadavg()[0], "python": platform.python_version(), "polars": pl.__version__,
        "duckdb": duckdb.__version__, "tcewatch": version("tcewatch"),
    }


def main() -> None:
    """Print the figures of the parts named, of all if none is."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    asked.add_argument("--quick", action="store_true", help="a hundredth of the sizes, one run")
    asked.add_argument("--runs", type=int, default=5)
    asked.add_argument("--write", action="store_true", help=f"put the results into {RESULTS.relative_to(ROOT)}")
    asked.add_argument("--apart", nargs=2, help=argparse.SUPPRESS)
    given = asked.parse_args()
    keep_freed_memory()  # as the command does
    if given.apart:
        what, folder = given.apart
        print(json.dumps({"memory": memory_apart, "rollup": rollup_apart, "region": region_apart, "region_sql": region_sql_apart}[what](folder)))
        return
    if unknown := set(given.parts) - set(PARTS):
        asked.error(f"there is no part {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    found: dict[str, Any] = machine()
    print(", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    for name in given.parts or PARTS:
        found[name] = PARTS[name](0.01 if given.quick else 1.0, 1 if given.quick else given.runs)
        sys.stdout.flush()
    if given.write:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
