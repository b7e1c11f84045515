"""Bounds of the signs that a person should look at, as dated rows."""

from datetime import date
from pathlib import Path
from typing import Final, Self

import polars as pl
from pydantic import model_validator

from config import schemas
from config.errors import BadInputError, Problem
from config.tables import Code, Number, Source, TableRow, framed, load


class SignRuleRow(TableRow):
    """One bound of one sign, from `valid_from` up to but not on `valid_to`."""

    rule: Code
    bound: Code
    value: Number
    unit: str = ""
    valid_from: date
    valid_to: date | None = None
    source: Source
    remark: str = ""

    @property
    def key(self) -> tuple[str, str, date]:
        return self.rule, self.bound, self.valid_from

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError(f"valid_to {self.valid_to} is not after valid_from {self.valid_from}")
        return self


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
