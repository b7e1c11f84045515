"""Budgets of regions, parks and enterprises: entered by one person and checked by another, like all that people report."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import polars as pl

from config.budgets import KINDS, MEASURES, parsed_shares
from config.errors import Problem
from config.schemas import BUDGET as BUDGET_SHAPE
from store import sheets
from store.figures import period
from store.models import BUDGET
from store.register_shapes import credit_code
from store.reports import Reports
from store.sheets import Field

LEVELS: Final = ("region", "park", "enterprise")


class Budgets(Reports):
    """Goals by measure and period, each with the document that sets it."""

    kind, plural = "budget", "budgets"
    table = BUDGET
    content = pl.Schema({
        **dict.fromkeys(LEVELS, pl.String()), "measure": pl.String(), "kind": pl.String(), "period": pl.String(), "target": pl.Float64(),
        "base": pl.Float64(), "shares": pl.String(), "source": pl.String(), "withdrawn": pl.Boolean(),
    })
    key = (*LEVELS, "measure", "kind", "period")
    fields: ClassVar[Mapping[str, Field]] = {
        "region": Field(sheets.text(6)), "park": Field(sheets.identifier), "enterprise": Field(credit_code),
        "measure": Field(sheets.choice(*MEASURES), required=True), "kind": Field(sheets.choice(*KINDS), required=True),
        "period": Field(period, required=True), "target": Field(sheets.number()), "base": Field(sheets.number(above=0)),
        "shares": Field(sheets.text()), "source": Field(sheets.text(500), required=True), "withdrawn": Field(sheets.boolean, default=False),
    }

    def frame(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """BUDGET: the checked budgets that count now, or that counted at `as_of`."""
        with self._db.reading() as session:
            rows = self.counting(session, as_of).filter(~pl.col("withdrawn"))
        level = pl.coalesce(pl.when(pl.col(name).is_not_null()).then(pl.lit(name)) for name in LEVELS)
        return rows.with_columns(level=level, subject=pl.coalesce(LEVELS)).select(BUDGET_SHAPE.names()).sort(BUDGET_SHAPE.names())

    def stored(self, where: str, values: Mapping[str, Any], parks: Collection[str], problems: list[Problem]) -> dict[str, Any]:
        row: dict[str, Any] = {name: values.get(name) for name in self.content}

        def tell(column: str, what: str, remedy: str) -> None:
            problems.append(Problem(f"{where} column {column}", what, remedy))

        if sum(row[name] is not None for name in LEVELS) != 1:
            tell("region", "region, park and enterprise are not one", "Write whose budget it is in one of the three columns.")
        if row["region"] is not None and not re.fullmatch(r"[0-9]{6}", row["region"]):
            tell("region", f"{row['region']!r} is no region", "Write the 6 digits of the administrative code, for example 150400.")
        if row["park"] is not None and row["park"] not in parks:
            tell("park", f"{row['park']} is not in the register", "Add the park to the register first.")
        if row["kind"] == "reduction_ratio" and row["target"] is not None and not -1 < row["target"] < 1:
            tell("target", f"{row['target']:.15g} is no share of the base", "Write 0.03 for a reduction by 3 %.")
        if row["shares"] is not None:
            try:
                parsed_shares(row["shares"])
            except ValueError:
                tell("shares", "are not the shares of twelve months", "Write twelve numbers that add up to 1, with ; between them.")
            if len(row["period"]) != 4:
                tell("shares", f"divide a year, and the period is {row['period']}", "Leave them out, or write the year's budget.")
        return row
