"""How data are judged: bounds of validation, weights of the quality index, validity of verifications, use of reported figures."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import polars as pl
from pydantic import AwareDatetime, Field, model_validator

from config import schemas
from config.errors import BadInputError, Problem
from config.tables import Code, Medium, Number, Source, TableRow, Text, framed, known_at, load, merged

VEE_BANDS: Final = ("range", "clock_drift", "sub_meter", "energy_per_output")  # rules whose low and high bound the same
VEE_ALWAYS: Final = (  # rules by which the intervals leave readings out: validation only says how severe that is
    "not_finite", "no_register_row", "outside_range", "marked_bad", "duplicate", "conflicting_copy", "transient", "spike", "length_unknown", "edited",
    "not_steam", "impossible_state",
)


class FigureRuleRow(TableRow):
    """How reported figures and batches are used, from `valid_from` up to but not on `valid_to`; empty cells stand for any."""

    rule: Literal["counts", "tolerance_ratio", "batch_holds_days", "moisture_heat_kj_per_kg"]
    carrier: Code | None = None
    flow: Code | None = None
    kind: Literal["metered", "stock_balance", "bill", "weighbridge", "receipt", "stock_taking", "report"] | None = None
    rank: Annotated[int, Field(ge=1)] | None = None
    value: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    valid_from: date
    valid_to: date | None = None
    source: Source
    known_from: AwareDatetime | None = None

    @property
    def key(self) -> tuple[object, ...]:
        return self.rule, self.carrier, self.flow, self.kind, self.valid_from

    @model_validator(mode="after")
    def _counting_names_what_counts(self) -> Self:
        if self.rule == "counts" and (self.kind is None or self.rank is None or self.value > 1):
            raise ValueError("a rule `counts` needs a kind, its rank, and the least share that it must cover, at most 1")
        return self


class WeightRow(TableRow):
    """The weight of one part of the data-quality index from a day on, relative to the others'."""

    part: Literal["completeness", "accuracy", "timeliness", "verifiability", "validity", "conformity"]
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    late_after_s: int | None = None  # timeliness: a reading that arrives later after its instant is late
    valid_from: date
    source: Source
    remark: str = ""

    @property
    def key(self) -> tuple[str, date]:
        return self.part, self.valid_from

    @model_validator(mode="after")
    def _timeliness_has_a_bound_that_is_counted(self) -> Self:
        if self.part == "timeliness" and self.late_after_s not in schemas.LATE_BOUNDS_S:
            raise ValueError(f"late_after_s is one of {', '.join(map(str, schemas.LATE_BOUNDS_S))}: arrivals are counted by these bounds")
        if self.part != "timeliness" and self.late_after_s is not None:
            raise ValueError("late_after_s belongs to the row of timeliness")
        return self


class CalibrationRow(TableRow):
    """How long a verification of a kind of meter is valid, from a day on; without accuracy_class: any class of the medium."""

    medium: Medium
    accuracy_class: Text | None = None
    interval_months: Annotated[int, Field(gt=0, le=600)]
    valid_from: date
    source: Source
    remark: str = ""

    @property
    def key(self) -> tuple[str, str | None, date]:
        return self.medium, self.accuracy_class, self.valid_from


class VeeRuleRow(TableRow):
    """A validation rule with its bounds, for all registers or those of a medium or kind, from `valid_from` up to but not on `valid_to`."""

    rule: Code
    medium: Medium | None = None
    kind: Literal["cumulative", "interval", "rate", "derived"] | None = None
    low: Number | None = None
    high: Number | None = None
    unit: str = ""
    severity: Literal["info", "warning", "error"] | None = None
    enabled: bool | None = None
    reach: str = ""
    name_zh: Text | None = None
    name_en: Text | None = None
    valid_from: date | None = None
    valid_to: date | None = None
    source: Source

    @property
    def key(self) -> tuple[str, str | None, str | None, date | None]:
        return self.rule, self.medium, self.kind, self.valid_from

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.rule in VEE_BANDS and self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.rule in VEE_ALWAYS and self.enabled is False:
            raise ValueError("this rule decides which readings count and cannot be switched off")
        return self


def quality_weights(site_dir: Path | None = None) -> pl.DataFrame:
    """Weights of the parts of the data-quality index, as QUALITY_WEIGHT; of a part the row that begins last counts, the site's own first.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("quality_weights", WeightRow, site_dir)
    return framed(base + own, schemas.QUALITY_WEIGHT).unique(["part", "valid_from"], keep="last", maintain_order=True).sort("part", "valid_from")


def calibration_intervals(site_dir: Path | None = None) -> pl.DataFrame:
    """How long verifications are valid by kind of meter, as CALIBRATION_INTERVAL; the shipped table has no row, since no source was found.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("calibration_intervals", CalibrationRow, site_dir)
    return framed(base + own, schemas.CALIBRATION_INTERVAL)


def vee_rules(site_dir: Path | None = None, zone: str = "Asia/Shanghai") -> pl.DataFrame:
    """The validation rules with their bounds as VEE_RULE, for all registers or those of a medium or kind.

    A row of the site's folder with the same rule, medium, kind and begin replaces the shipped one. Days begin at midnight of `zone`.

    Raises:
        BadInputError: rows that do not fit, all of them; a rule that does not exist among them.

    >>> vee_rules().filter(rule="day_against_month")["high"].to_list()
    [0.05]
    """
    base, own = vee_rule_rows(site_dir)
    rows = merged(base, own)
    dates = {"valid_from": pl.Date(), "valid_to": pl.Date()}
    frame = framed(rows, pl.Schema({**schemas.VEE_RULE, **dates}))
    return schemas.conform(frame.with_columns(
        pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone(zone).dt.convert_time_zone("UTC") for name in dates
    ), schemas.VEE_RULE)


def vee_rule_rows(site_dir: Path | None = None) -> tuple[list[VeeRuleRow], list[VeeRuleRow]]:
    """The rows behind `vee_rules`, the shipped ones and those of the site's folder, with names, units and reach."""
    base, own = load("vee_rules", VeeRuleRow, site_dir)
    known = {row.rule for row in base}
    if strange := [row for row in own if row.rule not in known]:
        raise BadInputError([
            Problem(f"vee_rules rule {row.rule}", "is no rule of validation", f"Rules are: {', '.join(sorted(known))}.") for row in strange
        ])
    return base, own


def figure_rules(site_dir: Path | None = None, as_of: datetime | None = None) -> pl.DataFrame:
    """How reported figures are used, shipped rows first, as FIGURE_RULE; of rows that fit alike the last holds. `as_of`: those known then.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("figure_rules", FigureRuleRow, site_dir)
    return framed(base + known_at(own, as_of), schemas.FIGURE_RULE)


MODELS: Final[dict[str, type[TableRow]]] = {
    "quality_weights": WeightRow, "calibration_intervals": CalibrationRow, "vee_rules": VeeRuleRow, "figure_rules": FigureRuleRow,
}
