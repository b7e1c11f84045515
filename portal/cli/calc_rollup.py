"""`tcewatch calc rollup`: hours or days of consumption -> days, months or years, from as many Parquet files as there are, at bounded memory."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal

import polars as pl
import typer

from config import calendar
from config.calendar import EARLIEST, LATEST
from config.errors import BadInputError, Problem
from config.schemas import INTERVAL
from monitors import rollup as core
from portal.cli.calc import DEFAULT_ZONE, INTERVALS, app, place
from portal.cli.files import check_output, parquet_types, read_table, schema_option, write_lazily

_LEFT_OUT: Final[dict[str, str | float]] = {"quality": "measured", "covered_ratio": 1.0, "estimated_ratio": 0.0}  # what a row is that does not say
ROWS: Final = tuple(
    replace(column, required=False, default=_LEFT_OUT[column.name]) if column.name in _LEFT_OUT else column for column in INTERVALS
)
AT_ONCE: Final = 20_000_000  # more rows are added up month by month
LISTED: Final = 20
_NAMES: Final = ("enterprise", "meter", "register")
_start, _end, _key = pl.col("start"), pl.col("end"), pl.col("register_key")
_SCHEMA: Final = {"--intervals": ROWS, "--out": INTERVALS}


@app.command()
def rollup(
    intervals: Annotated[str, typer.Option(help="Output of `calc intervals --by hour` (or day): a file, a folder of Parquet files, or a pattern.")],
    by: Annotated[Literal["day", "month", "year"], typer.Option(help="One row for each local day, month or year.")],
    out: Annotated[str, typer.Option(help="Where the consumption goes.")],
    zone: Annotated[str | None, typer.Option(
        callback=place, help=f"Whose days are meant (default {DEFAULT_ZONE}). If given, times without an offset are of that zone too.",
    )] = None,
    schema: bool = schema_option(_SCHEMA),  # noqa: ARG001 - acts before the command does
) -> None:
    """Add up hours to days, months or years. More than 20 million rows are taken month by month, and written in that order."""
    check_output(out)
    place_of_days = zone or DEFAULT_ZONE
    rows = _rows(intervals, zone)
    columns = rows.collect_schema().names()
    named: list[str] = [name for name in _NAMES if name in columns]
    extras = [name for name in columns if name not in {column.name for column in ROWS}]
    names = _names(rows, named, extras)
    rows = rows.join(names.lazy().select(*named, "register_key"), on=named, nulls_equal=True).select(INTERVAL.names())
    found = []
    for first, after in _pieces(rows, by, place_of_days):
        piece = rows.filter(_start.is_between(first, after, closed="left")) if first is not None and after is not None else rows
        _check(piece, names.select(named), by, place_of_days)
        found.append(core.coarser(piece, by, place_of_days).collect(engine="streaming"))
        _check_overlap(found[-1], names.select(named), by)
    done = pl.concat(found)
    shown = done.lazy().join(names.lazy(), on="register_key", maintain_order="left").select(
        *named, *(column.name for column in INTERVALS if column.name not in _NAMES), *(name for name in names.columns if name in extras),
    )
    write_lazily(shown, out, zone=place_of_days)
    typer.echo(f"{done.height} rows of {names.height} registers", err=True)


def _rows(given: str, zone: str | None) -> pl.LazyFrame:
    """The rows of all files, checked; of Parquet files of the right types nothing is held in memory."""
    if given != "-" and Path(given).is_dir():
        paths = sorted(str(path) for path in Path(given).rglob("*.parquet"))
    elif any(sign in given for sign in "*?["):
        folder = Path(given).anchor or "."
        paths = sorted(str(path) for path in Path(folder).glob(given.removeprefix(Path(given).anchor)))
    else:
        paths = [given]
    problems, tables = [], []
    if not paths:
        problems.append(Problem(given, "there is no such file", "Name a file, a folder with Parquet files, or a pattern such as hours/*.parquet"))
    for path in paths:
        scanned = _scanned(path)
        table = scanned if scanned is not None else _read(path, zone, problems)
        if table is not None:
            tables.append((path, table, set(table.collect_schema().names())))
    for column in {"enterprise"} & {name for *_, names in tables for name in names}:
        problems += [
            Problem(f"{path} column {column}", "the column is missing, other files have it", "Give it in all files or in none")
            for path, _, names in tables if column not in names
        ]
    if problems:
        raise BadInputError(problems)
    common = [name for name in tables[0][1].collect_schema().names() if all(name in names for *_, names in tables)]
    return pl.concat([table.select(common) for _, table, _ in tables], how="vertical_relaxed")


def _read(path: str, zone: str | None, problems: list[Problem]) -> pl.LazyFrame | None:
    table = read_table(path, ROWS, problems, zone=zone)
    if table is None:
        return None
    frame = table.frame
    wrong = frame.with_row_index("row").filter(_end <= _start)["row"].head(LISTED)
    problems.extend(Problem(table.where(row, "end"), "is not after the start", "Write when the interval ends") for row in wrong)
    return frame.lazy() if "enterprise" in table.given else frame.lazy().drop("enterprise")


def _scanned(path: str) -> pl.LazyFrame | None:
    """A Parquet file in which a stream finds nothing wrong; None: read it whole, to read other types or to tell what is wrong."""
    if not path.lower().endswith(".parquet"):
        return None
    try:
        rows = pl.scan_parquet(path)
        types = rows.collect_schema()
        wanted = [column for column in ROWS if column.required or column.name in types]
        if any(types.get(column.name) not in parquet_types(column) for column in wanted):
            return None
        quality = pl.col("quality").cast(pl.String) if "quality" in types else pl.lit("measured")
        rows = rows.with_columns(
            *(pl.lit(column.default).alias(column.name) for column in ROWS if column.name not in types and column.default is not None),
            quality=quality.fill_null("measured"),
            **{name: pl.col(name).cast(pl.Datetime("us", "UTC")) for name in ("start", "end")},
            **{column.name: pl.col(column.name).fill_null(column.default) for column in ROWS
               if column.name in types and column.default is not None and column.name != "quality"},
        )
        wrong = (
            pl.any_horizontal(pl.col(column.name).is_null() for column in ROWS if column.required)
            | ~_start.is_between(EARLIEST, LATEST, closed="left") | ~_end.is_between(EARLIEST, LATEST, closed="left") | (_end <= _start)
            | ~pl.col("quantity").is_finite() | ~pl.col("covered_ratio").is_between(0, float("inf"), closed="left")
            | ~pl.col("estimated_ratio").is_between(0, float("inf"), closed="left")
            | ~pl.col("quality").is_in(["measured", "estimated", "suspect"])
        )
        return None if rows.select(wrong.any()).collect(engine="streaming").item() else rows
    except (OSError, pl.exceptions.PolarsError):
        return None


def _names(rows: pl.LazyFrame, named: list[str], extras: list[str]) -> pl.DataFrame:
    """register_key of each register in the order of names, its unit, and of the other columns those that say one thing of each register."""
    both = [(name, f"{name} or") for name in ("unit", *extras)]
    found = rows.group_by(named).agg(
        *(pl.col(name).min() for name, _ in both), *(pl.col(name).max().alias(other) for name, other in both),
    ).sort(named, nulls_last=False).collect(engine="streaming")
    problems = [
        Problem(" / ".join(str(row[name]) for name in named), f"its unit is {row['unit']!r} and {row['unit or']!r}", "Write one unit for a register")
        for row in found.filter(pl.col("unit") != pl.col("unit or")).head(LISTED).iter_rows(named=True)
    ]
    if problems:
        raise BadInputError(problems)
    same = [name for name in extras if found[name].eq_missing(found[f"{name} or"]).all()]
    return found.select(*named, "unit", *same).with_row_index("register_key")


def _pieces(rows: pl.LazyFrame, by: str, zone: str) -> list[tuple[datetime | None, datetime | None]]:
    """The spans of `start` that are added up one after the other: all, or local months (of years, years)."""
    count, first, last = rows.select(pl.len(), first=_start.min(), last=_start.max()).collect(engine="streaming").row(0)
    if count <= AT_ONCE:
        return [(None, None)]
    begin, end = calendar.local_day(first, zone), calendar.local_day(last, zone)
    months = [date(year, month, 1) for year in range(begin.year, end.year + 2) for month in (range(1, 13) if by != "year" else (1,))]
    starts = [calendar.day_span(month, zone)[0] for month in months]
    return [(low, high) for low, high in pairwise(starts) if high > first and low <= last]


def _check(rows: pl.LazyFrame, names: pl.DataFrame, by: core.Coarse, zone: str) -> None:
    """Refuse rows that do not lie within one day (month, year), and a row that is there twice, as far as AT_ONCE rows show it."""
    count, first, last = rows.select(pl.len(), first=_start.min(), last=_start.max()).collect(engine="streaming").row(0)
    if not count:
        return
    beyond = rows.filter(core.crossing(by, zone, first, last)).head(LISTED).collect(engine="streaming")
    problems = [
        Problem(_where(names, row), f"it ends after the local {by} in which it starts", "Write them with `calc intervals --by hour` in the same zone")
        for row in beyond.iter_rows(named=True)
    ]
    if count <= AT_ONCE:
        span = (last - first) // timedelta(microseconds=1) + 1
        packed = rows.select(place=_key.cast(pl.Int64) * span + (_start - first).to_physical()).collect(engine="streaming")["place"].sort()
        twice = packed.filter((packed == packed.shift(1)).fill_null(False)).unique().sort().head(LISTED)
        problems += [
            Problem(_where(names, {"register_key": place // span, "start": first + timedelta(microseconds=place % span)}), "the row is there twice",
                    "Keep one of the rows")
            for place in twice
        ]
    if problems:
        raise BadInputError(problems)


def _check_overlap(done: pl.DataFrame, names: pl.DataFrame, by: str) -> None:
    over = done.filter(pl.col("covered_ratio") > 1 + 1e-9).head(LISTED)
    if over.height:
        raise BadInputError([
            Problem(_where(names, row), f"more is covered than the {by} is long: rows overlap or are there twice", "Give each hour once")
            for row in over.iter_rows(named=True)
        ])


def _where(names: pl.DataFrame, row: dict[str, object]) -> str:
    key = row["register_key"]
    assert isinstance(key, int)
    return f"{' / '.join(str(name) for name in names.row(key) if name is not None)} at {row['start']}"
