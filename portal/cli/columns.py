"""Tables of readings in files: which column is what, given as TOML or by the columns' own names; and their rows as readings.

A cell that cannot be read is a problem that is told, and goes on as it stands: decoding then refuses that reading, and
quarantine keeps it.
"""

import tomllib
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from config.errors import BadInputError, Problem
from config.settings import ZoneName
from portal.cli.files import Column, Table, cell_texts, parse_column, read_cells

Name = Literal["enterprise", "gateway", "meter", "register", "unit"]
NAMES: Final[tuple[Name, ...]] = ("enterprise", "gateway", "meter", "register", "unit")
_SELF_NAMED: Final[dict[str, str]] = {**dict(zip(NAMES, NAMES, strict=True)), "time": "read_at", "value": "value"}
_SHOWN_CHARACTERS: Final = 200  # of a cell that cannot be read
READINGS: Final = pl.Schema({  # `said_at`, `said`: the cells as they stand, where ts or value could not be read from them
    "enterprise": pl.String(), "gateway": pl.String(), "meter": pl.String(), "register": pl.String(), "unit": pl.String(),
    "ts": pl.Int64(), "value": pl.Float64(), "said_at": pl.String(), "said": pl.String(),
})


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Columns(_Part):
    """The file's column for each part of a reading; `time` may be several, as of day and time of day."""

    time: str | tuple[str, ...]
    value: str | None = None
    enterprise: str | None = None
    gateway: str | None = None
    meter: str | None = None
    register_name: str | None = Field(None, alias="register")
    unit: str | None = None


class Constants(_Part):
    """What is the same in all rows."""

    enterprise: str | None = None
    gateway: str | None = None
    meter: str | None = None
    register_name: str | None = Field(None, alias="register")
    unit: str | None = None


class RegisterColumn(_Part):
    """A column that holds the values of one register."""

    column: str
    register_name: str = Field(alias="register")
    meter: str | None = None
    unit: str | None = None


class FileMapping(_Part):
    """How the rows of a file become readings."""

    columns: Columns
    constants: Constants = Constants()
    registers: tuple[RegisterColumn, ...] = ()
    zone: ZoneName | None = None  # of times without an offset
    time_format: str | None = None  # as %Y/%m/%d %H:%M; without it ISO 8601

    @model_validator(mode="after")
    def _says_all_once(self) -> "FileMapping":
        if bool(self.registers) == (self.columns.value is not None):
            raise ValueError("name either [columns] value (a row for each reading) or [[registers]] (a column for each register)")
        for name in NAMES:
            if self.column(name) is not None and self.constant(name) is not None:
                raise ValueError(f"{name} stands in [columns] and in [constants]; keep one")
        if self.registers and self.column("register") is not None:
            raise ValueError("[[registers]] names the registers; take `register` out of [columns]")
        if self.column("enterprise") is None and self.constant("enterprise") is None:
            raise ValueError("enterprise is in neither [columns] nor [constants]")
        meters = [one.meter for one in self.registers] or [None]
        if self.column("meter") is None and self.constant("meter") is None and None in meters:
            raise ValueError("meter is in neither [columns] nor [constants], nor given for each of [[registers]]")
        return self

    def column(self, name: Name) -> str | None:
        """The file's column of a name."""
        value: str | None = getattr(self.columns, "register_name" if name == "register" else name)
        return value

    def constant(self, name: Name) -> str | None:
        """What a name is in all rows."""
        value: str | None = getattr(self.constants, "register_name" if name == "register" else name)
        return value


def load_mapping(path: Path) -> FileMapping:
    """Read a mapping.

    Raises:
        BadInputError: with every problem of it.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInputError([Problem(str(path), f"cannot be read as TOML: {error}", "Mend that line; the guide has an example.")]) from error
    try:
        return FileMapping(**values)
    except ValidationError as error:
        raise BadInputError([_problem(path, detail) for detail in error.errors()]) from None


def read_readings(path: str, mapping: FileMapping | None) -> tuple[pl.DataFrame, list[Problem]]:
    """READINGS of a file in its order, and what of its cells cannot be read.

    Raises:
        BadInputError: the file cannot be read, or lacks a column.
    """
    problems: list[Problem] = []
    table = read_cells(path, _wanted(mapping), problems)
    if table is None or problems:
        raise BadInputError(problems)
    if mapping is None:
        there = {part: column for part, column in _SELF_NAMED.items() if column in table.given}
        mapping = FileMapping(columns=Columns(**there))
    return _readings(table, mapping, problems), problems


def _wanted(mapping: FileMapping | None) -> list[Column]:
    if mapping is None:
        helps = {"enterprise": "18-character credit code", "meter": "id of the meter", "read_at": "time of the reading", "value": "the reading"}
        return [Column(name, "text", text) for name, text in helps.items()]
    times = [mapping.columns.time] if isinstance(mapping.columns.time, str) else mapping.columns.time
    named = [mapping.columns.value, *(mapping.column(name) for name in NAMES), *(one.column for one in mapping.registers)]
    return [Column(name, "text", "named in the mapping") for name in dict.fromkeys([*times, *(one for one in named if one is not None)])]


def _readings(table: Table, mapping: FileMapping, problems: list[Problem]) -> pl.DataFrame:
    said_at, instants = _times(table, mapping, problems)
    names = {name: _names(table, mapping, name, problems) for name in NAMES}
    shared = pl.DataFrame([
        *(values.alias(name) for name, values in names.items()),
        instants.dt.epoch("ms").alias("ts"), said_at.zip_with(instants.is_null(), pl.Series([None], dtype=pl.String)).alias("said_at"),
    ])
    if mapping.columns.value is not None:
        return _with_values(shared, table, Column(mapping.columns.value, "number", "value of the reading"), problems)
    parts = []
    for one in mapping.registers:
        values = _with_values(shared, table, Column(one.column, "number", f"value of {one.register_name}", nullable=True), problems)
        fixed = {"register": one.register_name, "meter": one.meter, "unit": one.unit}
        values = values.with_columns(pl.lit(text).alias(name) for name, text in fixed.items() if text is not None)
        parts.append(values.with_row_index("row").filter(pl.col("value").is_not_null() | pl.col("said").is_not_null()))
    return pl.concat(parts).sort("row", maintain_order=True).drop("row")


def _with_values(shared: pl.DataFrame, table: Table, column: Column, problems: list[Problem]) -> pl.DataFrame:
    values = parse_column(table, column, problems)
    said = cell_texts(table.frame[column.name]).str.head(_SHOWN_CHARACTERS)
    frame = shared.with_columns(value=values, said=said.zip_with(values.is_null(), pl.Series([None], dtype=pl.String)))
    return frame.select(pl.col(name).cast(dtype) for name, dtype in READINGS.items())


def _names(table: Table, mapping: FileMapping, name: Name, problems: list[Problem]) -> pl.Series:
    column, constant = mapping.column(name), mapping.constant(name)
    if column is None:
        fixed = constant if constant is not None or name != "register" else "main"
        return pl.repeat(fixed, table.frame.height, dtype=pl.String, eager=True)
    given = parse_column(table, Column(column, "text", name, nullable=name not in ("enterprise", "meter")), problems)
    return given.fill_null("main") if name == "register" else given


def _times(table: Table, mapping: FileMapping, problems: list[Problem]) -> tuple[pl.Series, pl.Series]:
    """The cells as texts and the instants."""
    columns = [mapping.columns.time] if isinstance(mapping.columns.time, str) else list(mapping.columns.time)
    name = " + ".join(columns)
    cells = table.frame[columns[0]]
    if len(columns) > 1:
        joined = table.frame.select(pl.concat_str([cell_texts(table.frame[one]) for one in columns], separator=" ")).to_series()
        cells = joined.rename(name)
    whole = table._replace(frame=pl.DataFrame([cells.alias(name)]), given=frozenset([name]))
    if mapping.time_format is not None and cells.dtype == pl.String:
        whole = whole._replace(frame=whole.frame.with_columns(_formatted(cells, mapping.time_format).alias(name)))
    instants = parse_column(whole, Column(name, "instant", "time of the reading"), problems, mapping.zone)
    return cell_texts(cells).str.head(_SHOWN_CHARACTERS), instants


def _formatted(cells: pl.Series, time_format: str) -> pl.Series:
    """Texts of a format as ISO 8601, others as they stand."""
    texts = cell_texts(cells)
    has_offset = "%z" in time_format or "%:z" in time_format or "%#z" in time_format
    parsed = texts.str.to_datetime(time_format, strict=False, time_unit="us", time_zone="UTC" if has_offset else None)
    iso = parsed.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z" if has_offset else "%Y-%m-%dT%H:%M:%S%.6f")
    return iso.zip_with(parsed.is_not_null(), texts)


def _problem(path: Path, detail: Any) -> Problem:
    where = f"{path} {'.'.join(str(part) for part in detail['loc'])}".strip()
    message = detail["msg"].removeprefix("Value error, ")
    return Problem(where, f"{message[:1].lower()}{message[1:]}", "The guide has an example of a mapping.")
