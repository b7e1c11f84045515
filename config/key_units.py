"""What laws and plans ask of enterprises in a register: who is a key energy user, who must be on line, what a new plant must reach."""

from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal

import polars as pl
from pydantic import Field, StringConstraints

from config import schemas
from config.tables import Basis, Code, Confidence, DatedRow, TableRow, Text, framed, load, merged

Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
RegionPrefix = Annotated[str, StringConstraints(pattern=r"^\d{2}(\d{2}){0,2}$")]  # 15: all of it; 1506: one of its cities


class ThresholdRow(DatedRow):
    """From how many tce a year on an enterprise is a key energy user: by itself (general), or once it is designated."""

    threshold: Literal["general", "designated"]
    tce: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    basis: Basis
    watch_ratio: Ratio  # nearer than this share of the threshold: on the watch list
    confidence: Confidence

    @property
    def key(self) -> tuple[str, date]:
        return self.threshold, self.valid_from


class AccessGoalRow(DatedRow):
    """The share of a park's key or other enterprises that is to be fully on line; without region: anywhere."""

    members: Literal["key", "other"]
    region: RegionPrefix | None = None
    goal_ratio: Ratio
    confidence: Confidence

    @property
    def key(self) -> tuple[str, str | None, date]:
        return self.members, self.region, self.valid_from


class EntryConditionRow(DatedRow):
    """A sector whose new plants must reach a level of the standard of that number, whatever its edition."""

    sector: Code
    sector_zh: Text
    standard: Annotated[str, StringConstraints(pattern=r"^[A-Z]+(/T)? \d+$")]
    level: Annotated[int, Field(ge=1, le=2)]
    region: RegionPrefix | None = None
    confidence: Confidence

    @property
    def key(self) -> tuple[str, str, str | None, date]:
        return self.sector, self.standard, self.region, self.valid_from


MODELS: Final[dict[str, type[TableRow]]] = {
    "key_unit_thresholds": ThresholdRow, "access_goals": AccessGoalRow, "entry_conditions": EntryConditionRow,
}


def thresholds(site_dir: Path | None = None) -> pl.DataFrame:
    """KEY_UNIT_THRESHOLD: the shipped rows, replaced by those of the site's folder that begin on the same day.

    Raises:
        BadInputError: rows that do not fit, all of them.

    >>> thresholds().filter(pl.col("valid_to").is_null()).select("threshold", "tce", "basis").rows()
    [('general', 10000.0, 'calorific'), ('designated', 5000.0, 'calorific')]
    """
    base, own = load("key_unit_thresholds", ThresholdRow, site_dir)
    return framed(merged(base, own), schemas.KEY_UNIT_THRESHOLD)


def access_goals(site_dir: Path | None = None) -> pl.DataFrame:
    """ACCESS_GOAL: the shipped rows, replaced by those of the site's folder for the same members, region and day.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("access_goals", AccessGoalRow, site_dir)
    return framed(merged(base, own), schemas.ACCESS_GOAL)


def entry_conditions(site_dir: Path | None = None) -> pl.DataFrame:
    """ENTRY_CONDITION: the shipped rows, replaced by those of the site's folder for the same sector, standard, region and day.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("entry_conditions", EntryConditionRow, site_dir)
    return framed(merged(base, own), schemas.ENTRY_CONDITION)
