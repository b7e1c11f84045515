"""Tables in files of people: xlsx (a sheet each) or CSV. What is read stays as it was written; what is written is never a formula."""

import csv
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import fastexcel
import polars as pl
import xlsxwriter

from config.errors import BadInputError, Problem

CSV, XLSX = ".csv", ".xlsx"
_GUARDED = re.compile(r"'*[=+\-@\t\r]")  # what a spreadsheet may take for a formula; our own guard before it included
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SEEN_NEVER: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MONGOLIAN_VOWEL_SEPARATOR: Final = "U+180E"  # invisible, but part of how Mongolian is written
_A4: Final = 9
_WIDEST: Final = 48
_LONGEST_HEAD: Final = 120  # a workbook takes 255 characters, marks included
EXACT_IN_FLOAT: Final = 1e15  # spreadsheets keep 15 digits of a number


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was written; `where` names it for people."""

    where: str
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table as it was written."""

    where: str
    columns: Sequence[str]
    rows: list[Row] = field(default_factory=list)


class WrongError(ValueError):
    """A cell that does not fit: what is wrong and what would be right."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy
        super().__init__(f"{what}. {remedy}")


Parse = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A column: how its cells are read, and what an empty cell means (`required`: there must be none)."""

    parse: Parse
    required: bool = False
    default: Any = None
    numeric: bool = False


def read_sheets(path: Path, is_numeric: Callable[[str], bool]) -> dict[str, Sheet]:
    """All tables of a workbook, of a folder of CSV files, or of one CSV file, by name (of sheet or file).

    Args:
        path: .xlsx, .csv or a folder.
        is_numeric: whether a column of that name holds numbers (a workbook's numbers are read in full only where they are asked for).

    Raises:
        BadInputError: there is no such file, or it is none of the three.
    """
    if path.is_dir():
        files = sorted(path.glob(f"*{CSV}"))
        if not files:
            raise BadInputError([Problem(str(path), "holds no CSV file", "Give a folder of CSV files named by table, or a workbook.")])
        return {file.stem: _read_csv(file, file.name) for file in files}
    if not path.exists():
        raise BadInputError([Problem(str(path), "there is no such file", "Give a workbook (.xlsx) or a folder of CSV files.")])
    match path.suffix.lower():
        case ".csv":
            return {path.stem: _read_csv(path, path.name)}
        case ".xlsx":
            return _read_workbook(path, is_numeric)
        case _:
            raise BadInputError([Problem(str(path), "is neither a workbook nor CSV", "Give a workbook (.xlsx) or CSV.")])


def sheet_of(name: str, frame: pl.DataFrame) -> Sheet:
    """A table in memory, for the same checks."""
    rows = [Row(f"{name} row {number}", cells) for number, cells in enumerate(frame.iter_rows(named=True), start=1)]
    return Sheet(name, frame.columns, rows)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV (UTF-8 with BOM, so that spreadsheets show Chinese); a text that could be taken for a formula gets a leading '."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([_guarded(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)


def write_workbook(path: Path | BytesIO, tables: Mapping[str, tuple[Sequence[str], Iterable[Sequence[Any]]]], title: str = "") -> None:
    """Write a workbook of typed cells: a text is a text whatever it begins with, a number is a number.

    Args:
        path: the file.
        tables: columns and rows by the name of their sheet.
        title: what stands above each printed page.
    """
    with xlsxwriter.Workbook(path, {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}) as workbook:
        wrapped = workbook.add_format({"text_wrap": True, "valign": "top"})
        bold = workbook.add_format({"bold": True, "text_wrap": True, "valign": "top"})
        for name, (columns, given) in tables.items():
            sheet, rows = workbook.add_worksheet(name), [list(row) for row in given]
            sheet.freeze_panes(1, 0)
            sheet.set_landscape()
            sheet.set_paper(_A4)
            sheet.fit_to_pages(1, 0)
            sheet.repeat_rows(0)
            sheet.set_header(f"&L{title[:_LONGEST_HEAD].replace('&', '&&')}&R&A &P/&N")
            for column, head in enumerate(columns):
                sheet.set_column(column, column, _width([head, *(row[column] for row in rows)]), wrapped)
                sheet.write_string(0, column, head, bold)
            for number, row in enumerate(rows, start=1):
                for column, cell in enumerate(row):
                    match cell:
                        case None:
                            pass
                        case bool():
                            sheet.write_boolean(number, column, cell)
                        case int() | float():
                            sheet.write_number(number, column, cell)
                        case _:
                            sheet.write_string(number, column, str(cell))


def _width(cells: Iterable[Any]) -> int:
    """Of a column, in characters: a Chinese one takes the room of two; long texts break their lines."""
    return min(max(sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in str(cell or "")) for cell in cells) + 2, _WIDEST)


def parse_rows(
    sheet: Sheet, fields: Mapping[str, Field], problems: list[Problem], *, others: Parse | None = None,
) -> list[tuple[Row, dict[str, Any]]]:
    """The rows of a sheet as values; whatever does not fit is added to `problems`, and its row is left out.

    Args:
        sheet: as written.
        fields: the columns that the table has.
        problems: gets one entry for each thing that is wrong.
        others: reads the cells of further columns; None: a further column is a problem.
    """
    twice = sorted({name for name in sheet.columns if sheet.columns.count(name) > 1})
    known = ", ".join(fields)
    problems += [Problem(f"{sheet.where} column {name}", "stands there twice", "Keep one of them.") for name in twice]
    for name in sheet.columns:
        if name not in fields and (others is None or not name):
            problems.append(Problem(f"{sheet.where} column {name or '(no name)'}", "is not a column of this table", f"It has: {known}."))
    missing = [name for name, one in fields.items() if one.required and name not in sheet.columns]
    problems += [Problem(f"{sheet.where} column {name}", "is missing", f"Add it. The table has: {known}.") for name in missing]
    if missing or twice:
        return []
    parsed = []
    for row in sheet.rows:
        values: dict[str, Any] = {}
        found = len(problems)
        if all(_is_empty(cell) for cell in row.cells.values()):
            continue  # a blank line in a sheet says nothing
        for name, cell in row.cells.items():
            parse = fields[name].parse if name in fields else others
            if parse is None or _is_empty(cell):
                continue  # a column that the table does not have is told above, once
            try:
                values[name] = parse(cell)
            except WrongError as wrong:
                problems.append(Problem(f"{row.where} column {name}", wrong.what, wrong.remedy))
        for name, one in fields.items():
            if _is_empty(row.cells.get(name)):
                values[name] = one.default
                if one.required:
                    problems.append(Problem(f"{row.where} column {name}", "is empty", "Fill it in."))
        if len(problems) == found:
            parsed.append((row, values))
    return parsed


def text(limit: int = 200) -> Parse:
    """A text of people: one form of each character (NFC), nothing invisible."""

    def parse(cell: Any) -> str:
        written = unicodedata.normalize("NFC", _written(cell))
        unseen = sorted({f"U+{ord(sign):04X}" for sign in written if unicodedata.category(sign) in _SEEN_NEVER} - {_MONGOLIAN_VOWEL_SEPARATOR})
        if unseen:
            raise WrongError(f"{written!r} holds signs that are not seen ({', '.join(unseen)})", "Type it again without them.")
        if len(written) > limit:
            raise WrongError(f"has {len(written)} characters", f"Shorten it to {limit}.")
        return written

    return parse


def identifier(cell: Any) -> str:
    """An id: ASCII letters, digits, - and _, at most 64."""
    written = _written(cell)
    if not _IDENTIFIER.fullmatch(written):
        raise WrongError(f"{written!r} is no id", "An id has 1 to 64 ASCII letters, digits, - or _.")
    return written


def choice(*options: str) -> Parse:
    """One of a closed set."""

    def parse(cell: Any) -> str:
        written = _written(cell)
        if written not in options:
            raise WrongError(f"{written!r} is not known", f"Write one of: {', '.join(options)}.")
        return written

    return parse


def number(*, above: float | None = None, at_most: float | None = None, at_least: float | None = None) -> Parse:
    """A finite number with at most 15 significant digits (what spreadsheets keep), within bounds."""

    def parse(cell: Any) -> float:
        if isinstance(cell, bool) or not isinstance(cell, int | float):
            written = _written(cell)
            if not _NUMBER.fullmatch(written):
                raise WrongError(f"{written!r} is no number", "Write digits with a decimal point, without thousands separators or unit.")
            value = float(written)
        else:
            value = float(cell)
        if not isfinite(value):
            raise WrongError(f"{cell} is not a finite number", "Write a number, or leave the cell empty.")
        value = float(f"{value:.15g}")
        if above is not None and value <= above:
            raise WrongError(f"{value:.15g} is not above {above:g}", f"Write a number above {above:g}.")
        if at_least is not None and value < at_least:
            raise WrongError(f"{value:.15g} is below {at_least:g}", f"Write a number of at least {at_least:g}.")
        if at_most is not None and value > at_most:
            raise WrongError(f"{value:.15g} is above {at_most:g}", f"Write a number of at most {at_most:g}.")
        return value

    return parse


def integer(cell: Any) -> int:
    """A whole number."""
    value = number()(cell)
    if value != int(value):
        raise WrongError(f"{value} is no whole number", "Write a whole number.")
    return int(value)


def boolean(cell: Any) -> bool:
    """True or false, yes or no, 是 or 否, 1 or 0."""
    written = _written(cell).lower()
    if written in {"true", "yes", "1", "是"}:
        return True
    if written in {"false", "no", "0", "否"}:
        return False
    raise WrongError(f"{written!r} is neither true nor false", "Write true or false.")


def day(cell: Any) -> date:
    """A day, as 2026-01-31."""
    if isinstance(cell, datetime):
        return cell.date()
    if isinstance(cell, date):
        return cell
    written = _written(cell)
    try:
        return date.fromisoformat(written.removesuffix(" 00:00:00"))
    except ValueError:
        raise WrongError(f"{written!r} is no day", "Write it as 2026-01-31.") from None


def instant(zone: ZoneInfo) -> Parse:
    """An instant: a local day (its start), a local time, or a time with its offset."""

    def parse(cell: Any) -> datetime:
        moment: datetime
        if isinstance(cell, datetime):
            moment = cell
        elif isinstance(cell, date):
            moment = datetime.combine(cell, time(), zone)
        else:
            written = _written(cell)
            try:
                moment = datetime.fromisoformat(written)
            except ValueError:
                raise WrongError(f"{written!r} is no instant", "Write 2026-01-31 (a day's start) or 2026-01-31T08:00:00+08:00.") from None
        try:
            return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        except OverflowError:
            raise WrongError(f"{moment} lies outside the calendar", "Leave the cell empty where there is no such date.") from None

    return parse


def _written(cell: Any) -> str:
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, int | float):
        if abs(cell) >= EXACT_IN_FLOAT:
            raise WrongError(f"{cell:.0f} is stored as a number, which keeps 15 digits only", "Format the column as text and type it again.")
        return f"{cell:.15g}"
    return str(cell).strip()


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _guarded(cell: str) -> str:
    return f"'{cell}" if _GUARDED.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _GUARDED.match(cell) else cell


def _read_csv(path: Path, shown: str) -> Sheet:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInputError([Problem(shown, "is not UTF-8", "Save it as 'CSV UTF-8', or give a workbook (.xlsx).")]) from None
    reader = csv.reader(content.splitlines(keepends=True), strict=True)
    problems: list[Problem] = []
    try:
        columns = [name.strip() for name in next(reader, [])]
        rows = []
        for cells in reader:
            where = f"{shown} row {reader.line_num}"
            if len(cells) not in (0, len(columns)):
                problems.append(Problem(where, f"has {len(cells)} cells, the head has {len(columns)}", "Mend the row: quote cells that hold commas."))
                continue
            rows.append(Row(where, {name: _unguarded(cell) for name, cell in zip(columns, cells, strict=True)} if cells else {}))
    except csv.Error as error:
        problems.append(Problem(f"{shown} row {reader.line_num}", f"cannot be read as CSV: {error}", "Mend the row."))
    if problems:
        raise BadInputError(problems)
    return Sheet(shown, columns, rows)


def _read_workbook(path: Path, is_numeric: Callable[[str], bool]) -> dict[str, Sheet]:
    try:
        workbook = fastexcel.read_excel(path)
        return {name: _read_worksheet(workbook, path.name, name, is_numeric) for name in workbook.sheet_names}
    except fastexcel.FastExcelError as error:
        reason = str(error).partition("\n")[0]
        raise BadInputError([Problem(path.name, f"cannot be read as a workbook: {reason}", "Save it again as .xlsx, or give CSV.")]) from error


def _read_worksheet(workbook: Any, file: str, name: str, is_numeric: Callable[[str], bool]) -> Sheet:
    where = f"{file} sheet {name}"
    grid = workbook.load_sheet(name, header_row=None, skip_rows=0, dtypes="string").to_polars()  # row 1 of the sheet is row 0 here
    head = next((row for row in range(grid.height) if any(grid.row(row))), None)
    if head is None:
        return Sheet(where, [])
    titles = [(title or "").strip() for title in grid.row(head)]
    columns = {position: grid.to_series(position).to_list() for position in range(grid.width)}
    wanted = [position for position, title in enumerate(titles) if title and is_numeric(title)]
    if wanted:  # read as texts, numbers come with few digits
        exact = workbook.load_sheet(name, header_row=None, skip_rows=0, dtypes=dict.fromkeys(wanted, "float")).to_polars()
        for position in wanted:
            pairs = zip(exact.to_series(position).to_list(), columns[position], strict=True)
            columns[position] = [written if value is None or not _NUMBER.fullmatch(written or "") else value for value, written in pairs]
    kept = [position for position, title in enumerate(titles) if title or any(columns[position])]
    rows = [Row(f"{where} row {row + 1}", {titles[position]: columns[position][row] for position in kept}) for row in range(head + 1, grid.height)]
    return Sheet(where, [titles[position] for position in kept], rows)
