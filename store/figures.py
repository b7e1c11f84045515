"""Figures that enterprises report: a maker enters them, another person checks them, and only checked ones count."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import polars as pl

from config.calendar import is_period, period_days
from config.errors import Problem
from config.schemas import FIGURE as FIGURE_SHAPE
from config.schemas import RENEWABLE as RENEWABLE_SHAPE
from config.schemas import YEAR_ENERGY, conform
from store import sheets
from store.database import Database, frame_of
from store.models import ENTERPRISE, FIGURE
from store.register_shapes import FEEDSTOCK, PLANT_STATUSES, credit_code
from store.reports import Reports, known
from store.sheets import Field, WrongError

MONEY: Final = ("value_added_10k_cny", "output_value_10k_cny")
TAX: Final = "tax_10k_cny"  # enters no intensity; energy is held against it (monitors/signs.py)
MONEY_UNIT: Final = "10^4 CNY"
ENERGY: Final = ("energy_calorific_tce", "energy_equivalent_tce")  # of a whole legal person
ENERGY_UNIT: Final = "tce"
RENEWABLE: Final = ("renewable_electricity_kwh", "new_renewable_electricity_kwh")  # bought with proof; of that and own primary power newly added
RENEWABLE_UNIT: Final = "kWh"
OUTPUT: Final = "output"
Unfit = Callable[[str | None, Mapping[str, float | str]], Sequence[tuple[str, str, str]]]  # (product, parameters) -> column, what, remedy
_OF_OUTPUT: Final = ("enterprise", "product", "indicator", "line", "plant_status", "feedstock", "period")


def period(cell: Any) -> str:
    """A local year, month or day."""
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
    "enterprise": Field(credit_code, required=True), "park": Field(sheets.identifier), "period": Field(period, required=True),
    "figure": Field(sheets.choice(*MONEY, TAX, *ENERGY, *RENEWABLE, OUTPUT), required=True),
    "value": Field(sheets.number(), required=True), "unit": Field(sheets.text(64)),
    "product": Field(sheets.text()), "indicator": Field(sheets.text()), "line": Field(sheets.text(64)),
    "plant_status": Field(sheets.choice(*PLANT_STATUSES)), "feedstock": Field(sheets.choice(*FEEDSTOCK)), "price_basis": Field(sheets.text(64)),
    "base_year": Field(sheets.integer), "source": Field(sheets.text(500)),
}


class Figures(Reports):
    """Value added, output value, outputs of products, renewable electricity."""

    table = FIGURE
    content = pl.Schema({
        "enterprise": pl.String(), "park": pl.String(), "period": pl.String(), "figure": pl.String(), "value": pl.Float64(),
        "unit": pl.String(), "product": pl.String(), "indicator": pl.String(), "line": pl.String(), "plant_status": pl.String(),
        "feedstock": pl.String(), "price_basis": pl.String(), "base_year": pl.Int32(), "source": pl.String(), "parameters": pl.String(),
    })
    key = ("enterprise", "period", "figure", "product", "indicator", "line", "feedstock", "price_basis", "base_year")
    fields = _FIELDS
    others = staticmethod(_parameter)

    def __init__(self, db: Database, unfit: Unfit | None = None) -> None:
        """With `unfit`, outputs whose parameters their limit does not know, or cannot have, are refused."""
        super().__init__(db)
        self._unfit = unfit

    def values(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """FIGURE: the checked money figures that count (or counted at `as_of`); the park is the reported one, else the enterprise's."""
        rows = self._of(MONEY, as_of)
        keys = ["enterprise", "park", "period", "price_basis", "base_year"]
        figures = [pl.col("value").filter(pl.col("figure") == name).last().alias(name) for name in MONEY]
        return rows.group_by(keys, maintain_order=True).agg(figures).select(FIGURE_SHAPE.names()).sort(keys)

    def energies(self) -> pl.DataFrame:
        """The checked energies of years that count, as YEAR_ENERGY: what enterprises report of themselves."""
        rows = self._of(ENERGY, None).filter(is_period("year")).with_columns(
            year=pl.col("period").cast(pl.Int32), source=pl.coalesce("source", pl.lit("reported")),
        )
        figures = [pl.col("value").filter(pl.col("figure") == name).last().alias(name.removeprefix("energy_")) for name in ENERGY]
        return conform(rows.group_by("enterprise", "year").agg(*figures, pl.col("source").last()).sort("enterprise", "year"), YEAR_ENERGY)

    def renewables(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """RENEWABLE: the checked statements of renewable electricity that count (or counted at `as_of`), each with its proof."""
        rows = self._of(RENEWABLE, as_of)
        figures = [pl.col("value").filter(pl.col("figure") == name).last().alias(name.replace("_electricity", "")) for name in RENEWABLE]
        source = pl.col("source").drop_nulls().unique(maintain_order=True).str.join("; ")
        return conform(rows.group_by("enterprise", "period").agg(*figures, source).sort("enterprise", "period"), RENEWABLE_SHAPE)

    def taxes(self) -> pl.DataFrame:
        """The checked taxes that count: enterprise, period, value (10^4 CNY)."""
        return self._of((TAX,), None).select("enterprise", "period", "value").sort("enterprise", "period")

    def outputs(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """The checked outputs that count: enterprise, product, indicator, line, plant_status, feedstock, period, output, output_unit.

        Then come the parameters of limits, a column each: numbers where all are numbers, else texts. The plant status is
        the reported one, else the enterprise's.
        """
        rows = self._of((OUTPUT,), as_of)
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

    def stored(self, where: str, values: Mapping[str, Any], parks: Collection[str], problems: list[Problem]) -> dict[str, Any]:
        figure: dict[str, Any] = {name: values.get(name) for name in _FIELDS}
        parameters = {name: value for name, value in values.items() if name not in _FIELDS}
        figure["parameters"] = json.dumps(parameters, ensure_ascii=False, sort_keys=True) if parameters else None

        def tell(column: str, what: str, remedy: str) -> None:
            problems.append(Problem(f"{where} column {column}", what, remedy))

        if figure["park"] is not None and figure["park"] not in parks:
            tell("park", f"{figure['park']} is not in the register", "Add the park to the register first.")
        if figure["figure"] == OUTPUT:
            if figure["product"] is None:
                tell("product", "is empty", "An output is that of a product: write its code.")
            if figure["unit"] is None:
                tell("unit", "is empty", "Write the unit of the output, for example t.")
            if figure["value"] < 0:
                tell("value", f"{figure['value']:.15g} is below 0", "An output is never negative.")
            for column, what, remedy in self._unfit(figure["product"], parameters) if self._unfit is not None else ():
                tell(column, what, remedy)
            return figure
        unit = ENERGY_UNIT if figure["figure"] in ENERGY else RENEWABLE_UNIT if figure["figure"] in RENEWABLE else MONEY_UNIT
        figure["unit"] = figure["unit"] or unit
        if figure["unit"] != unit:
            tell("unit", f"{figure['unit']!r} does not fit", f"{figure['figure']} is in {unit}; convert the value, or leave the cell empty.")
        if figure["figure"] in ENERGY and len(figure["period"]) != len("2025"):
            tell("period", f"{figure['period']} is no year", "The energy of a legal person is reported for a whole year: write 2025.")
        if figure["figure"] in RENEWABLE:
            if figure["value"] < 0:
                tell("value", f"{figure['value']:.15g} is below 0", "Write 0 or more.")
            if len(figure["period"]) > len("2025-01"):
                tell("period", f"{figure['period']} is a day", "Renewable electricity is stated for a month or a year: write 2025-03.")
            if figure["source"] is None:
                tell("source", "is empty", "Write the proof: green certificates with their numbers, the contract, the meter of the own plant.")
        for name in sorted(parameters):
            tell(name, f"is not a column of {figure['figure']}", "Only outputs have further columns: the parameters of their limits.")
        return figure

    def _of(self, figures: Sequence[str], as_of: datetime | None) -> pl.DataFrame:
        with self._db.reading() as session:
            rows = self.counting(session, as_of).filter(pl.col("figure").is_in(figures))
            homes = frame_of(session, known(ENTERPRISE, "enterprise", "park", "plant_status", as_of=as_of), _HOME)
        return rows.join(homes, on="enterprise", how="left", suffix="_home").with_columns(
            pl.coalesce("park", "park_home").alias("park"), pl.coalesce("plant_status", "plant_status_home").alias("plant_status"),
        )


_HOME: Final = pl.Schema({"enterprise": pl.String(), "park": pl.String(), "plant_status": pl.String()})
