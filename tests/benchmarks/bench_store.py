"""How fast the stores take and give. Run as `python tests/benchmarks/bench_store.py [PART ...]`; figures hold for a quiet machine.

Parts: append (both reading stores by batch size; InfluxDB where INFLUXD names the program), duckdb, journal, ledger, derived.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[2]))

from config.schemas import INTERVAL, READING, SETTLEMENT, conform
from config.settings import InfluxSettings
from store.derived import DerivedTables
from store.duckdb import DuckDbReadingStore
from store.influxdb import InfluxReadingStore
from store.journal import Arrival, Journal
from store.ledger import Ledger
from store.readings import ReadingStore
from tests.contracts.influxd_server import InfluxServer

BATCH_ROWS = 10_000
METERS = 3_472
SERIES = 10_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def readings(rows: int, meters: int = METERS) -> pl.DataFrame:
    """Quarter-hour readings of so many meters in order of arrival, 100 to a message."""
    n = pl.int_range(rows, eager=True).to_frame("n")
    return conform(
        n.with_columns(
            register_key=pl.col("n") % meters, read_at=pl.lit(START) + pl.col("n") // meters * timedelta(minutes=15),
            value=pl.col("n") * 0.25 + 0.1, quality=pl.lit(0), received_at=pl.lit(START), message=pl.col("n") // 100 + 1,
        ), READING,
    )


def timed(what: str, rows: int, unit: str, run: Callable[[], object]) -> None:
    """Run once and print how many a second."""
    began, busy = time.perf_counter(), time.process_time()
    run()
    took, cpu = time.perf_counter() - began, time.process_time() - busy
    print(f"{what:<70} {rows / took:>12,.0f} {unit}/s   {took:6.2f} s, cpu {cpu:5.2f} s")


def append(folder: Path) -> None:
    """Live readings of 10,000 registers, time-major, by batch size; then all of the last size once more (as after a crash)."""
    for size, batches in ((1_000, 100), (10_000, 30), (50_000, 12), (100_000, 6)):
        appended(f"DuckDB, batches of {size:,}", DuckDbReadingStore(folder / f"{size}.duckdb"), size, batches)
    if "INFLUXD" not in os.environ:
        return
    for size, batches in ((1_000, 100), (10_000, 30), (50_000, 12), (100_000, 6)):
        (folder / f"influx-{size}").mkdir()
        server = InfluxServer(Path(os.environ["INFLUXD"]), folder / f"influx-{size}")
        settings = InfluxSettings.model_validate({"url": server.url, "org": server.org, "bucket": server.bucket, "token": server.token})
        keys = pl.int_range(SERIES, dtype=pl.UInt32, eager=True).to_frame("register_key")
        names = keys.with_columns(
            enterprise=pl.format("91150621MA0BENCH{}X", pl.col("register_key") // 1000), meter=pl.format("E-{}", "register_key"),
            register=pl.lit("active_import"),
        )
        appended(f"InfluxDB, batches of {size:,}", InfluxReadingStore(settings, lambda: names), size, batches, server.pid)  # noqa: B023 - at once
        server.stop()


def appended(what: str, store: ReadingStore, size: int, batches: int, server: int = 0) -> None:
    """Append and print rows/s, and the processor time of this process and of the server for a million rows and for a call."""
    live = readings(size * batches + SERIES, SERIES)
    store.append(live[:SERIES])  # opens connections
    parts = list(live[SERIES:].iter_slices(size))
    for how in ("", ", again") if size == 100_000 else ("",):
        ours, theirs, began = time.process_time(), server_cpu_s(server), time.perf_counter()
        stored = sum(store.append(part).stored for part in parts)
        took, ours, theirs = time.perf_counter() - began, time.process_time() - ours, server_cpu_s(server) - theirs
        assert stored == size * batches
        of_million = 1e6 / stored
        print(
            f"{what + how:<40} {stored / took:>10,.0f} rows/s   cpu s for 1 M: {ours * of_million:5.2f} + {theirs * of_million:5.2f} of the server; "
            f"{ours / batches * 1e3:6.1f} ms a call"
        )
    store.close()


def server_cpu_s(pid: int) -> float:
    """Processor time of another process so far."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def duckdb(folder: Path, rows: int) -> None:
    """Append with duplicate and conflict detection."""
    store = DuckDbReadingStore(folder / "readings.duckdb")
    live = readings(rows)
    again = live.with_columns(pl.col("message") + 10_000_000)
    is_other = pl.col("n") % 20 == 0
    mixed = conform(
        readings(2 * rows).with_row_index("n").slice(rows).with_columns(
            # every 20th repeats the reading of a moment ago, every 40th with another value
            read_at=pl.when(is_other).then(pl.col("read_at") - timedelta(hours=1)).otherwise("read_at"),
            value=pl.when(is_other & (pl.col("n") % 40 > 0)).then(pl.col("value") - METERS).otherwise("value"),
        ), READING,
    )

    def append(frame: pl.DataFrame) -> Callable[[], object]:
        return lambda: [store.append(batch) for batch in frame.iter_slices(BATCH_ROWS)]

    timed(f"DuckDB: {rows:,} live readings in batches of 10,000", rows, "rows", append(live))
    timed("DuckDB: the same, 5 % of them duplicate or conflicting", rows, "rows", append(mixed))
    timed("DuckDB: sent again under other message numbers (all duplicates)", rows // 4, "rows", append(again.tail(rows // 4)))
    timed("DuckDB: read all, sorted", store.count(), "rows", lambda: store.span(None, START, START + timedelta(days=3650)))
    keys, day = list(range(100)), START + timedelta(days=1)
    padded = "DuckDB: a day of 100 registers, 2 instants more on each side"
    timed(padded, len(keys), "registers", lambda: store.span(keys, day, day + timedelta(days=1), pad=2))
    timed("DuckDB: latest reading of every register", METERS, "registers", store.latest)
    store.close()


def journal(folder: Path) -> None:
    """Append and read, a transaction for 500 messages."""
    box = Journal(folder / "journal")
    for size, count in ((1_000, 40_000), (14_000, 10_000)):
        topic = "tce/v1/150600/E/g/readings"
        came = [Arrival("mqtt", topic, "g", None, os.urandom(size), START, n % 65_535 + 1) for n in range(500)]
        starts = range(box.last_id(), box.last_id() + count, 500)
        timed(f"journal: messages of {size:,} bytes, 500 a transaction", count, "messages", lambda: [box.append(came) for _ in starts])  # noqa: B023 - at once
        timed("journal: read them, 500 at a time", count, "messages", lambda: [box.read(start, 500) for start in starts])  # noqa: B023 - at once
    timed("journal: verify", box.last_id(), "messages", box.verify)
    box.close()


def ledger(folder: Path) -> None:
    """Settle messages of 50 gateways, 500 and 2,000 at a time."""
    book = Ledger(folder / "ledger.sqlite")
    last = 0
    for size in (500, 2_000):
        n = pl.int_range(40_000, eager=True).to_frame("n")
        rows = n.select(
            message=pl.col("n") + last + 1, outcome=pl.lit("decoded"), enterprise=pl.lit("E"), gateway=pl.format("g{}", pl.col("n") % 50),
            epoch=pl.lit(f"e{size}"), seq=pl.col("n") // 50 + 1, decoded=pl.lit(100), stored=pl.lit(100),
        )
        parts = [(conform(part, SETTLEMENT), int(part["message"][-1])) for part in rows.iter_slices(size)]
        timed(f"ledger: settle {size:,} messages a transaction", 40_000, "messages", lambda: [book.settle(*part) for part in parts])  # noqa: B023 - at once
        last += 40_000
    book.close()


def derived(folder: Path) -> None:
    """Replace 700 days of 60 registers by the hour, as a first load does, then one day."""
    tables = DerivedTables(folder / "derived")
    hours = pl.datetime_range(START - timedelta(hours=8), START + timedelta(days=700, hours=-9), "1h", time_unit="us", eager=True).to_frame("start")
    rows = pl.int_range(60, eager=True).cast(pl.UInt32).to_frame("register_key").join(hours, how="cross").with_columns(
        end=pl.col("start") + timedelta(hours=1), quantity=pl.col("start").dt.epoch("us") % 977 / 7.3, quality=pl.lit("measured"),
        covered_ratio=pl.lit(1.0), estimated_ratio=pl.lit(0.0),
    )
    day = pl.col("start").dt.convert_time_zone("Asia/Shanghai").dt.date()
    full = conform(rows, INTERVAL).with_columns(day=day)
    one = full.filter(pl.col("day") == date(2026, 6, 1))
    for what, frame in (("first load", full), ("all again", full), ("one day", one)):
        pairs, count = frame.select("register_key", "day"), frame["day"].n_unique()
        timed(f"derived: {what}, {count} days x 60 registers", count, "days", lambda: tables.replace("hourly", frame, pairs))  # noqa: B023 - at once
    timed("derived: read all", full.height, "rows", lambda: tables.read("hourly", date(2025, 1, 1), date(2029, 1, 1)).collect())
    timed("derived: hashes", full.height, "rows", tables.hashes)


PARTS: dict[str, Callable[[Path], None]] = {
    "append": append, "duckdb": lambda folder: duckdb(folder, 2_000_000), "journal": journal, "ledger": ledger, "derived": derived,
}


def main() -> None:
    """Print the figures of the parts named, of all if none is."""
    for part in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory(prefix="tcewatch-bench-") as name:
            PARTS[part](Path(name))


if __name__ == "__main__":
    main()
