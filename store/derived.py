"""Derived tables as Parquet: one file for each local day, and results whole. One writer; anything may read meanwhile.

Files are replaced, never changed: a reader sees the old or the new one. What stands here can be computed again from the
readings, so a crash between two files is mended by the marks that are still in the ledger.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast

import polars as pl

from config.errors import StoreFullError, StoreUnavailableError
from config.schemas import ARRIVAL, DAY_RANGE, FAILED, FLAG, HISTORY, INTERVAL, PERIOD_VERDICT, RECEIVED, VERDICT_COUNT, conform, empty
from store.sqlite import NO_SPACE, sync

DERIVED: Final = pl.Schema({**INTERVAL, "day": pl.Date()})  # `day` is the local day that the interval starts in
FLAGGED: Final = pl.Schema({**FLAG, "day": pl.Date()})  # `day` is the local day that the flag's span starts in
JUDGED: Final = pl.Schema({**PERIOD_VERDICT, "day": pl.Date()})
Table = Literal["hourly", "daily", "received", "arrivals", "flags", "ranges", "history", "verdicts", "verdict_counts", "day_starts", "balances"]
TABLES: Final[Mapping[Table, pl.Schema]] = {
    "hourly": DERIVED, "daily": DERIVED, "received": RECEIVED, "arrivals": ARRIVAL, "flags": FLAGGED, "ranges": DAY_RANGE,
    "history": HISTORY, "verdicts": FAILED, "verdict_counts": VERDICT_COUNT, "day_starts": JUDGED, "balances": JUDGED,
}
_FURTHER: Final[Mapping[str, tuple[str, ...]]] = {  # what tells apart rows of a register that start together
    "flags": ("end", "flag"), "verdicts": ("copy",), "verdict_counts": ("rule", "verdict"), "balances": ("rule",),
}


_SPARSE: Final = ("verdicts", "balances")  # nobody asks on which days they have no rows: then there is no file
_SYNCED_AT_ONCE: Final = 16


class Part(NamedTuple):
    """A part of the results, and what it was worked out from."""

    frames: Mapping[str, pl.DataFrame]
    inputs: Mapping[str, str]


class DerivedTables:
    """Hourly and daily consumption, what was received, and the results that are computed from them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in (*TABLES, "results", "parts"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def replace(self, table: Table, rows: pl.DataFrame, days: pl.DataFrame) -> None:
        """Put newly computed rows in the place of what stood for the same registers and days.

        Args:
            table: one of TABLES, which tells the shape of its rows.
            rows: of that shape.
            days: register_key, day: what was computed again. Their old rows go, even where `rows` has none for them; a day
                of a register that has rows need not be named. All other rows stay.

        Raises:
            StoreFullError, StoreUnavailableError: some days may be replaced, others not; doing it again is safe.
        """
        rows = conform(rows, TABLES[table])
        pairs = pl.concat([conform(days, pl.Schema({name: DERIVED[name] for name in ("register_key", "day")})), rows.select("register_key", "day")])
        touched = pairs["day"].unique().sort()
        if touched.is_empty():
            return
        found = self._scan(table, touched).collect()
        stays = found if found.is_empty() else found.join(pairs.unique(), on=["register_key", "day"], how="anti")
        before = found.partition_by("day", as_dict=True)
        after = _sorted(pl.concat([stays, rows]), _order(table)).partition_by("day", as_dict=True)
        nothing, files = empty(TABLES[table]), {(day,): self._path(table, day) for day in touched}
        # A day that says what it said before stays as it is: what follows from it need not be worked out again.
        is_new = {day: not path.exists() for day, path in files.items()}
        self._write((path, after.get(day, nothing)) for day, path in files.items()
                    if (is_new[day] and not (table in _SPARSE and day not in after))
                    or not after.get(day, nothing).equals(before.get(day, nothing)))

    def read(self, table: Table, first: date, last: date) -> pl.LazyFrame:
        """Rows of the local days first..last, both included, sorted by day, register_key, start."""
        return self._scan(table, [day for day in self.days(table) if first <= day <= last])

    def days(self, table: Table) -> list[date]:
        """Local days that were ever computed, in order; of `verdicts` and `balances` those that had rows."""
        return sorted(date.fromisoformat(path.stem) for path in (self._folder / table).glob("*.parquet"))

    def write_result(self, name: str, frame: pl.DataFrame) -> None:
        """Keep a result table, in the place of the one before.

        Raises:
            StoreFullError, StoreUnavailableError: the one before stands.
        """
        self._write([(self._path("results", name), frame)])

    def read_result(self, name: str) -> pl.DataFrame | None:
        """A result table, or None while there is none."""
        try:
            content = self._path("results", name).read_bytes()  # at once: a file that is replaced between two reads would be two halves
        except FileNotFoundError:
            return None
        return pl.read_parquet(BytesIO(content))

    def result(self, name: str, schema: pl.Schema) -> pl.DataFrame:
        """A result table in its shape, empty while there is none."""
        frame = self.read_result(name)
        return empty(schema) if frame is None else conform(frame, schema)

    def write_part(self, name: str, frames: Mapping[str, pl.DataFrame], inputs: Mapping[str, str]) -> None:
        """Keep a part of the results with what it was worked out from, in the place of the one before.

        Raises:
            StoreFullError, StoreUnavailableError: the part is then the one before or none.
        """
        self._write([(self._path("parts", f"{name}.{table}"), frame) for table, frame in frames.items()], dict(inputs))

    def read_part(self, name: str) -> Part | None:
        """A part of the results, or None while there is none that is whole."""
        paths = {path.stem.removeprefix(f"{name}."): path for path in sorted((self._folder / "parts").glob(f"{name}.*.parquet"))}
        told = [_told(path) for path in paths.values()]
        if not told or any(one != told[0] for one in told):
            return None
        return Part({table: pl.read_parquet(path) for table, path in paths.items()}, told[0])

    def keep_parts(self, names: Collection[str]) -> None:
        """Remove all parts but these."""
        for path in (self._folder / "parts").glob("*.parquet"):
            if path.stem.rpartition(".")[0] not in names:
                path.unlink()

    def hashes(self, first: date | None = None) -> dict[str, str]:
        """SHA-256 of each table's sorted canonical export (CSV, instants as microseconds, shortest exact decimals).

        Args:
            first: tables by day from this local day on; None: all. Results are always whole, under "results/<name>".
        """
        found: dict[str, str] = {}
        for table in TABLES:
            digest = hashlib.sha256()
            for day in self.days(table):
                if first is None or day >= first:
                    digest.update(_canonical(pl.read_parquet(self._path(table, day)), _order(table)))
            found[table] = digest.hexdigest()
        for path in sorted((self._folder / "results").glob("*.parquet")):
            frame = pl.read_parquet(path)
            found[f"results/{path.stem}"] = hashlib.sha256(repr(frame.schema).encode() + _canonical(frame, frame.columns)).hexdigest()
        return found

    def version(self, table: Table | Literal["results"]) -> str:
        """Changes whenever a file of the table does; cheap."""
        return hashlib.sha256(repr(sorted(self._versions(table).items())).encode()).hexdigest()[:16]

    def day_versions(self, table: Table) -> dict[date, str]:
        """By local day, what changes whenever the day's rows are replaced."""
        return {date.fromisoformat(name): version for name, version in self._versions(table).items()}

    def _versions(self, table: str) -> dict[str, str]:
        found = {}
        for path in (self._folder / table).glob("*.parquet"):
            with suppress(FileNotFoundError):  # replaced between the listing and the look: the next call sees the new one
                stat = path.stat()
                found[path.stem] = f"{stat.st_mtime_ns}/{stat.st_ino}"
        return found

    def _path(self, table: str, name: str | date) -> Path:
        return self._folder / table / f"{name}.parquet"

    def _scan(self, table: Table, days: Iterable[date]) -> pl.LazyFrame:
        schema = TABLES[table]
        paths = [path for day in days if (path := self._path(table, day)).exists()]
        # The schema is given, so that no file is opened before `collect`: it might be replaced in between.
        # A column that came later is null in the files from before.
        return pl.scan_parquet(paths, schema=schema, missing_columns="insert") if paths else empty(schema).lazy()

    def _write(self, files: Iterable[tuple[Path, pl.DataFrame]], told: dict[str, str] | None = None) -> None:
        """Write beside, sync, then rename: all files first, so that the disk gets them together."""
        written: list[tuple[Path, Path]] = []
        path = self._folder
        try:
            for path, frame in files:
                beside = path.with_suffix(".tmp")
                written.append((beside, path))
                frame.write_parquet(beside, metadata=told)
            with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:  # the disk takes many together in the time of few
                list(pool.map(sync, [beside for beside, _ in written]))
            for beside, path in written:
                beside.replace(path)
            for folder in {path.parent for _, path in written}:
                sync(folder)
        except (OSError, pl.exceptions.ComputeError) as error:  # Polars tells a full disk as the latter
            for beside, _ in written:
                beside.unlink(missing_ok=True)
            if getattr(error, "errno", None) in NO_SPACE or any(f"os error {number}" in str(error) for number in NO_SPACE):
                raise StoreFullError(path, error) from error
            raise StoreUnavailableError(path, error, "Check that the folder is there and writable.") from error



class PassingTables(DerivedTables):
    """Derived tables that nothing outlives: in memory, for what is computed once and shown."""

    def __init__(self) -> None:
        self._frames: dict[Table, pl.DataFrame] = {}
        self._computed: dict[Table, set[date]] = {}

    def replace(self, table: Table, rows: pl.DataFrame, days: pl.DataFrame) -> None:
        pairs = pl.concat([days.select("register_key", "day"), rows.select("register_key", "day")])
        stays = self._frames.get(table, empty(TABLES[table])).join(pairs.unique(), on=["register_key", "day"], how="anti")
        self._frames[table] = pl.concat([stays, conform(rows, TABLES[table])])
        self._computed.setdefault(table, set()).update(pairs["day"])

    def days(self, table: Table) -> list[date]:
        return sorted(self._computed.get(table, ()))

    def _scan(self, table: Table, days: Iterable[date]) -> pl.LazyFrame:
        found = self._frames.get(table, empty(TABLES[table])).lazy().filter(pl.col("day").is_in(list(days)))
        return found.sort("day", *_order(table), nulls_last=True)


def _told(path: Path) -> dict[str, str]:
    """What was written with a part; Polars keeps its own schema there too."""
    return {name: text for name, text in pl.read_parquet_metadata(path).items() if name != "ARROW:schema"}


def _order(table: str) -> tuple[str, ...]:
    return ("register_key", "start", *_FURTHER.get(table, ()))


def _sorted(rows: pl.DataFrame, order: tuple[str, ...]) -> pl.DataFrame:
    """Rows by register, start and what else tells them apart; by one integer where two columns do and fit, which is much quicker."""
    if rows.is_empty() or len(order) > 2:
        return rows.sort(order, nulls_last=True)
    key, start = (rows[name].to_physical().cast(pl.Int64) for name in order)
    base, last, most = cast(int, start.min()), cast(int, start.max()), cast(int, key.max())
    if (most + 1) * (last - base + 1) >= 2**63:
        return rows.sort(order, nulls_last=True)
    packed = key * (last - base + 1) + (start - base)
    return rows if packed.is_sorted() else rows[packed.arg_sort()]


def _canonical(frame: pl.DataFrame, order: Iterable[str]) -> bytes:
    """The same bytes for the same rows, whatever wrote them."""
    instants = pl.selectors.datetime()
    return frame.with_columns(instants.dt.epoch("us")).sort(*order, nulls_last=True).write_csv(include_header=False, null_value="\\N").encode()
