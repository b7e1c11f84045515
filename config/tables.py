"""The law as data: dated tables with their source in every row, validated when loaded.

The shipped tables lie in `config/tables`. A site's own folder adds rows in files of the same shape (`limits*.csv`,
`coal_equivalent*.csv`, ...); they are loaded after the shipped ones: a limit row with the same product, standard, indicator and
feedstock replaces the shipped row, a coefficient takes precedence on the days on which it is valid. A row of a site may say from
when on it was known (`known_from`, an instant with its offset; empty: always): the row known last takes precedence, and what was in
force as far as was known at an instant can be asked for (`as_of`).
"""

import csv
import tomllib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, cast

import polars as pl
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from config import schemas
from config.errors import BadInputError, NoRuleInForceError, Problem, UnknownCodeError

SHIPPED: Final = Path(__file__).with_suffix("")
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]


def _named(source: str) -> str:
    if len(source.encode()) < 8:  # three Chinese characters name an office, eight Latin letters a document
        raise ValueError("does not say where the row is from")
    return source


Source = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_named)]
Basis = Literal["calorific", "equivalent"]
Confidence = Literal["high", "medium", "low"]
Medium = Literal["coal", "water", "oil", "gas", "electricity", "heat", "other"]


def one_of(known: Sequence[str]) -> BeforeValidator:
    """Of a column: its cells are one of these."""
    def check(unit: Any) -> Any:
        if unit not in known:
            raise ValueError(f"is not one of {', '.join(known)}")
        return unit

    return BeforeValidator(check)


class TableRow(BaseModel):
    """A row of a table of the law as it stands in its file; `key` is what two rows of one file must not share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    @abstractmethod
    def key(self) -> object:
        """What no other row of the file has."""

    def holds_on(self, day: date) -> bool:
        """Whether the row's own dates hold it in force on a day; a row without dates holds always."""
        start, last, end = (getattr(self, name, None) for name in ("valid_from", "last", "valid_to"))
        start = start or getattr(self, "first", None)
        return (start is None or start <= day) and (last is None or day <= last) and (end is None or day < end)

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        start, end = (getattr(self, name, None) for name in ("valid_from", "valid_to"))
        if start is not None and end is not None and end <= start:
            raise ValueError(f"valid_to {end} is not after valid_from {start}")
        return self


class DatedRow(TableRow):
    """A row from `valid_from` up to but not on `valid_to`."""

    valid_from: date
    valid_to: date | None = None
    source: Source
    remark: str = ""


Row = TypeVar("Row", bound=TableRow)
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)  # of a row that does not say since when it was known


def holding(day: date | pl.Expr) -> pl.Expr:
    """Whether rows with `valid_from` and `valid_to` hold on a day; one that does not say from when never does."""
    return (pl.col("valid_from") <= day) & (pl.col("valid_to") > day).fill_null(value=True)


def in_force(table: pl.DataFrame, day: date, **keys: str) -> pl.DataFrame:
    """The rows of a dated table (LIMIT or COEFFICIENT) that are in force on a day, for the codes given.

    A row without a date of effect, and a coefficient without a number, is never in force.

    Raises:
        UnknownCodeError: no row has these codes at all.
        NoRuleInForceError: the rows that there are begin later, have ended or have no date: the nearest is not taken.

    >>> from config.limit_tables import limits
    >>> in_force(limits(), date(2026, 5, 1), product="coke_top_charged", indicator="comprehensive_energy")["standard"].to_list()
    ['GB 21342-2025']
    """
    is_limit = "effective_from" in table.columns
    name, start = ("limits", "effective_from") if is_limit else ("coal_equivalent", "valid_from")
    rows = table
    for column, code in keys.items():
        known = rows[column].drop_nulls().unique().to_list()
        rows = rows.filter(pl.col(column) == code)
        if rows.is_empty():
            raise UnknownCodeError(column, code, known)
    dated = rows.filter(pl.col(start).is_not_null())
    if is_limit:
        found = dated.filter(pl.col(start) <= day, (pl.col("effective_to") >= day).fill_null(value=True))
    else:
        dated = dated.filter(pl.col("kgce_per_unit").is_not_null())
        found = dated.filter(holding(day))
    if found.is_empty():
        earliest = dated[start].min()
        raise NoRuleInForceError(f"{name}.csv", " ".join(keys.values()), day, earliest if isinstance(earliest, date) else None)
    return found


def known_at(own: list[Row], as_of: datetime | None) -> list[Row]:
    """The rows of a site's folder that were known at an instant (None: all), those known last at the end."""
    since = [(getattr(row, "known_from", None) or _ALWAYS, row) for row in own]
    return [row for begin, row in sorted(since, key=lambda pair: pair[0]) if as_of is None or begin <= as_of]


def merged(base: list[Row], own: list[Row]) -> list[Row]:
    """The rows of both; one of `own` replaces that of `base` with the same key."""
    return list({row.key: row for row in [*base, *own]}.values())


def load(table: str, model: type[Row], site_dir: Path | None) -> tuple[list[Row], list[Row]]:
    """The rows of a table as they stand in the files: the shipped ones, and those of the site's folder.

    A file of the folder is CSV, its name begins with the table's; or TOML with an array of tables named as the table (`[[limits]]`).

    Raises:
        BadInputError: rows that do not fit, all of them, or a file that belongs to no table.
    """
    shipped, wrong = _shipped(table, model)
    base, own, problems = cast("list[Row]", list(shipped)), list[Row](), list(wrong)
    if site_dir is not None and not site_dir.is_dir():
        problems.append(Problem(str(site_dir), "there is no such folder", "Create it, or change [site] tables_dir in the settings."))
    elif site_dir is not None:
        for path in sorted(path for path in site_dir.iterdir() if path.suffix in (".csv", ".toml") and not path.name.startswith(".")):
            own += rows_in(path, problems, {table: model}).get(table, [])
    if problems:
        raise BadInputError(problems)
    return base, own


@cache
def _shipped(table: str, model: type[TableRow]) -> tuple[list[TableRow], list[Problem]]:
    """The rows of a shipped file: it does not change while the program runs."""
    problems: list[Problem] = []
    return _read(SHIPPED / f"{table}.csv", model, problems), problems


@cache
def names() -> list[str]:
    """The names of all tables: each has a shipped file, if only with its columns."""
    return sorted(path.stem for path in SHIPPED.glob("*.csv"))


def rows_in(path: Path, problems: list[Problem], models: Mapping[str, type[Row]]) -> dict[str, list[Row]]:
    """The rows of a site's file by table, of the tables in `models`; what is wrong with them is added to `problems`."""
    known = names()
    if path.suffix == ".toml":
        try:
            said = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            problems.append(Problem(path.name, f"cannot be read: {error}", "Save it as TOML in UTF-8."))
            return {}
        strange = [
            key for key, rows in said.items() if key not in known or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows)
        ]
        problems += [Problem(f"{path.name} {key}", "is no array of rows of a table", f"Write [[{known[0]}]] before each row; "
                             f"the tables are {', '.join(known)}.") for key in strange]
        return {
            table: _checked(path.name, table, ((number, {column: _told(value) for column, value in row.items()})
                                               for number, row in enumerate(said[table], start=1)), model, problems)
            for table, model in models.items() if table in said and table not in strange
        }
    named = max((name for name in known if path.name.startswith(name)), key=len, default=None)
    if named is None:
        problems.append(Problem(path.name, "belongs to no table", f"Let its name begin with one of {', '.join(known)}."))
        return {}
    return {named: _read(path, models[named], problems)} if named in models else {}


def _told(value: Any) -> Any:
    """A value of TOML as a cell of CSV says it, so that both are checked alike."""
    if isinstance(value, list | dict):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(path: Path, model: type[Row], problems: list[Problem]) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file, restkey="(beyond the last column)"))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(path.name, f"cannot be read: {error}", "Save it as CSV in UTF-8."))
        return []
    return _checked(path.name, "", enumerate(lines, start=2), model, problems)


def _checked(file: str, table: str, lines: Iterable[tuple[int, Mapping[str, Any]]], model: type[Row], problems: list[Problem]) -> list[Row]:
    rows: list[Row] = []
    seen: dict[object, int] = {}
    place = f"{file} {table} row" if table else f"{file} row"
    for number, line in lines:
        try:
            row = model.model_validate({column: value for column, value in line.items() if value not in ("", None)})
        except ValidationError as error:
            problems += _problems(f"{place} {number}", error)
            continue
        known = (row.key, getattr(row, "known_from", None))
        if first := seen.get(known):
            problems.append(Problem(f"{place} {number}", f"says the same as row {first}: {row.key}", "Keep one of the two rows."))
        seen[known] = number
        rows.append(row)
    return rows


def _problems(where: str, error: ValidationError) -> Iterable[Problem]:
    for detail in error.errors():
        column = f"{where} column {detail['loc'][0]}" if detail["loc"] else where
        match detail["type"]:
            case "extra_forbidden":
                yield Problem(column, "is not a column of this table", "Check its spelling; `tcewatch tables` lists the columns.")
            case "missing":
                yield Problem(column, "is empty", "Fill it in; every row needs it.")
            case "value_error" if detail["loc"] == ("source",):
                yield Problem(column, f"{detail['input']!r} does not say where the row is from", "Write the document and the place in it.")
            case _:
                what = detail["msg"].removeprefix("Value error, ")
                shown = f" (it is {detail['input']!r})" if detail["loc"] else ""
                yield Problem(column, what[:1].lower() + what[1:] + shown, "Correct the value.")


def framed(rows: Sequence[BaseModel], schema: pl.Schema) -> pl.DataFrame:
    """Rows as a named table."""
    known = {name: dtype for name, dtype in schema.items() if rows and name in type(rows[0]).model_fields}
    frame = pl.DataFrame([row.model_dump(include=set(known)) for row in rows], schema=known) if rows else pl.DataFrame(schema=schema)
    return schemas.conform(frame, schema)
