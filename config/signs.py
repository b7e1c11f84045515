"""Bounds of the signs that a person should look at, as dated rows."""

from datetime import date
from pathlib import Path
from typing import Final

import polars as pl

from config import schemas
from config.errors import BadInputError, Problem
from config.tables import Code, DatedRow, Number, TableRow, framed, load


class SignRuleRow(DatedRow):
    """One bound of one sign, from `valid_from` up to but not on `valid_to`."""

    rule: Code
    bound: Code
    value: Number
    unit: str = ""

    @property
    def key(self) -> tuple[str, str, date]:
        return self.rule, self.bound, self.valid_from


MODELS: Final[dict[str, type[TableRow]]] = {"sign_rules": SignRuleRow}


def sign_rules(site_dir: Path | None = None) -> pl.DataFrame:
    """Bounds of signs as SIGN_RULE, the shipped rows first: of rows that hold on a day the last counts.

    Raises:
        BadInputError: rows that do not fit, all of them; a rule or bound that does not exist among them.

    >>> sign_rules().filter(rule="stopped_plant", bound="years_at_least")["value"].to_list()
    [2.0]
    """
    base, own = load("sign_rules", SignRuleRow, site_dir)
    known = {(row.rule, row.bound) for row in base}
    if strange := [row for row in own if (row.rule, row.bound) not in known]:
        raise BadInputError([
            Problem(f"sign_rules {row.rule} {row.bound}", "is no bound of a sign", "`tcewatch tables sign_rules` lists them.") for row in strange
        ])
    return framed([*base, *own], schemas.SIGN_RULE)
