"""The named figures of an enterprise's energy: which parts of it each leaves out."""

from datetime import date
from pathlib import Path
from typing import Annotated, Final

import polars as pl
from pydantic import BeforeValidator

from config import schemas
from config.tables import Code, Confidence, DatedRow, TableRow, Text, framed, load, merged

PARTS: Final = ("feedstock", "new_renewable")


def _parts(cell: object) -> object:
    if strange := [part for part in str(cell).split(";") if part not in PARTS]:
        raise ValueError(f"{', '.join(strange)} is not one of {', '.join(PARTS)}")
    return cell


class EnergyFigureRow(DatedRow):
    """What a figure leaves out, from `valid_from` up to but not on `valid_to`; an empty `takes_off` leaves nothing out."""

    figure: Code
    name_zh: Text
    name_en: Text
    takes_off: Annotated[str, BeforeValidator(_parts)] | None = None
    confidence: Confidence

    @property
    def key(self) -> tuple[str, date]:
        return self.figure, self.valid_from


MODELS: Final[dict[str, type[TableRow]]] = {"energy_figures": EnergyFigureRow}


def energy_figures(site_dir: Path | None = None) -> pl.DataFrame:
    """The named figures as ENERGY_FIGURE; a row of the site's folder with the same figure and begin replaces the shipped one.

    Raises:
        BadInputError: rows that do not fit, all of them.

    >>> energy_figures().filter(figure="assessment")["takes_off"].to_list()
    ['feedstock;new_renewable']
    """
    base, own = load("energy_figures", EnergyFigureRow, site_dir)
    rows = merged(base, own)
    return framed(rows, schemas.ENERGY_FIGURE)
