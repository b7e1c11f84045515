"""Figures that enterprises report: a maker enters them, another person checks them, and only checked ones count."""

import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.orm import Session

from config.calendar import period_days
from config.errors import BadInputError, Problem
from config.schemas import FIGURE as FIGURE_SHAPE
from config.schemas import INSTANT
from store import audit, sheets
from store.database import Database, frame_of
from store.models import ENTERPRISE, FIGURE, PARK
from store.register import PLANT_STATUSES, ImportCount, credit_code
from store.sheets import Field, Sheet, WrongError

MONEY: Final = ("value_added_10k_cny", "output_value_10k_cny")
MONEY_UNIT: Final = "10^4 CNY"
OUTPUT: Final = "output"
FEEDSTOCK: Final = ("included", "excluded")
_KEY: Final = ("enterprise", "period", "figure", "product", "indicator", "line", "feedstock", "price_basis", "base_year")
_OF_OUTPUT: Final = ("enterprise", "product", "indicator", "line", "plant_status", "feedstock", "period")
_ROW: Final = pl.Schema({
    "id": pl.Int64(), "enterprise": pl.String(), "park": pl.String(), "period": pl.String(), "figure": pl.String(), "value": pl.Float64(),
    "unit": pl.String(), "product": pl.String(), "indicator": pl.String(), "line": pl.String(), "plant_status": pl.String(),
    "feedstock": pl.String(), "price_basis": pl.String(), "base_year": pl.Int32(), "source": pl.String(), "parameters": pl.String(),
    "maker": pl.String(), "made_at": INSTANT, "checker": pl.String(), "checked_at": INSTANT,
})
_CONTENT: Final = tuple(name for name in _ROW if name not in {"id", "maker", "made_at", "checker", "checked_at"})


def _period(cell: Any) -> str:
    written = str(sheets.text(10)(cell))
    try:
        period_days(written)
    except ValueError:
        raise WrongError(f"{written!r} is no period", "Write 2025, 2025-03 or 2025-03-07.") from None
    return written


def _parameter(cell: Any) -> float | str:
    try:
        return float(sheets.number()(cell))
    except WrongError:
        return str(sheets.text()(cell))


_FIELDS: Final[Mapping[str, Field]] = {
    "enterprise": Field(credit_code, required=True), "park": Field(sheets.identifier), "period": Field(_period, required=True),
    "figure": Field(sheets.choice(*MONEY, OUTPUT), required=True), "value": Field(sheets.number(), required=True), "unit": Field(sheets.text(64)),
    "product": Field(sheets.text()), "indicator": Field(sheets.text()), "line": Field(sheets.text(64)),
    "plant_status": Field(sheets.choice(*PLANT_STATUSES)), "feedstock": Field(sheets.choice(*FEEDSTOCK)), "price_basis": Field(sheets.text(64)),
    "base_year": Field(sheets.integer), "source": Field(sheets.text(500)),
}


class Figures:
    """Every report is kept; of the checked reports of one figure the last counts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def import_file(self, path: Path, *, maker: str, at: datetime) -> ImportCount:
        """Enter figures from a workbook (every sheet), a CSV file or a folder of them, as reported by `maker`.

        Columns: enterprise, period, figure (value_added_10k_cny, output_value_10k_cny, output), value, [park, unit, product,
        indicator, line, plant_status, feedstock, price_basis, base_year, source]; any further column of an output row is a
        parameter of its limit.

        Raises:
            BadInputError: every problem with file, row and column; nothing was written.
        """
        tables = sheets.read_sheets(path, lambda column: column not in _TEXTS)  # parameters are not known beforehand, most are numbers
        return self._take(list(tables.values()), maker, at, path.name)

    def apply(self, frame: pl.DataFrame, *, maker: str, at: datetime) -> ImportCount:
        """Enter figures from a table in memory, by the same rules.

        Raises:
            BadInputError: every problem with row and column; nothing was written.
        """
        return self._take([sheets.sheet_of("figures", frame)], maker, at, "figures")

    def check(self, rows: Sequence[int], *, checker: str, at: datetime) -> int:
        """Confirm reports by their ids; how many were not confirmed before.

        Raises:
            BadInputError: an id that does not exist, or a report that the checker made; nothing was written.
        """
        with self._db.session() as session:
            found = {row.id: row for row in session.execute(select(FIGURE.c.id, FIGURE.c.maker, FIGURE.c.checked_at).where(FIGURE.c.id.in_(rows)))}
            problems = [
                Problem(f"figure {row}", "does not exist", "`tcewatch figures list` shows the ids.") if row not in found
                else Problem(f"figure {row}", f"was made by {found[row].maker}, who cannot check it too", "Let another person check it.")
                for row in rows if row not in found or _same(found[row].maker, checker)
            ]
            if problems or not _named(checker):
                raise BadInputError(problems or [_NO_NAME])
            return self._confirm(session, [row for row in rows if found[row].checked_at is None], checker, at)

    def check_all(self, *, checker: str, at: datetime, maker: str | None = None) -> int:
        """Confirm all reports that wait for a check and that the checker did not make (with `maker`: that maker's); how many.

        Raises:
            BadInputError: `maker` is the checker.
        """
        if not _named(checker):
            raise BadInputError([_NO_NAME])
        if maker is not None and _same(maker, checker):
            raise BadInputError([Problem("checker", f"{checker} made these figures", "Let another person check them.")])
        with self._db.session() as session:
            waiting = session.execute(select(FIGURE.c.id, FIGURE.c.maker).where(FIGURE.c.checked_at.is_(None))).all()
            chosen = [row.id for row in waiting if not _same(row.maker, checker) and (maker is None or _same(row.maker, maker))]
            return self._confirm(session, chosen, checker, at)

    def values(self) -> pl.DataFrame:
        """FIGURE: the checked money figures that count; the park is the reported one, else the enterprise's."""
        rows = self._counting(MONEY)
        keys = ["enterprise", "park", "period", "price_basis", "base_year"]
        figures = [pl.col("value").filter(pl.col("figure") == name).last().alias(name) for name in MONEY]
        return rows.group_by(keys, maintain_order=True).agg(figures).select(FIGURE_SHAPE.names()).sort(keys)

    def outputs(self) -> pl.DataFrame:
        """The checked outputs that count: enterprise, product, indicator, line, plant_status, feedstock, period, output, output_unit.

        Then come the parameters of limits, a column each: numbers where all are numbers, else texts. The plant status is
        the reported one, else the enterprise's.
        """
        rows = self._counting((OUTPUT,))
        shown = rows.select(*_OF_OUTPUT, output="value", output_unit="unit")
        given = [json.loads(text) if text else {} for text in rows["parameters"]]
        for name in sorted({name for one in given for name in one}):
            cells = [one.get(name) for one in given]
            if not all(cell is None or isinstance(cell, float) for cell in cells):
                cells = [cell if cell is None or isinstance(cell, str) else f"{cell:.15g}" for cell in cells]
                shown = shown.with_columns(pl.Series(name, cells, dtype=pl.String()))
            else:
                shown = shown.with_columns(pl.Series(name, cells, dtype=pl.Float64()))
        return shown.sort(*_OF_OUTPUT)

    def rows(self, *, enterprises: Collection[str] | None = None) -> pl.DataFrame:
        """Every report, the newest last, with `state`: unchecked, checked (it counts) or superseded (a later checked one counts)."""
        query = select(*(FIGURE.c[name] for name in _ROW)).order_by(FIGURE.c.id)
        if enterprises is not None:
            query = query.where(FIGURE.c.enterprise.in_(sorted(enterprises)))
        checked = pl.col("checked_at").is_not_null()
        counts = pl.col("id") == pl.col("id").filter(checked).max().over(_KEY)
        state = pl.when(~checked).then(pl.lit("unchecked")).when(counts).then(pl.lit("checked")).otherwise(pl.lit("superseded"))
        return self._db.frame(query, _ROW).with_columns(state=state)

    def version(self) -> str:
        """Changes whenever a figure is entered or checked."""
        query = select(func.count(), func.count(FIGURE.c.checked_at), func.max(FIGURE.c.checked_at)).select_from(FIGURE)
        with self._db.reading() as session:
            return "/".join(str(part) for part in session.execute(query).one())

    def _counting(self, figures: Sequence[str]) -> pl.DataFrame:
        last = select(func.max(FIGURE.c.id)).where(FIGURE.c.checked_at.is_not(None)).group_by(FIGURE.c.key)
        with self._db.reading() as session:
            query = select(*(FIGURE.c[name] for name in _ROW)).where(FIGURE.c.id.in_(last), FIGURE.c.figure.in_(figures)).order_by(FIGURE.c.id)
            rows = frame_of(session, query, _ROW)
            homes = frame_of(session, _known(ENTERPRISE, "enterprise", "park", "plant_status"), _HOME)
        return rows.join(homes, on="enterprise", how="left", suffix="_home").with_columns(
            pl.coalesce("park", "park_home").alias("park"), pl.coalesce("plant_status", "plant_status_home").alias("plant_status"),
        )

    def _take(self, tables: Sequence[Sheet], maker: str, at: datetime, source: str) -> ImportCount:
        problems: list[Problem] = [] if _named(maker) else [_NO_NAME]
        written = [pair for sheet in tables if sheet.columns for pair in sheets.parse_rows(sheet, _FIELDS, problems, others=_parameter)]
        with self._db.session() as session:
            session.execute(select(FIGURE.c.id).order_by(FIGURE.c.id.desc()).limit(1).with_for_update())
            enterprises = {row[0] for row in session.execute(_known(ENTERPRISE, "enterprise"))}
            parks = {row[0] for row in session.execute(_known(PARK, "park"))}
            last = select(func.max(FIGURE.c.id)).group_by(FIGURE.c.key)
            latest = {row["key"]: row for row in session.execute(select(FIGURE).where(FIGURE.c.id.in_(last))).mappings()}
            fresh: dict[str, dict[str, Any]] = {}
            places: dict[str, str] = {}
            count = {"added": 0, "changed": 0, "unchanged": 0}
            for row, values in written:
                figure = _figure(row.where, values, enterprises, parks, problems)
                key = "/".join("" if figure[name] is None else str(figure[name]) for name in _KEY)
                if key in places:
                    problems.append(Problem(row.where, f"reports the same figure as {places[key]}", "Keep one of the two rows."))
                    continue
                places[key] = row.where
                before = latest.get(key)
                if before is not None and all(before[name] == figure[name] for name in _CONTENT):
                    count["unchanged"] += 1
                    continue
                count["added" if before is None else "changed"] += 1
                fresh[key] = figure | {"key": key, "maker": maker, "made_at": at}
            if problems:
                raise BadInputError(problems)
            if fresh:
                session.execute(insert(FIGURE), list(fresh.values()))
                audit.append(session, by=maker, action="figures.import", subject=source, details=count)
        return ImportCount(**count)

    def _confirm(self, session: Session, rows: Sequence[int], checker: str, at: datetime) -> int:
        if rows:
            session.execute(update(FIGURE).where(FIGURE.c.id.in_(rows)).values(checker=checker, checked_at=at))
            audit.append(session, by=checker, action="figures.check", subject=f"{len(rows)} figures", details={"ids": list(rows)})
        return len(rows)


_TEXTS: Final = frozenset(_FIELDS) - {"value", "base_year"}
_HOME: Final = pl.Schema({"enterprise": pl.String(), "park": pl.String(), "plant_status": pl.String()})
_NO_NAME: Final = Problem("name", "is empty", "Say who enters or checks the figures.")


def _figure(where: str, values: dict[str, Any], enterprises: Collection[str], parks: Collection[str], problems: list[Problem]) -> dict[str, Any]:
    """A row as it is stored; what does not hold together is added to `problems`."""
    figure: dict[str, Any] = {name: values.get(name) for name in _FIELDS}
    parameters = {name: value for name, value in values.items() if name not in _FIELDS}
    figure["parameters"] = json.dumps(parameters, ensure_ascii=False, sort_keys=True) if parameters else None

    def tell(column: str, what: str, remedy: str) -> None:
        problems.append(Problem(f"{where} column {column}", what, remedy))

    if figure["enterprise"] not in enterprises:
        tell("enterprise", f"{figure['enterprise']} is not in the register", "Add the enterprise to the register first.")
    if figure["park"] is not None and figure["park"] not in parks:
        tell("park", f"{figure['park']} is not in the register", "Add the park to the register first.")
    if figure["figure"] == OUTPUT:
        if figure["product"] is None:
            tell("product", "is empty", "An output is that of a product: write its code.")
        if figure["unit"] is None:
            tell("unit", "is empty", "Write the unit of the output, for example t.")
        if figure["value"] < 0:
            tell("value", f"{figure['value']:.15g} is below 0", "An output is never negative.")
        return figure
    figure["unit"] = figure["unit"] or MONEY_UNIT
    if figure["unit"] != MONEY_UNIT:
        tell("unit", f"{figure['unit']!r} does not fit", f"{figure['figure']} is in {MONEY_UNIT}; convert the value, or leave the cell empty.")
    for name in sorted(parameters):
        tell(name, f"is not a column of {figure['figure']}", "Only outputs have further columns: the parameters of their limits.")
    return figure


def _known(table: Any, *columns: str) -> Select[Any]:
    return select(*(table.c[name] for name in columns)).where(table.c.known_to.is_(None))


def _same(one: str, other: str) -> bool:
    return unicodedata.normalize("NFKC", one).strip().casefold() == unicodedata.normalize("NFKC", other).strip().casefold()


def _named(name: str) -> bool:
    return bool(name.strip())
