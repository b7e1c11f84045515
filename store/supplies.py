"""Monthly figures of carriers (bills, weighing, stock-taking) and batches with their heating value; and files that hold any reports."""

from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final

import polars as pl

from config.calendar import period_days
from config.errors import BadInputError, Problem
from config.schemas import BATCH as BATCH_SHAPE
from config.schemas import MONTHLY_FIGURE as MONTHLY_SHAPE
from config.supplies import BASES, KINDS, LONGEST_DAYS, ORIGINS, STOCK_FLOWS, USUAL_FLOW
from config.units import heating_value_in, known_units
from store import sheets
from store.budgets import Budgets
from store.database import Database
from store.figures import Figures, Unfit, period
from store.models import BATCH, MONTHLY_FIGURE
from store.register import ImportCount
from store.register_shapes import FLOWS, credit_code
from store.reports import Reports
from store.sheets import Field, Sheet

_TOLD_BY: Final = {"batches": "lhv", "monthly": "quantity", "budgets": "target"}
_NUMERIC: Final = frozenset({"value", "base_year", "quantity", "lhv", "moisture_ratio", "mass_t", "target", "base"})


def _said(shape: pl.Schema) -> dict[str, pl.DataType]:
    return {name: dtype for name, dtype in shape.items() if name != "known_from"}


class MonthlyFigures(Reports):
    """Quantities of carriers that people report: the bill of a span, what was weighed, received or found in stock."""

    kind, plural = "monthly figure", "monthly figures"
    table = MONTHLY_FIGURE
    content = pl.Schema({**_said(MONTHLY_SHAPE), "source": pl.String(), "withdrawn": pl.Boolean()})
    key = ("enterprise", "carrier", "flow", "kind", "first_day", "last_day", "document")
    fields: ClassVar[Mapping[str, Field]] = {
        "enterprise": Field(credit_code, required=True), "carrier": Field(sheets.identifier, required=True), "flow": Field(sheets.choice(*FLOWS)),
        "kind": Field(sheets.choice(*KINDS), required=True), "period": Field(period), "first_day": Field(sheets.day), "last_day": Field(sheets.day),
        "quantity": Field(sheets.number(), required=True), "unit": Field(sheets.choice(*known_units()), required=True),
        "document": Field(sheets.text()), "source": Field(sheets.text(500)), "withdrawn": Field(sheets.boolean, default=False),
    }

    def frame(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """MONTHLY_FIGURE: the checked figures that count now, or that counted at `as_of`."""
        return _counting(self, self._db, MONTHLY_SHAPE, as_of)

    def stored(self, where: str, values: Mapping[str, Any], _parks: Collection[str], problems: list[Problem]) -> dict[str, Any]:
        row: dict[str, Any] = {name: values.get(name) for name in self.content} | {"flow": values["flow"] or USUAL_FLOW[values["kind"]]}
        if values["period"] is not None and row["first_day"] is None and row["last_day"] is None:
            row["first_day"], row["last_day"] = period_days(values["period"])
        elif values["period"] is not None or row["first_day"] is None or row["last_day"] is None:
            problems.append(Problem(f"{where} column period", "the days are not clear", "Write a period, or both first_day and last_day."))
        elif row["last_day"] < row["first_day"]:
            problems.append(Problem(f"{where} column last_day", "is before first_day", "Write the last day that it is for."))
        elif (row["last_day"] - row["first_day"]).days >= LONGEST_DAYS:
            problems.append(_too_long(where, row))
        if values["kind"] != "report" and (values["kind"] == "stock_taking") != (row["flow"] in STOCK_FLOWS):
            what = f"{row['flow']} does not go with {values['kind']}"
            problems.append(Problem(f"{where} column flow", what, "A stock-taking gives opening_stock or closing_stock, others do not."))
        if row["quantity"] < 0:
            problems.append(Problem(f"{where} column quantity", f"{row['quantity']:.15g} is below 0", "Write what came or was found, 0 or more."))
        return row


class Batches(Reports):
    """Heating values of batches of a fuel, as a laboratory or the supplier found them, with the days on which the batch was fired."""

    kind, plural = "batch", "batches"
    table = BATCH
    content = pl.Schema({**_said(BATCH_SHAPE), "withdrawn": pl.Boolean()})
    key = ("enterprise", "carrier", "batch")
    fields: ClassVar[Mapping[str, Field]] = {
        "enterprise": Field(credit_code, required=True), "carrier": Field(sheets.identifier, required=True),
        "batch": Field(sheets.text(64), required=True), "origin": Field(sheets.choice(*ORIGINS), default="laboratory"),
        "sampled_on": Field(sheets.day), "first_day": Field(sheets.day, required=True), "last_day": Field(sheets.day, required=True),
        "mass_t": Field(sheets.number(above=0)), "lhv": Field(sheets.number(above=0), required=True),
        "lhv_unit": Field(sheets.text(64), required=True), "basis": Field(sheets.choice(*BASES), default="as_received"),
        "moisture_ratio": Field(sheets.number(at_least=0, at_most=1)), "lab": Field(sheets.text()), "report": Field(sheets.text()),
        "withdrawn": Field(sheets.boolean, default=False),
    }

    def frame(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """BATCH: the checked batches that count now, or that counted at `as_of`."""
        return _counting(self, self._db, BATCH_SHAPE, as_of)

    def stored(self, where: str, values: Mapping[str, Any], _parks: Collection[str], problems: list[Problem]) -> dict[str, Any]:
        row: dict[str, Any] = {name: values.get(name) for name in self.content}
        if row["last_day"] < row["first_day"]:
            problems.append(Problem(f"{where} column last_day", "is before first_day", "Write the last day on which it was fired."))
        elif (row["last_day"] - row["first_day"]).days >= LONGEST_DAYS:
            problems.append(_too_long(where, row))
        if heating_value_in(row["lhv_unit"]) is None:
            what = f"{row['lhv_unit']!r} is no unit of a heating value"
            problems.append(Problem(f"{where} column lhv_unit", what, "Write for example kJ/kg, MJ/kg or kJ/Nm3."))
        if row["basis"] == "dry" and row["moisture_ratio"] is None:
            problems.append(Problem(f"{where} column moisture_ratio", "is empty", "A value of the dry fuel needs its moisture as fired."))
        return row


class Reported:
    """All reports of a site: figures, monthly figures, batches and budgets."""

    def __init__(self, db: Database, unfit: Unfit | None = None) -> None:
        self._db = db
        self.figures, self.monthly, self.batches, self.budgets = Figures(db, unfit), MonthlyFigures(db), Batches(db), Budgets(db)
        self.kinds: Mapping[str, Reports] = {
            "figures": self.figures, "monthly": self.monthly, "batches": self.batches, "budgets": self.budgets,
        }

    def import_file(self, path: Path, *, maker: str, at: datetime) -> ImportCount:
        """Enter reports from a workbook (every sheet), a CSV file or a folder of them, as reported by `maker`.

        What a table holds is told by its columns. With `figure`: enterprise, period, figure (value_added_10k_cny,
        output_value_10k_cny, tax_10k_cny, energy_calorific_tce, energy_equivalent_tce, renewable_electricity_kwh,
        new_renewable_electricity_kwh, output), value, [park, unit, product, indicator, line, plant_status,
        feedstock, price_basis, base_year, source], and any further column of an output row is a parameter of its limit. With
        `quantity`: a monthly figure, the columns of MonthlyFigures. With `lhv`: a batch, the columns of Batches. With `target`: a budget, the
        columns of Budgets.

        Raises:
            BadInputError: every problem with file, row and column; nothing was written.
        """
        texts = {name for reports in self.kinds.values() for name in reports.fields} - _NUMERIC
        given = sheets.read_sheets(path, lambda column: column not in texts)  # parameters are not known beforehand, most are numbers
        by_kind: dict[str, list[Sheet]] = {name: [] for name in self.kinds}
        for sheet in given.values():
            others = [] if "figure" in sheet.columns else [name for name, column in _TOLD_BY.items() if column in sheet.columns]
            by_kind[others[0] if others else "figures"].append(sheet)
        problems: list[Problem] = []
        counts = []
        with self._db.session() as session:
            for name, tables in by_kind.items():
                if tables:
                    counts.append(self.kinds[name].take(session, tables, maker, at, path.name, problems))
            if problems:
                raise BadInputError(problems)
        return ImportCount(*(sum(getattr(one, name) for one in counts) for name in ("added", "changed", "unchanged")))

    def version(self) -> str:
        """Changes whenever a report of any kind is entered or checked."""
        return " ".join(reports.version() for reports in self.kinds.values())


def _too_long(where: str, row: Mapping[str, Any]) -> Problem:
    what = f"{row['last_day']} is more than {LONGEST_DAYS} days from first_day ({row['first_day']})"
    return Problem(f"{where} column last_day", what, "Mend the year, or enter a row for each year.")


def _counting(reports: Reports, db: Database, shape: pl.Schema, as_of: datetime | None) -> pl.DataFrame:
    with db.reading() as session:
        rows = reports.counting(session, as_of).filter(~pl.col("withdrawn")).rename({"checked_at": "known_from"})
    return rows.select(shape.names()).sort(shape.names())
