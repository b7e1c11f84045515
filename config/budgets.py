"""Dual-control budgets: what can be budgeted, by which rule a goal is red, yellow or green, and what follows from it."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

import polars as pl
from pydantic import model_validator

from config import schemas
from config.tables import Confidence, DatedRow, Number, TableRow, Text, framed, load

Kind = Literal["ceiling", "reduction_ratio", "floor"]
KINDS: Final[tuple[Kind, ...]] = ("ceiling", "reduction_ratio", "floor")
MEASURES: Final = {  # what a site's own results tell, with the unit
    "calorific_tce": "tce", "equivalent_tce": "tce",
    "assessment_calorific_tce": "tce", "assessment_equivalent_tce": "tce",  # without feedstock and newly added renewable power
    "coal_tce": "tce", "electricity_kwh": "kWh", "fresh_water_m3": "m3", "carbon_tco2": "tCO2",
    "calorific_tce_per_10k_cny": "tce/10^4 CNY", "equivalent_tce_per_10k_cny": "tce/10^4 CNY",
    "assessment_calorific_tce_per_10k_cny": "tce/10^4 CNY", "assessment_equivalent_tce_per_10k_cny": "tce/10^4 CNY",
    "water_m3_per_10k_cny": "m3/10^4 CNY",
    "renewable_electricity_ratio": "kWh/kWh",
}
MEASURE_NAMES: Final = {  # Chinese, English
    "calorific_tce": ("综合能耗（当量值）", "energy, calorific basis"),
    "equivalent_tce": ("综合能耗（等价值）", "energy, equivalent basis"),
    "coal_tce": ("煤炭消费", "coal"),
    "electricity_kwh": ("用电量", "electricity"),
    "fresh_water_m3": ("新水取水量", "fresh water"),
    "carbon_tco2": ("二氧化碳排放", "CO2"),
    "calorific_tce_per_10k_cny": ("单位增加值能耗（当量值）", "energy by value added, calorific basis"),
    "equivalent_tce_per_10k_cny": ("单位增加值能耗（等价值）", "energy by value added, equivalent basis"),
    "water_m3_per_10k_cny": ("单位增加值用水量", "fresh water by value added"),
    "assessment_calorific_tce": ("考核口径能耗（当量值）", "energy as assessed, calorific basis"),
    "assessment_equivalent_tce": ("考核口径能耗（等价值）", "energy as assessed, equivalent basis"),
    "assessment_calorific_tce_per_10k_cny": ("考核口径单位增加值能耗（当量值）", "energy as assessed by value added, calorific basis"),
    "assessment_equivalent_tce_per_10k_cny": ("考核口径单位增加值能耗（等价值）", "energy as assessed by value added, equivalent basis"),
    "renewable_electricity_ratio": ("可再生电力占比", "share of renewable electricity"),
}
LEVEL_PATTERN: Final = r"_per_|intensity|_ratio$|强度|单位"  # in the name of a measure: a level, of which months cannot be added


def parsed_shares(text: str) -> list[float]:
    """The shares of the twelve months in a year's budget, written as numbers with ; between them.

    Raises:
        ValueError: they are not twelve numbers from 0 up that add up to 1 (within 0.001).

    >>> parsed_shares("0.25;0.25;0;0;0;0;0;0;0;0;0.25;0.25")[1]
    0.25
    """
    shares = [float(part) for part in text.replace("；", ";").split(";")]
    if len(shares) != 12 or not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 0.001:
        raise ValueError(f"{text!r} is not twelve shares that add up to 1")
    return [share / sum(shares) for share in shares]


class WarningRuleRow(DatedRow):
    """A bound of the colours from `valid_from` up to but not on `valid_to`; without `kind` for every kind of goal."""

    rule: Literal["red_above_missed_ratio", "rise_is_red"]
    kind: Kind | None = None
    value: Number
    confidence: Confidence

    @property
    def key(self) -> tuple[str, str | None, date]:
        return self.rule, self.kind, self.valid_from

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.rule == "rise_is_red" and self.value not in (0, 1):
            raise ValueError(f"value {self.value} of rise_is_red is neither 1 (it is) nor 0 (it is not)")
        if self.value < 0:
            raise ValueError(f"value {self.value} is below 0")
        return self


class NotJudged(NamedTuple):
    """An event that follows from no budget: what it is, and what would have to be known."""

    en: str
    zh: str


_RANKING: Final = "needs the ranking of the parks", "需要园区综合评价排名"
NOT_JUDGED: Final[Mapping[str, NotJudged]] = {  # events of consequences
    "top_ten": NotJudged(f"among the first ten of the yearly evaluation ({_RANKING[0]})", f"综合评价排名前 10 位（{_RANKING[1]}）"),
    "last_three": NotJudged(f"among the last three of the yearly evaluation ({_RANKING[0]})", f"综合评价排名后 3 位（{_RANKING[1]}）"),
    "three_years_below_class": NotJudged(
        "below the standard of its class three years in a row (needs the class standards of parks and three yearly evaluations)",
        "连续三年达不到分类标准（需要园区分类标准和三个年度的评价结果）",
    ),
}


class ConsequenceRow(DatedRow):
    """What follows for a region or park from a colour or a rank; without `measure_kind` whatever is measured."""

    event: Literal["red", "yellow", "top_ten", "last_three", "three_years_below_class"]
    level: Literal["region", "park", "enterprise"]
    measure_kind: Literal["intensity", "total"] | None = None
    consequence_zh: Text
    consequence_en: Text
    confidence: Confidence

    @property
    def key(self) -> tuple[str, str, str | None, date, str]:
        return self.event, self.level, self.measure_kind, self.valid_from, self.consequence_en


MODELS: Final[dict[str, type[TableRow]]] = {"warning_rules": WarningRuleRow, "consequences": ConsequenceRow}


def warning_rules(site_dir: Path | None = None) -> pl.DataFrame:
    """The bounds of the colours as WARNING_RULE, shipped rows first; of rows in force together the last one counts.

    Raises:
        BadInputError: rows that do not fit, all of them.

    >>> warning_rules().filter(rule="red_above_missed_ratio")["value"].to_list()
    [0.1]
    """
    base, own = load("warning_rules", WarningRuleRow, site_dir)
    return framed([*base, *own], schemas.WARNING_RULE)


def consequences(site_dir: Path | None = None) -> pl.DataFrame:
    """What follows from colours and ranks as CONSEQUENCE, shipped rows first.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("consequences", ConsequenceRow, site_dir)
    return framed([*base, *own], schemas.CONSEQUENCE)
