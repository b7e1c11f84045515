"""CO2 factors of carriers, and the levels and grades of a carbon code, as dated tables."""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import polars as pl
from pydantic import Field, StringConstraints, model_validator

from config import schemas
from config.errors import BadInputError, Problem
from config.tables import Code, Confidence, Number, Source, TableRow, Text, framed, load, merged, one_of
from config.units import dimension, known_units, to_base

GRID: Final = "electricity"  # its factors are those of a grid region and a year
NATIONAL: Final = "national"
# What no carrier gives off: kg CO2 below or above this for one kg, m3, kJ or kgce is a factor in another unit than it says (t for kg, MWh for kWh).
POSSIBLE: Final = {
    "mass": (0.02, 10.0), "volume": (0.02, 5000.0), "volume at 0 degC": (0.02, 10.0), "volume at 20 degC": (0.02, 10.0),
    "energy": (1e-6, 1e-3), "coal equivalent": (0.02, 10.0),
}


class CarbonFactorRow(TableRow):
    """CO2 for one unit of a carrier; a factor without a year is a guide's default. An empty number was not found: it is not zero.

    `lhv_kj_per_unit`: the heating value that the factor was computed with; a measured one takes its place.
    """

    carrier: Code
    region: Code | None = None
    region_zh: Text | None = None
    name_zh: Text
    name_en: Text | None = None
    unit: Annotated[str, one_of(known_units())]
    kgco2_per_unit: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    lhv_kj_per_unit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    year: Annotated[int, Field(ge=1990, le=2200)] | None = None
    source: Source
    confidence: Confidence
    remark: str = ""

    @property
    def key(self) -> tuple[str, str | None, int | None]:
        return self.carrier, self.region, self.year

    def holds_on(self, day: date) -> bool:
        return self.year is None or self.year <= day.year

    @model_validator(mode="after")
    def _grid_electricity_says_where_and_when(self) -> Self:
        if self.carrier == GRID and (self.region is None or self.year is None):
            raise ValueError("grid electricity needs the region and the year of its factor")
        return self

    @model_validator(mode="after")
    def _is_in_its_unit(self) -> Self:
        low, high = (bound * to_base(self.unit) for bound in POSSIBLE.get(dimension(self.unit) or "", (0.0, float("inf"))))
        if self.kgco2_per_unit and not low <= self.kgco2_per_unit <= high:
            raise ValueError(f"{self.kgco2_per_unit:g} kg CO2 for one {self.unit} is not possible: write kg for one of the unit, {low:g} to {high:g}")
        return self


class CarbonLevelRow(TableRow):
    """One level (by intensity in t CO2 / 10,000 yuan) or grade (by the intensity over the sector's mean) of a carbon code: above < value <= up_to."""

    measure: Literal["level", "grade"]
    code: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
    above: Number | None = None
    up_to: Number | None = None
    name_zh: Text
    name_en: Text | None = None
    valid_from: date | None = None
    valid_to: date | None = None
    superseded_by: Text | None = None
    superseded_from: date | None = None
    source: Source
    confidence: Confidence
    remark: str = ""

    @property
    def key(self) -> tuple[str, date | None, str]:
        return self.measure, self.valid_from, self.code

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.valid_to is not None and self.valid_from is None:
            raise ValueError(f"valid_to {self.valid_to} needs a valid_from")
        if self.above is not None and self.up_to is not None and self.above >= self.up_to:
            raise ValueError(f"up_to {self.up_to:g} is not above {self.above:g}")
        return self


MODELS: Final[dict[str, type[TableRow]]] = {"carbon_factors": CarbonFactorRow, "carbon_levels": CarbonLevelRow}


def carbon_factors(site_dir: Path | None = None) -> pl.DataFrame:
    """CO2 factors as CARBON_FACTOR; a row of the site's folder replaces the shipped one of the same carrier, region and year.

    Raises:
        BadInputError: rows that do not fit, all of them.

    >>> carbon_factors().filter(carrier="electricity", region="north_china", year=2023)["kgco2_per_unit"].item()
    0.6361
    """
    base, own = load("carbon_factors", CarbonFactorRow, site_dir)
    return framed(merged(base, own), schemas.CARBON_FACTOR)


def carbon_levels(site_dir: Path | None = None) -> pl.DataFrame:
    """Levels and grades of the carbon code as CARBON_LEVEL; the site's own rows come before the shipped ones from their first day on.

    Raises:
        BadInputError: rows that do not fit, all of them; bounds of an edition that leave a gap or overlap.
    """
    base, own = load("carbon_levels", CarbonLevelRow, site_dir)
    replaced = {(row.measure, row.valid_from) for row in own}
    rows = [row for row in base if (row.measure, row.valid_from) not in replaced] + own
    if problems := list(_scale_problems(rows)):
        raise BadInputError(problems)
    return framed(rows, schemas.CARBON_LEVEL)


def _scale_problems(rows: Sequence[CarbonLevelRow]) -> Iterable[Problem]:
    def edition(row: CarbonLevelRow) -> tuple[str, str]:
        return row.measure, str(row.valid_from)

    for (measure, start), group in groupby(sorted(rows, key=edition), key=edition):
        steps = sorted(group, key=lambda row: (row.above is not None, row.above or 0.0))
        bounds = [(None, steps[0].above), *((one.up_to, following.above) for one, following in pairwise(steps)), (steps[-1].up_to, None)]
        if any(high != low for high, low in bounds) or any(low is None for _, low in bounds[1:-1]):
            yield Problem(f"carbon_levels {measure} from {start}", "its bounds leave a gap or overlap",
                          "Leave the first row open below and the last above, and let each row end where the next begins.")
