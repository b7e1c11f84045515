"""Tables in files, as `tcewatch calc` reads and writes them: CSV, Parquet or xlsx by suffix, `-` for CSV on the standard streams.

A command declares its columns once; from that come the reading, the list of everything that is wrong, and `--schema`.
Columns that are not declared are carried along as they came.
"""

import csv
import gzip
import io
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import polars as pl
import typer
import zstandard

from config.calendar import EARLIEST, LATEST
from config.errors import BadInputError, Problem
from config.names import nearest
from config.schemas import INSTANT
from config.units import unit_meant

SUFFIXES: Final = (".csv", ".csv.zst", ".csv.gz", ".parquet", ".xlsx")
LISTED_PER_COLUMN: Final = 1000  # problems of one column that are listed one by one; the rest is counted
CONTEXT_CHARACTERS: Final = 60  # of a wrong cell that are repeated in its problem

ColumnType = Literal["text", "number", "instant", "day or instant", "day", "period", "flag"]
_TYPES: Final[Mapping[ColumnType, pl.DataType]] = {
    "text": pl.String(), "number": pl.Float64(), "instant": INSTANT, "day or instant": INSTANT, "day": pl.Date(),
    "period": pl.String(), "flag": pl.Boolean(),
}
_RIGHT: Final[Mapping[ColumnType, str]] = {
    "text": "write a text",
    "number": "write a plain number such as 1234.5: no thousands separator, no unit, neither NaN nor infinity",
    "instant": "write the time with its offset, such as 2026-11-20T08:15:00+08:00, or give --zone for times without one",
    "day or instant": "write a day (2026-11-20, local midnight) or a time with its offset (2026-11-20T08:15:00+08:00)",
    "day": "write a day such as 2026-11-20",
    "period": "write a year (2026), a month (2026-11) or a day (2026-11-20)",
    "flag": "write true or false",
}
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_LOCAL_TIME: Final = r"^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(?::(\d{2}(?:[.,]\d{1,9})?))?\s*(Z|z|[+-]\d{2}:?\d{2})?$"


@dataclass(frozen=True, slots=True)
class Column:
    """One column that a command reads or writes."""

    name: str
    type: ColumnType
    help: str
    required: bool = True  # the column must be there
    nullable: bool = False  # a cell may be empty (always so where the column may be left out)
    unit: str | None = None
    allowed: tuple[str, ...] = ()
    default: str | float | None = None  # stands for an empty cell or a column left out
    low: float | None = None  # least value allowed
    above: float | None = None  # values must be greater


class Table(NamedTuple):
    """A table read from a file: its declared columns with their types, then the others as they came."""

    name: str
    frame: pl.DataFrame
    first_row: int  # the file's row number of the first row of the frame
    given: frozenset[str]  # the columns that the file has
    numbers: pl.Series | None = None  # where some rows are left out, the places of the others in the file

    def where(self, row: int, column: str | None = None) -> str:
        """Where a cell stands, for a Problem."""
        row = row if self.numbers is None else self.numbers[row]
        return f"{self.name} row {row + self.first_row}" + (f" column {column}" if column else "")


def read_table(path: str, columns: Sequence[Column], problems: list[Problem], *, zone: str | None = None, day_zone: str = "UTC") -> Table | None:
    """Read a table and check it against its columns.

    Args:
        path: a file by suffix (SUFFIXES), or `-` for CSV on standard input.
        columns: what is expected; everything else is carried along.
        problems: everything that is wrong is added here, with file, row and column.
        zone: the zone of times that carry no offset; None: such a time is a problem.
        day_zone: the zone in which a bare day of a "day or instant" column begins.

    Returns:
        The table, with null for a wrong cell; None where it cannot be read or lacks a column.
    """
    table = read_cells(path, columns, problems)
    if table is None:
        return None
    frame = table.frame
    parsed = {}
    for column in columns:
        if column.name in table.given:
            parsed[column.name] = parse_column(table, column, problems, zone, day_zone)
        elif not column.required:
            parsed[column.name] = pl.repeat(column.default, frame.height, dtype=_TYPES[column.type], eager=True)
    if any(column.name not in parsed for column in columns):
        return None
    extras = [column for column in frame.columns if column not in parsed]
    return table._replace(frame=pl.DataFrame([*(values.alias(key) for key, values in parsed.items()), *(frame[extra] for extra in extras)]))


def read_cells(path: str, columns: Sequence[Column], problems: list[Problem]) -> Table | None:
    """A table with its cells as they stand; None where it cannot be read. A column that must be there and is not is a problem."""
    raw = _raw(path, problems)
    if raw is None:
        return None
    name, frame, first_row = raw
    frame = _without_empty_end(frame)
    table = Table(name, frame, first_row, frozenset(frame.columns))
    head = f"{name} row 1" if first_row > 1 else name
    strange = [name for name in frame.columns if name not in {column.name for column in columns}]
    for column in columns:
        if column.required and column.name not in table.given:
            rename = f"Rename {near[0]!r} to {column.name}, or add it" if (near := nearest(column.name, strange, cutoff=0.8)) else "Add it"
            remedy = f"{rename} ({column.help}); there are {', '.join(frame.columns) or 'none'}"
            problems.append(Problem(f"{head} column {column.name}", "the column is missing", remedy))
    nested = [column for column in columns if column.name in table.given and frame[column.name].dtype.is_nested()]
    problems.extend(
        Problem(f"{head} column {column.name}", "its cells are lists or records", f"Write one value into each ({column.help})") for column in nested
    )
    return None if nested else table


def read_tables(
    wanted: Mapping[str, tuple[str | None, Sequence[Column]]], *, zone: str | None = None, day_zone: str = "UTC",
    check: Callable[[Mapping[str, Table]], Iterable[Problem]] = lambda _read: (), as_of: datetime | None = None,
) -> dict[str, Table]:
    """Read several tables and raise all their problems together; a path of None gives no table.

    Rows that were replaced (`known_to`) are left out; with `as_of`, so are those that were not known yet (`known_from`, `received_at`), and
    those replaced later are back.

    `check` looks at what a column's declaration cannot say. It also sees tables with wrong cells (as null), so that all is told at
    once; what it says of a cell that is wrong already is left out.

    Raises:
        BadInputError: with every problem of every file.
    """
    problems: list[Problem] = []
    if sum(path == "-" for path, _ in wanted.values()) > 1:
        problems.append(Problem("standard input", "two tables are asked from it", "Give all but one as a file"))
        raise BadInputError(problems)
    given = {name: (path, columns) for name, (path, columns) in wanted.items() if path is not None}
    read = {name: read_table(path, columns, problems, zone=zone, day_zone=day_zone) for name, (path, columns) in given.items()}
    tables = {name: _known(table, as_of) for name, table in read.items() if table is not None}
    if len(tables) == len(given):
        told = {problem.where for problem in problems}
        problems.extend(problem for problem in check(tables) if problem.where not in told)
    if problems:
        raise BadInputError(problems)
    return tables


def _known(table: Table, as_of: datetime | None) -> Table:
    """The rows that are known, or were at an instant, as far as the file has columns that say so."""
    until, begun = pl.col("known_to"), [name for name in ("known_from", "received_at") if name in table.given]
    known = [pl.col(name).is_null() | (pl.col(name) <= as_of) for name in begun if as_of is not None]
    if "known_to" in table.given:
        known.append(until.is_null() if as_of is None else until.is_null() | (until > as_of))
    if not known or any(not isinstance(table.frame.schema.get(name), pl.Datetime) for name in (*begun, *table.given & {"known_to"})):
        return table
    rows = table.frame.with_row_index("_row").filter(known)
    return table._replace(frame=rows.drop("_row"), numbers=rows["_row"])


def check_output(path: str | None, *others: str | None) -> None:
    """Refuse an output that cannot be written, before anything is computed.

    Raises:
        BadInputError: unknown suffix, a folder that does not exist or cannot be written to, or one file named twice.
    """
    problems: list[Problem] = []
    given = [each for each in (path, *others) if each is not None]
    for target in given:
        if target == "-":
            continue
        folder = Path(target).absolute().parent
        if not target.lower().endswith(SUFFIXES):
            problems.append(Problem(target, "the suffix names no format that can be written", f"Use one of {', '.join(SUFFIXES)}, or - for CSV"))
        elif not folder.is_dir():
            problems.append(Problem(target, "its folder does not exist", f"Create {folder} or name another"))
        elif not os.access(folder, os.W_OK) or Path(target).is_dir():
            problems.append(Problem(target, "it cannot be written", "Name a file in a folder that you may write to"))
    if len(set(given)) < len(given):
        problems.append(Problem(given[0], "two outputs have the same name", "Give each a file of its own"))
    if problems:
        raise BadInputError(problems)


def write_table(frame: pl.DataFrame, path: str, *, zone: str = "UTC") -> None:
    """Write a table by suffix, or as CSV to standard output: under a temporary name first, so that no half a file is ever seen.

    Instants are written with their offset in `zone`; Parquet keeps them as UTC instants.

    Raises:
        BadInputError: the file cannot be written there.
    """
    if path == "-":
        sys.stdout.buffer.write(_as_texts(frame, zone).write_csv().encode())
        sys.stdout.buffer.flush()
        return
    target = Path(path).absolute()
    try:
        with _beside(target) as temporary:
            _WRITERS[_suffix(path)](frame, temporary, zone)
    except OSError as error:
        problem = Problem(path, f"it cannot be written ({error.strerror or error})", "Name a file in a folder with room for it")
        raise BadInputError([problem]) from error


def write_lazily(frame: pl.LazyFrame, path: str, *, zone: str = "UTC") -> None:
    """As `write_table`; Parquet is written in a stream, so that the rows need never be in memory together.

    Raises:
        BadInputError: the file cannot be written there.
    """
    if _suffix(path) != ".parquet":
        write_table(frame.collect(engine="streaming"), path, zone=zone)
        return
    try:
        with _beside(Path(path).absolute()) as temporary:
            frame.sink_parquet(temporary)
    except OSError as error:
        problem = Problem(path, f"it cannot be written ({error.strerror or error})", "Name a file in a folder with room for it")
        raise BadInputError([problem]) from error


def parquet_types(column: Column) -> list[pl.DataType]:
    """The types in a Parquet file that need no parsing."""
    if column.allowed:
        return [pl.String(), pl.Categorical(), pl.Enum(column.allowed)]
    if column.type == "instant":
        return [pl.Datetime(unit, "UTC") for unit in ("us", "ms")]
    return [_TYPES[column.type]]


_WIDEST_LIST: Final = 60  # of allowed values, in characters


def show_schema(tables: Mapping[str, Sequence[Column]]) -> None:
    """Print the columns of a command's tables: name, type, unit, allowed values, meaning."""
    for title, columns in tables.items():
        rows = [("column", "type", "unit", "needed", "allowed", "meaning")]
        for column in columns:
            needed = "yes" if column.required else "no" if column.default is None else f"no, else {column.default}"
            rows.append((column.name, column.type, column.unit or "", needed, _allowed(column), column.help))
        allowed = [textwrap.wrap(row[4], _WIDEST_LIST, break_long_words=False, break_on_hyphens=False) or [""] for row in rows]
        widths = [*(max(len(row[place]) for row in rows) for place in range(4)), max(len(line) for lines in allowed for line in lines)]
        print(f"{title}")
        for row, (first, *more) in zip(rows, allowed, strict=True):
            print("  " + "  ".join([*(cell.ljust(width) for cell, width in zip([*row[:4], first], widths, strict=True)), row[5]]).rstrip())
            for line in more:
                print(" " * (2 + sum(widths[:4]) + 8) + line)


def columns_of(schema: pl.Schema, meanings: Mapping[str, str]) -> tuple[Column, ...]:
    """The columns of a table that a command writes, with what their names do not say."""
    types: dict[pl.DataType, ColumnType] = {pl.String(): "text", pl.Boolean(): "flag", pl.Date(): "day"}
    return tuple(
        Column(name, "instant" if isinstance(dtype, pl.Datetime) else types.get(dtype, "number"), meanings.get(name, ""), nullable=True)
        for name, dtype in schema.items()
    )


def schema_option(tables: Mapping[str, Sequence[Column]] | Callable[[], Mapping[str, Sequence[Column]]]) -> Any:
    """The `--schema` option of a command: prints its tables and leaves, whatever else the command would need.

    Columns that tables of the law ask for are told by a function, which is called only when they are to be shown.
    """
    def shown(asked: bool) -> None:
        if asked:
            show_schema(tables() if callable(tables) else tables)
            raise typer.Exit
    return typer.Option(False, "--schema", is_eager=True, callback=shown, help="Print the columns with types, units and allowed values.")


# --- reading ----------------------------------------------------------------------------------------------------------

def _suffix(path: str) -> str:
    return next((suffix for suffix in SUFFIXES if path.lower().endswith(suffix)), "")


def _raw(path: str, problems: list[Problem]) -> tuple[str, pl.DataFrame, int] | None:
    """The cells as they stand: all texts (CSV, xlsx) or with the file's own types (Parquet); name and first row number."""
    name = "standard input" if path == "-" else Path(path).name
    suffix = ".csv" if path == "-" else _suffix(path)
    try:
        match suffix:
            case ".parquet":
                return name, pl.read_parquet(path), 1
            case ".xlsx":
                frame = pl.read_excel(path, engine="calamine", drop_empty_rows=False, read_options={"dtypes": "string"})
                again = [column.rpartition("_")[0] for column in frame.columns if column.rpartition("_")[2].isdecimal()]
                if any(column in frame.columns for column in again):  # so the reader names a column that is there twice
                    head = pl.read_excel(path, engine="calamine", has_header=False, read_options={"dtypes": "string", "n_rows": 1}).row(0)
                    if repeated := sorted({column for column in head if column is not None and head.count(column) > 1}):
                        problems.extend(_repeated(name, repeated))
                        return None
                return name, frame, 2
            case ".csv" | ".csv.gz" | ".csv.zst":
                content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
                if suffix == ".csv.gz":
                    content = gzip.decompress(content)
                elif suffix == ".csv.zst":
                    content = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True).read()
                return _raw_csv(name, content, problems)
            case _:
                problems.append(Problem(path, "the suffix names no format that can be read", f"Use one of {', '.join(SUFFIXES)}, or - for CSV"))
    except FileNotFoundError:
        problems.append(Problem(path, "there is no such file", "Check the name and the folder"))
    except Exception as error:  # noqa: BLE001 - the readers' errors share no base class, and all mean a file that cannot be read
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        problems.append(Problem(path, f"it cannot be read as {suffix[1:]} ({reason})", "Check that the file is whole and its suffix says what it is"))
    return None


def _raw_csv(name: str, content: bytes, problems: list[Problem]) -> tuple[str, pl.DataFrame, int] | None:
    known = len(problems)
    try:
        head = content[:65_536].decode("utf-8-sig", errors="ignore").splitlines()
        header = next(csv.reader(head), [])
        content[:65_536].rsplit(b"\n", 1)[0].decode("utf-8")
        if not header:
            problems.append(Problem(name, "the file is empty", "Write a header line with the column names, then the rows"))
        elif len(header) == 1 and header[0].count(";") + header[0].count("\t") > 1:
            problems.append(Problem(f"{name} row 1", "the columns are not separated by commas", "Save the file as CSV with commas"))
        problems.extend(_repeated(name, sorted({column for column in header if header.count(column) > 1})))
        if len(problems) > known:
            return None
        return name, pl.read_csv(io.BytesIO(content), infer_schema=False), 2
    except UnicodeDecodeError:
        problems.append(Problem(name, "the text is not UTF-8", "Save the file as CSV UTF-8"))
    except pl.exceptions.PolarsError as error:
        problems.extend(_ragged(name, content) or [
            Problem(name, f"it is no well-formed CSV ({str(error).splitlines()[0]})", "Check the quotes, and save the file as CSV UTF-8"),
        ])
    return None


def _repeated(name: str, columns: Iterable[str]) -> list[Problem]:
    return [Problem(f"{name} row 1 column {column}", "the column is there twice", "Rename or remove one of them") for column in columns]


def _ragged(name: str, content: bytes) -> list[Problem]:
    """The rows that have more cells than the header, or bytes that are no UTF-8."""
    try:
        rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        width = len(next(rows))
        return [
            Problem(f"{name} row {number}", f"the row has {len(row)} cells, the header {width}", "Put a text with a comma into double quotes")
            for number, row in enumerate(rows, start=2) if len(row) > width
        ][:LISTED_PER_COLUMN]
    except UnicodeDecodeError:
        return [Problem(name, "the text is not UTF-8", "Save the file as CSV UTF-8")]
    except csv.Error:
        return []


def _without_empty_end(frame: pl.DataFrame) -> pl.DataFrame:
    """The table without the empty rows that follow its last one, as editors and spreadsheets leave them."""
    last = frame.height
    while last and all(cell is None or (isinstance(cell, str) and not cell.strip()) for cell in frame.row(last - 1)):
        last -= 1
    return frame.head(last)


def cell_texts(values: pl.Series) -> pl.Series:
    """The cells as trimmed texts; an empty one is null. A whole number, as a spreadsheet keeps it, loses its `.0`."""
    if values.dtype.is_float():
        whole = values.cast(pl.Int64, strict=False)
        values = whole.cast(pl.String).zip_with((whole == values).fill_null(False), values.cast(pl.String))
    values = values.cast(pl.String)
    texts = values.str.strip_chars()
    if (texts.str.len_bytes() == values.str.len_bytes()).all():
        texts = values  # the usual case: no second copy is kept
    return texts.set(texts == "", None) if (texts == "").any() else texts


def parse_column(table: Table, column: Column, problems: list[Problem], zone: str | None = None, day_zone: str = "UTC") -> pl.Series:
    """One column with its declared type; every cell that does not fit becomes a problem, and null."""
    raw = table.frame[column.name]
    match column.type:
        case "text" | "period":
            cells = values = cell_texts(raw)
            if column.type == "period":
                values = values.set(~_is_period(values), None)
        case "number":
            cells = raw if raw.dtype.is_numeric() else cell_texts(raw)
            values = cells.cast(pl.Float64, strict=False)
            finite = values.is_finite()
            values = values if finite.all() else values.set(~finite, None)
        case "flag":
            cells = raw if raw.dtype == pl.Boolean else cell_texts(raw)
            values = cells if raw.dtype == pl.Boolean else cells.str.to_lowercase().replace_strict(_FLAGS, default=None, return_dtype=pl.Boolean)
        case "day":
            cells = raw if raw.dtype == pl.Date else cell_texts(raw)
            values = cells if raw.dtype == pl.Date else cells.str.replace(r"[T ]00:00:00$", "").str.to_date("%Y-%m-%d", strict=False)
        case "instant" | "day or instant":
            cells, values = _instants(raw, zone, day_zone if column.type == "day or instant" else None)
    wrong = values.is_null() & cells.is_not_null()
    if column.type == "instant":
        if zone is not None and wrong.any():
            local = wrong & _is_local(cells)
            right = "write the time with its offset, such as 2026-10-25T02:30:00+02:00"
            _complain(table, column, cells, local, f"is shown by the clock of {zone} never or twice", right, problems)
            wrong &= ~local
        outside = ~values.is_between(EARLIEST, LATEST, closed="left").fill_null(True)
        _complain(table, column, cells, outside, "is no time of a reading", f"write a time from {EARLIEST.year} to {LATEST.year - 1}", problems)
        values = values.set(outside, None) if outside.any() else values
    if column.type == "period" and wrong.any():  # a sheet makes a date of 2026-11: whether the month or its first day was meant is not known
        dates = wrong & cells.str.ends_with(" 00:00:00").fill_null(value=False)
        right = "format the cell as text and write a month (2026-11) or a day (2026-11-01)"
        _complain(table, column, cells, dates, "is a date by the cell's format, and may mean a month or a day", right, problems)
        wrong &= ~dates
    _complain(table, column, cells, wrong, f"is no {column.type}", _RIGHT[column.type], problems)
    if column.allowed:
        unknown = values.is_not_null() & ~values.is_in(column.allowed)
        _complain(table, column, cells, unknown, "is not known", f"write one of {', '.join(column.allowed)}", problems, column.allowed)
    if column.low is not None:
        _complain(table, column, cells, (values < column.low).fill_null(False), "is too small", f"write {column.low:g} or more", problems)
    if column.above is not None:
        _complain(table, column, cells, (values <= column.above).fill_null(False), "is too small", f"write more than {column.above:g}", problems)
    if column.default is not None:
        return values.fill_null(pl.lit(column.default, dtype=values.dtype)) if values.null_count() else values
    if column.required and not column.nullable and cells.null_count():
        _complain(table, column, cells, cells.is_null(), "the cell is empty", _RIGHT[column.type], problems)
    return values


def _complain(
    table: Table, column: Column, cells: pl.Series, wrong: pl.Series, what: str, right: str, problems: list[Problem], known: Sequence[str] = (),
) -> None:
    """A problem for each wrong cell; of `known` names the nearest is named first."""
    if not wrong.any():
        return
    rows = wrong.arg_true()
    remedy = f"{right[0].upper()}{right[1:]} ({column.help})"
    for row in rows.head(LISTED_PER_COLUMN):
        cell = cells[row]
        text = what if cell is None else f"{str(cell)[:CONTEXT_CHARACTERS]!r} {what}"
        if column.name.endswith("unit"):  # an alike unit may be another power of ten
            code = unit_meant(str(cell))
            meant = [code] if code is not None and code in known else nearest(str(cell), known, cutoff=1.0)
        else:
            meant = nearest(str(cell), known, cutoff=0.75)
        told = f"Write {meant[0]}, or {right.removeprefix('write ')} ({column.help})" if meant else remedy
        problems.append(Problem(table.where(row, column.name), text, told))
    if len(rows) > LISTED_PER_COLUMN:
        problems.append(Problem(f"{table.name} column {column.name}", f"{len(rows) - LISTED_PER_COLUMN} more rows have the same fault", remedy))


def _instants(raw: pl.Series, zone: str | None, day_zone: str | None) -> tuple[pl.Series, pl.Series]:
    """Cells and instants; null where a cell is none, has no offset and no zone is given, or falls into a clock change."""
    if isinstance(raw.dtype, pl.Datetime):
        if raw.dtype.time_zone is not None:
            return raw, raw.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        return raw, _in_zone(raw.dt.cast_time_unit("us"), zone)
    if raw.dtype == pl.Date:
        return raw, _in_zone(raw.cast(pl.Datetime("us")), day_zone)
    cells = cell_texts(raw)
    values = cells.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    rest = (values.is_null() & cells.is_not_null()).arg_true()
    if rest.is_empty():
        return cells, values
    parts = cells.gather(rest).str.extract_groups(_LOCAL_TIME).struct.unnest()
    day, minute, second, offset = parts.get_columns()
    local = day + "T" + minute + ":" + second.fill_null("00").str.replace(",", ".")
    with_offset = (local + offset.str.to_uppercase().str.replace("Z", "+00:00")).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us", time_zone="UTC",
    )
    without = _in_zone(local.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us"), zone)
    found = with_offset.zip_with(offset.is_not_null(), without)
    midnights = cells.gather(rest).str.replace(r"[T ]00:00(:00)?$", "")  # as a spreadsheet shows a day
    days = _in_zone(midnights.str.to_datetime("%Y-%m-%d", strict=False, time_unit="us"), day_zone)
    return cells, values.scatter(rest, found.zip_with(found.is_not_null(), days))


def _is_local(cells: pl.Series) -> pl.Series:
    """Which texts are times of a calendar day without an offset; all where the cells are no texts."""
    if cells.dtype != pl.String:
        return pl.repeat(True, len(cells), dtype=pl.Boolean, eager=True)
    day, minute, _, offset = cells.str.extract_groups(_LOCAL_TIME).struct.unnest().get_columns()
    return (day + "T" + minute).str.to_datetime("%Y-%m-%dT%H:%M", strict=False).is_not_null() & offset.is_null()


def _in_zone(local: pl.Series, zone: str | None) -> pl.Series:
    if zone is None:
        return pl.repeat(None, len(local), dtype=INSTANT, eager=True)
    return local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null").dt.convert_time_zone("UTC")


def _is_period(texts: pl.Series) -> pl.Series:
    first = texts + texts.str.len_chars().replace_strict({4: "-01-01", 7: "-01", 10: ""}, default=None, return_dtype=pl.String)
    return texts.str.contains(r"^\d{4}(-\d{2}){0,2}$") & first.str.to_date("%Y-%m-%d", strict=False).is_not_null()


# --- writing ----------------------------------------------------------------------------------------------------------

def _as_texts(frame: pl.DataFrame, zone: str) -> pl.DataFrame:
    instants = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    whole = {name: (frame[name].dt.microsecond() == 0).all() for name in instants}
    return frame.with_columns(
        *(pl.col(name).dt.convert_time_zone(zone).dt.to_string("%Y-%m-%dT%H:%M:%S%:z" if whole[name] else "%Y-%m-%dT%H:%M:%S%.6f%:z")
          for name in instants),
        *(pl.col(name).list.join(" ") for name in lists),
    )


def _write_csv(frame: pl.DataFrame, path: Path, zone: str) -> None:
    _as_texts(frame, zone).write_csv(path)


def _write_zst(frame: pl.DataFrame, path: Path, zone: str) -> None:
    path.write_bytes(zstandard.compress(_as_texts(frame, zone).write_csv().encode()))


def _write_gz(frame: pl.DataFrame, path: Path, zone: str) -> None:
    path.write_bytes(gzip.compress(_as_texts(frame, zone).write_csv().encode(), mtime=0))


def _write_parquet(frame: pl.DataFrame, path: Path, zone: str) -> None:  # noqa: ARG001 - one shape for all writers
    frame.write_parquet(path)


def _write_xlsx(frame: pl.DataFrame, path: Path, zone: str) -> None:
    _as_texts(frame, zone).write_excel(path, autofit=False)


_WRITERS: Final[Mapping[str, Callable[[pl.DataFrame, Path, str], None]]] = {
    ".csv": _write_csv, ".csv.zst": _write_zst, ".csv.gz": _write_gz, ".parquet": _write_parquet, ".xlsx": _write_xlsx,
}


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A temporary file in the target's folder, which takes the target's place when the block ends well."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _allowed(column: Column) -> str:
    bounds: Iterable[str] = (
        *([f">= {column.low:g}"] if column.low is not None else []),
        *([f"> {column.above:g}"] if column.above is not None else []),
    )
    return ", ".join((*column.allowed, *bounds))
