"""What the papers of an enterprise go by: requirements on its meters, and the codes of the statistical forms."""

from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal

import polars as pl
from pydantic import Field, StringConstraints

from config import schemas
from config.tables import Code, Confidence, DatedRow, Source, TableRow, Text, framed, load

LEVELS: Final = ("unit", "sub_unit", "equipment")  # 用能单位, 主要次级用能单位, 主要用能设备 (GB 17167)


class MeteringRow(DatedRow):
    """What a standard asks of the meters of a medium at a level, from `valid_from` up to but not on `valid_to`."""

    level: Literal["unit", "sub_unit", "equipment"]
    medium: Literal["coal", "water", "oil", "gas", "electricity", "heat", "other"]
    fitting_at_least_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    class_at_most: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @property
    def key(self) -> tuple[str, str, date]:
        return self.level, self.medium, self.valid_from


class StatisticalCodeRow(TableRow):
    """The line of the statistical form of energy purchase, consumption and stock to which a carrier belongs."""

    code: Annotated[str, StringConstraints(pattern=r"^\d{2}$")]
    carrier: Code
    name_zh: Text
    name_en: Text
    source: Source
    confidence: Confidence

    @property
    def key(self) -> str:
        return self.carrier


MODELS: Final[dict[str, type[TableRow]]] = {"metering_requirements": MeteringRow, "statistical_codes": StatisticalCodeRow}


def metering_requirements(site_dir: Path | None = None) -> pl.DataFrame:
    """Requirements on meters as METERING_REQUIREMENT; the shipped table has no row, since the table of GB 17167 was not seen.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("metering_requirements", MeteringRow, site_dir)
    return framed([*base, *own], schemas.METERING_REQUIREMENT)


def statistical_codes(site_dir: Path | None = None) -> pl.DataFrame:
    """The line of each carrier as STATISTICAL_CODE; a row of the site's folder replaces the shipped one of its carrier.

    Raises:
        BadInputError: rows that do not fit, all of them.

    >>> statistical_codes().filter(carrier="electricity")["code"].to_list()
    ['33']
    """
    base, own = load("statistical_codes", StatisticalCodeRow, site_dir)
    return framed([*base, *own], schemas.STATISTICAL_CODE).unique("carrier", keep="last", maintain_order=True).sort("code", "carrier")
