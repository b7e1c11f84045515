"""The law as data: dated tables with their source in every row, validated when loaded.

The shipped tables lie in `config/tables`. A site's own folder adds rows in files of the same shape (`limits*.csv`,
`coal_equivalent*.csv`, ...); they are loaded after the shipped ones: a limit row with the same product, standard, indicator and
feedstock replaces the shipped row, a coefficient takes precedence on the days on which it is valid. A row of a site may say from
when on it was known (`known_from`, an instant with its offset; empty: always): the row known last takes precedence, and what was in
force as far as was known at an instant can be asked for (`as_of`).
"""

import csv
import re
import tomllib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, cast

import polars as pl
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from config import schemas
from config.errors import BadInputError, NoRuleInForceError, Problem, UnknownCodeError
from config.units import factor, known_units

SHIPPED: Final = Path(__file__).with_suffix("")
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Source = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]
Basis = Literal["calorific", "equivalent"]
Confidence = Literal["high", "medium", "low"]
LIMIT_UNITS: Final = (  # decisions.md 8, as the standards print them
    "kgce/t", "tce/t", "kWh/t", "gce/kWh", "kgce/kg", "kgce/m2", "kgce/m3", "kgce/GJ", "kgce/kL", "kgce/toe", "kgoe/t",
    "kgoe/(t·energy factor)", "kg/t", "kgce/weight case", "kgce/10^6 pieces", "kWh/kWh",
)


VEE_BANDS: Final = ("range", "clock_drift", "sub_meter", "energy_per_output")  # rules whose low and high bound the same
VEE_ALWAYS: Final = (  # rules by which the intervals leave readings out: validation only says how severe that is
    "not_finite", "no_register_row", "outside_range", "marked_bad", "duplicate", "conflicting_copy", "transient", "spike", "length_unknown", "edited",
    "not_steam", "impossible_state",
)


def one_of(known: Sequence[str]) -> BeforeValidator:
    """Of a column: its cells are one of these."""
    def check(unit: Any) -> Any:
        if unit not in known:
            raise ValueError(f"is not one of {', '.join(known)}")
        return unit

    return BeforeValidator(check)


class TableRow(BaseModel):
    """A row of a table of the law as it stands in its file; `key` is what two rows of one file must not share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    @abstractmethod
    def key(self) -> object:
        """What no other row of the file has."""

    def holds_on(self, day: date) -> bool:
        """Whether the row's own dates hold it in force on a day; a row without dates holds always."""
        start, last, end = (getattr(self, name, None) for name in ("valid_from", "last", "valid_to"))
        start = start or getattr(self, "first", None)
        return (start is None or start <= day) and (last is None or day <= last) and (end is None or day < end)

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        start, end = (getattr(self, name, None) for name in ("valid_from", "valid_to"))
        if start is not None and end is not None and end <= start:
            raise ValueError(f"valid_to {end} is not after valid_from {start}")
        return self


class DatedRow(TableRow):
    """A row from `valid_from` up to but not on `valid_to`."""

    valid_from: date
    valid_to: date | None = None
    source: Source
    remark: str = ""


class CoefficientRow(TableRow):
    """One coal equivalent: kgce for one unit of a carrier, on one basis, from `valid_from` up to but not on `valid_to`."""

    carrier: Code
    role: Literal["fuel", "secondary", "consumed_medium"] | None = None
    name_zh: Text | None = None
    name_en: Text | None = None
    medium: Literal["coal", "water", "oil", "gas", "electricity", "heat", "other"] | None = None
    unit: Annotated[str, one_of(known_units())]
    lhv_kj_per_unit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    kgce_per_unit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    basis: Basis
    valid_from: date
    valid_to: date | None = None
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]
    confidence: Confidence | None = None
    remark: str = ""
    rate_year: Annotated[int, Field(ge=1990, le=2200)] | None = None  # equivalent electricity and heat: the year whose rate it is
    provisional: bool = False  # it stands in until the rate of the year before is published
    known_from: AwareDatetime | None = None

    @property
    def key(self) -> tuple[str, str, date]:
        return self.carrier, self.basis, self.valid_from

    @model_validator(mode="after")
    def _rates_are_of_the_equivalent_basis(self) -> Self:
        if (self.rate_year is not None or self.provisional) and self.basis != "equivalent":
            raise ValueError("rate_year and provisional belong to the equivalent basis: what a carrier contains does not change by year")
        return self


class LimitRow(TableRow):
    """One row of an energy-consumption limit standard; an empty level means that it was not found or does not exist."""

    product: Code
    standard: Text
    edition: Annotated[str, StringConstraints(pattern=r"^\d{4}$")] | None = None
    name_zh: Text
    product_zh: Text
    product_en: Text
    indicator: Code
    indicator_zh: Text
    indicator_en: Text
    feedstock: Literal["included", "excluded"] | None = None
    basis: Basis = "calorific"
    unit: Annotated[str, one_of(LIMIT_UNITS)]
    level_1: Number | None = None
    level_2: Number | None = None
    level_3: Number | None = None
    effective_from: date | None = None
    superseded_by: Text | None = None
    corrections_complete: bool
    clause: str = ""
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]
    confidence: Confidence
    remark: str = ""
    known_from: AwareDatetime | None = None

    @property
    def key(self) -> tuple[str, str, str, str | None]:
        return self.product, self.standard, self.indicator, self.feedstock


class CorrectionRow(TableRow):
    """How a parameter of a plant changes the levels of a limit row, or the figure held against them; the dates are the limit row's.

    An amount comes from the parameter by `kind`: `by_value` (`values`: value:amount), `by_step` (from:amount, `>` before the bound:
    only above it), `interpolated` (point:amount, between them on a straight line, never beyond the ends), `linear`: constant +
    coefficient x (parameter - base) / per, on the `side` of the base and at most `cap` times. By `effect` it is added, multiplied
    with, or added as a share of the level as printed. With `when_above` it applies only where `when_parameter` is above that.
    Empty `indicator` and `feedstock` stand for any.
    """

    standard: Text
    product: Code
    indicator: Code | None = None
    feedstock: Literal["included", "excluded"] | None = None
    sequence: Annotated[int, Field(ge=1)]
    parameter: Code
    parameter_zh: Text
    parameter_en: Text
    parameter_unit: str = ""
    low: Number | None = None
    high: Number | None = None
    kind: Literal["by_value", "by_step", "interpolated", "linear"]
    effect: Literal["add", "multiply", "add_share"]
    applies_to: Literal["limit", "actual"]
    levels: Annotated[str, StringConstraints(pattern=r"^[123]( [123])*$")] | None = None
    values: Text | None = None
    values_zh: Text | None = None
    constant: Number = 0.0
    coefficient: Number | None = None
    base: Number = 0.0
    per: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    side: Literal["both", "above", "below"] = "both"
    cap: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    when_parameter: Code | None = None
    when_zh: Text | None = None
    when_en: Text | None = None
    when_unit: str = ""
    when_above: Number | None = None
    when_empty: Literal["incomplete", "not_applied"] = "incomplete"
    clause: str = ""
    source: Source
    confidence: Confidence
    remark: str = ""
    known_from: AwareDatetime | None = None

    @property
    def key(self) -> tuple[object, ...]:
        return self.standard, self.product, self.indicator, self.feedstock, self.parameter, self.effect, self.levels

    def fits(self, row: LimitRow) -> bool:
        """Whether it corrects this limit row."""
        return (self.standard, self.product) == (row.standard, row.product) and all(
            mine in (None, its) for mine, its in ((self.indicator, row.indicator), (self.feedstock, row.feedstock))
        )

    @model_validator(mode="after")
    def _says_what_its_kind_needs(self) -> Self:
        if (self.levels is None) == (self.applies_to == "limit"):
            raise ValueError("a correction of a limit names its levels, one of the actual value names none")
        if self.applies_to == "actual" and self.effect == "add_share":
            raise ValueError("a share of the level as printed cannot be added to the actual value")
        if (self.kind == "linear") != (self.coefficient is not None) or (self.kind == "linear") != (self.values is None):
            raise ValueError("a linear correction needs a coefficient and no values, every other kind values and no coefficient")
        if len({self.when_parameter is None, self.when_above is None, self.when_zh is None, self.when_en is None}) > 1:
            raise ValueError("a condition needs when_parameter, when_zh, when_en and when_above")
        pairs = correction_values(self.values or "")
        if self.kind == "by_value" and len(pairs) != len((self.values_zh or "").split()):
            raise ValueError("values_zh needs a Chinese name for each of the values, in their order, with a space between")
        bounds = [float(name.removeprefix(">")) for name, _ in pairs] if self.kind in ("by_step", "interpolated") else []
        if bounds != sorted(set(bounds)) or (self.kind == "interpolated" and len(bounds) < 2):
            raise ValueError("the bounds of values must rise, and to interpolate takes two of them")
        return self


def correction_values(written: str) -> list[tuple[str, float]]:
    """The pairs of a correction's `values`.

    Raises:
        ValueError: a pair that is none.

    >>> correction_values("0:0 >15:2.5 >25:5.5")
    [('0', 0.0), ('>15', 2.5), ('>25', 5.5)]
    """
    return [(name, float(amount)) for name, _, amount in (pair.rpartition(":") for pair in written.split())]


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
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]
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
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]
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


class HolidayRow(TableRow):
    """Days first..last that are no working days although weekdays, or working days although weekends, by the notice of a year."""

    year: Annotated[int, Field(ge=1949, le=2200)]
    first: date
    last: date
    working: bool
    name_zh: Text
    name_en: Text | None = None
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]

    @property
    def key(self) -> date:
        return self.first

    @model_validator(mode="after")
    def _spans_a_month_at_most(self) -> Self:
        if not timedelta() <= self.last - self.first <= timedelta(days=31):
            raise ValueError(f"last {self.last} is not on one of the 31 days from first {self.first}")
        return self


class CalibrationRow(TableRow):
    """How long a verification of a kind of meter is valid, from a day on; without accuracy_class: any class of the medium."""

    medium: Literal["coal", "water", "oil", "gas", "electricity", "heat", "other"]
    accuracy_class: Text | None = None
    interval_months: Annotated[int, Field(gt=0, le=600)]
    valid_from: date
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]
    remark: str = ""

    @property
    def key(self) -> tuple[str, str | None, date]:
        return self.medium, self.accuracy_class, self.valid_from


class VeeRuleRow(TableRow):
    """A validation rule with its bounds, for all registers or those of a medium or kind, from `valid_from` up to but not on `valid_to`."""

    rule: Code
    medium: Literal["coal", "water", "oil", "gas", "electricity", "heat", "other"] | None = None
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
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]

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


Row = TypeVar("Row", bound=TableRow)
Dated = TypeVar("Dated", CoefficientRow, LimitRow, FigureRuleRow, CorrectionRow)  # rows that may say from when on they were known
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)  # of a row that does not say since when it was known
MODELS: Final[dict[str, type[TableRow]]] = {  # of this module; `config.lawbook` has those of all
    "coal_equivalent": CoefficientRow, "limits": LimitRow, "corrections": CorrectionRow, "quality_weights": WeightRow, "holidays": HolidayRow,
    "calibration_intervals": CalibrationRow, "vee_rules": VeeRuleRow, "figure_rules": FigureRuleRow,
}


def coefficients(site_dir: Path | None = None, as_of: datetime | None = None) -> pl.DataFrame:
    """Coal equivalents of GB/T 2589-2020 (appendices A and B) and of the site's folder, as COEFFICIENT; with `as_of`, those known then.

    A consumed medium of appendix B has a number only where the site's folder names one.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("coal_equivalent", CoefficientRow, site_dir)
    own = _known(own, as_of)
    # Appendix B is a reference, not a list that applies by itself (decisions.md 7): its rows name the media, without a number.
    applies = pl.when(pl.col("role").ne_missing("consumed_medium")).then("kgce_per_unit")
    brought = framed(own, pl.Schema({**schemas.COEFFICIENT, "rate_year": pl.Int32(), "provisional": pl.Boolean(), "known_from": schemas.INSTANT}))
    if far := far_from_reference(brought, framed(base, schemas.COEFFICIENT)):
        raise BadInputError([Problem(f"coal_equivalent {brought['carrier'][row]} from {brought['valid_from'][row]}", *told) for row, *told in far])
    return overlay(framed(base, schemas.COEFFICIENT).with_columns(kgce_per_unit=applies), with_rates_named(brought))


def far_from_reference(brought: pl.DataFrame, reference: pl.DataFrame) -> list[tuple[int, str, str]]:
    """Coefficients more than ten times above or below the carrier's others, where units are linked: kgce taken for gce, t for kg.

    Returns:
        Row of `brought` (COEFFICIENT, from 0), what is wrong, and what would be right.

    >>> table = coefficients()
    >>> wrong = pl.DataFrame({"carrier": ["electricity"], "unit": ["kWh"], "kgce_per_unit": [302.0]})
    >>> far_from_reference(wrong, table)[0][1]
    '302 kgce for one kWh is more than ten times off the 0.1229 of the reference'
    """
    known = reference.drop_nulls("kgce_per_unit").select("carrier", "unit", "kgce_per_unit").unique("carrier", keep="first", maintain_order=True)
    others = {carrier: (unit, kgce) for carrier, unit, kgce in known.iter_rows()}
    found: list[tuple[int, str, str]] = []
    for row, (carrier, unit, kgce) in enumerate(brought.select("carrier", "unit", "kgce_per_unit").iter_rows()):
        other, usual = others.get(carrier, (unit, None))
        scale = factor(unit, other)
        if usual is not None and kgce is not None and scale is not None and not usual * scale / 10 <= kgce <= usual * scale * 10:
            what = f"{kgce:g} kgce for one {unit} is more than ten times off the {usual * scale:g} of the reference"
            found.append((row, what, "Write kgce for one of the unit, or correct the unit."))
    return found


def with_rates_named(coefficients: pl.DataFrame) -> pl.DataFrame:
    """COEFFICIENT whose `source` says the year of a rate (`rate_year`), and that it is `provisional`, as results are to say it.

    >>> row = {"source": ["NEA"], "rate_year": [2025], "provisional": [True], "valid_from": [date(2027, 1, 1)]}
    >>> with_rates_named(pl.DataFrame(row))["source"].item()
    'NEA, rate of 2025 (provisional until the rate of 2026 is published)'
    """
    year = pl.when(pl.col("rate_year").is_not_null()).then(pl.format(", rate of {}", pl.col("rate_year").cast(pl.Int32()))).otherwise(pl.lit(""))
    until = pl.when("provisional").then(pl.format(" (provisional until the rate of {} is published)", pl.col("valid_from").dt.year() - 1))
    return coefficients.with_columns(source=pl.concat_str("source", year, until.otherwise(pl.lit("")))).drop("rate_year", "provisional")


def overlay(base: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """COEFFICIENT in which the rows of `own` take precedence over those of `base` on the days on which they are valid.

    A carrier keeps the role that `base` gives it. Where `own` has a column known_from, its rows go over each other in that order.

    >>> old = pl.DataFrame({"carrier": ["raw_coal"], "basis": ["calorific"], "valid_from": [date(2008, 6, 1)], "kgce_per_unit": [0.7143]})
    >>> own = old.with_columns(valid_from=date(2025, 1, 1), valid_to=date(2026, 1, 1), kgce_per_unit=0.65)
    >>> overlay(old, own).select("valid_from", "valid_to").rows()[0]
    (datetime.date(2008, 6, 1), datetime.date(2025, 1, 1))
    """
    if "known_from" in own.columns:
        for version in own.sort("known_from", nulls_last=False, maintain_order=True).partition_by("known_from", maintain_order=True):
            base = overlay(base, version.drop("known_from"))
        return schemas.conform(base, schemas.COEFFICIENT)
    base, own = schemas.conform(base, schemas.COEFFICIENT), schemas.conform(own, schemas.COEFFICIENT)
    taken = own.filter(pl.col("kgce_per_unit").is_not_null()).select("carrier", "basis", "valid_from", "valid_to").rows()
    kept: list[dict[str, Any]] = []
    roles = dict(base.select("carrier", "role").iter_rows())
    for row in base.iter_rows(named=True):
        spans = [(row["valid_from"], row["valid_to"] or date.max)]
        for carrier, basis, start, end in taken:
            if (carrier, basis) == (row["carrier"], row["basis"]):
                before_and_after = [((first, min(last, start)), (max(first, end or date.max), last)) for first, last in spans]
                spans = [piece for pieces in before_and_after for piece in pieces if piece[0] < piece[1]]
        kept += [row | {"valid_from": first, "valid_to": None if last == date.max else last} for first, last in spans]
    role = pl.coalesce("role", pl.col("carrier").replace_strict(roles, default=None, return_dtype=pl.String()))
    return pl.concat([pl.DataFrame(kept, schema=schemas.COEFFICIENT), own.with_columns(role=role)])


def limits(site_dir: Path | None = None, as_of: datetime | None = None) -> pl.DataFrame:
    """The limits of the energy-consumption standards and of the site's folder, as LIMIT; with `as_of`, those known then.

    `effective_to` is the last day in force, included: the day before the standard that supersedes the row, or a later edition
    of the same standard number, takes effect. A row without `effective_from` is never in force (decisions.md 2). `corrections` are
    the rows of the table of that name that fit, in their sequence.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    rows = limit_rows(site_dir, as_of)
    changes = [{"row": at, **each.model_dump(include=set(schemas.CORRECTION))}
               for at, those in enumerate(_corrections(rows, site_dir, as_of)) for each in those]
    schema = pl.Schema({"row": pl.UInt32(), **schemas.CORRECTION})
    corrections = pl.DataFrame(changes, schema=schema).group_by("row", maintain_order=True).agg(corrections=pl.struct(*schemas.CORRECTION))
    ends = pl.Series(_ends(rows), dtype=pl.Date)
    frame = framed(rows, schemas.LIMIT).with_columns(effective_to=ends).drop("corrections").with_row_index("row")
    frame = frame.join(corrections, on="row", how="left", maintain_order="left").with_columns(pl.col("corrections").fill_null([]))
    return schemas.conform(frame, schemas.LIMIT)


def _corrections(rows: Sequence[LimitRow], site_dir: Path | None, as_of: datetime | None) -> list[list[CorrectionRow]]:
    """The corrections of each limit row, in their sequence."""
    base, own = load("corrections", CorrectionRow, site_dir)
    known = sorted(({row.key: row for row in base} | {row.key: row for row in _known(own, as_of)}).values(), key=lambda row: row.sequence)
    of_product: dict[tuple[str, str], list[CorrectionRow]] = {}
    for correction in known:
        of_product.setdefault((correction.standard, correction.product), []).append(correction)
    if lost := [each for each in known if not any(map(each.fits, rows))]:
        raise BadInputError([
            Problem(f"corrections {each.standard} {each.product} {each.parameter}", "corrects no row of limits",
                    "Check its standard, product, indicator and feedstock against the limits.") for each in lost
        ])
    return [[each for each in of_product.get((row.standard, row.product), ()) if each.fits(row)] for row in rows]


def limit_rows(site_dir: Path | None = None, as_of: datetime | None = None) -> list[LimitRow]:
    """The rows behind `limits`, with the columns that only the file has."""
    base, own = load("limits", LimitRow, site_dir)
    rows = list(({row.key: row for row in base} | {row.key: row for row in _known(own, as_of)}).values())
    standards = {row.standard for row in rows}
    if lost := [row for row in rows if row.superseded_by is not None and row.superseded_by not in standards]:
        raise BadInputError([
            Problem(f"limits {row.standard} {row.product} column superseded_by", f"{row.superseded_by} has no row",
                    "Add a row of that standard, or leave the column empty.") for row in lost
        ])
    return rows


def coefficient_rows(site_dir: Path | None = None) -> list[CoefficientRow]:
    """The rows behind `coefficients`, shipped first, as they stand in the files."""
    base, own = load("coal_equivalent", CoefficientRow, site_dir)
    return base + own


def quality_weights(site_dir: Path | None = None) -> pl.DataFrame:
    """Weights of the parts of the data-quality index, as QUALITY_WEIGHT; of a part the row that begins last counts, the site's own first.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("quality_weights", WeightRow, site_dir)
    return framed(base + own, schemas.QUALITY_WEIGHT).unique(["part", "valid_from"], keep="last", maintain_order=True).sort("part", "valid_from")


def holidays(site_dir: Path | None = None) -> pl.DataFrame:
    """Days that the notices of the State Council on holidays take from or add to the working days, as HOLIDAY, one row a day.

    A row of the site's folder that begins on the same day replaces the shipped one.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("holidays", HolidayRow, site_dir)
    rows = list(({row.key: row for row in base} | {row.key: row for row in own}).values())
    spans = pl.DataFrame([row.model_dump() for row in rows], schema_overrides={"year": pl.Int32()})
    days = spans.with_columns(day=pl.date_ranges("first", "last")).explode("day", empty_as_null=False)
    return schemas.conform(days, schemas.HOLIDAY).unique("day", keep="last").sort("day")


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
    rows = list(({row.key: row for row in base} | {row.key: row for row in own}).values())
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
    return framed(base + _known(own, as_of), schemas.FIGURE_RULE)


def in_force(table: pl.DataFrame, day: date, **keys: str) -> pl.DataFrame:
    """The rows of a dated table (LIMIT or COEFFICIENT) that are in force on a day, for the codes given.

    A row without a date of effect, and a coefficient without a number, is never in force.

    Raises:
        UnknownCodeError: no row has these codes at all.
        NoRuleInForceError: the rows that there are begin later, have ended or have no date: the nearest is not taken.

    >>> in_force(limits(), date(2026, 5, 1), product="coke_top_charged", indicator="comprehensive_energy")["standard"].to_list()
    ['GB 21342-2025']
    """
    is_limit = "effective_from" in table.columns
    name, start = ("limits", "effective_from") if is_limit else ("coal_equivalent", "valid_from")
    rows = table
    for column, code in keys.items():
        known = rows[column].drop_nulls().unique().to_list()
        rows = rows.filter(pl.col(column) == code)
        if rows.is_empty():
            raise UnknownCodeError(column, code, known)
    dated = rows.filter(pl.col(start).is_not_null())
    if is_limit:
        found = dated.filter(pl.col(start) <= day, (pl.col("effective_to") >= day).fill_null(value=True))
    else:
        dated = dated.filter(pl.col("kgce_per_unit").is_not_null())
        found = dated.filter(pl.col(start) <= day, (pl.col("valid_to") > day).fill_null(value=True))
    if found.is_empty():
        earliest = dated[start].min()
        raise NoRuleInForceError(f"{name}.csv", " ".join(keys.values()), day, earliest if isinstance(earliest, date) else None)
    return found


def known_later(
    site_dir: Path | None, after: datetime, until: datetime,
) -> tuple[list[CoefficientRow], list[LimitRow | CorrectionRow], list[FigureRuleRow]]:
    """The rows of the site's folder that became known after one instant and up to another: coefficients, limits with corrections, rules."""
    def between(rows: list[Dated]) -> list[Dated]:
        return [row for row in rows if row.known_from is not None and after < row.known_from <= until]

    return (
        between(load("coal_equivalent", CoefficientRow, site_dir)[1]),
        [*between(load("limits", LimitRow, site_dir)[1]), *between(load("corrections", CorrectionRow, site_dir)[1])],
        between(load("figure_rules", FigureRuleRow, site_dir)[1]),
    )


def _known(own: list[Dated], as_of: datetime | None) -> list[Dated]:
    """The rows that were known at an instant, those known last at the end."""
    seen = [row for row in own if row.known_from is None or as_of is None or row.known_from <= as_of]
    return sorted(seen, key=lambda row: row.known_from or _ALWAYS)


def _ends(rows: Sequence[LimitRow]) -> list[date | None]:
    starts: dict[str, date] = {}
    editions: dict[str, set[tuple[int, str]]] = {}
    for row in rows:
        if row.effective_from is not None:
            starts[row.standard] = min(row.effective_from, starts.get(row.standard, row.effective_from))
        if numbered := re.fullmatch(r"(.+)-(\d{4})", row.standard):
            editions.setdefault(numbered[1], set()).add((int(numbered[2]), row.standard))
    ends: list[date | None] = []
    for row in rows:
        number, _, year = row.standard.rpartition("-")
        followers = {standard for edition, standard in editions.get(number, ()) if year.isdigit() and edition > int(year)} | {row.superseded_by}
        following = [starts[standard] for standard in followers if standard in starts]
        ends.append(min(following) - timedelta(days=1) if following else None)
    return ends


def load(table: str, model: type[Row], site_dir: Path | None) -> tuple[list[Row], list[Row]]:
    """The rows of a table as they stand in the files: the shipped ones, and those of the site's folder.

    A file of the folder is CSV, its name begins with the table's; or TOML with an array of tables named as the table (`[[limits]]`).

    Raises:
        BadInputError: rows that do not fit, all of them, or a file that belongs to no table.
    """
    shipped, wrong = _shipped(table, model)
    base, own, problems = cast("list[Row]", list(shipped)), list[Row](), list(wrong)
    if site_dir is not None and not site_dir.is_dir():
        problems.append(Problem(str(site_dir), "there is no such folder", "Create it, or change [site] tables_dir in the settings."))
    elif site_dir is not None:
        for path in sorted(path for path in site_dir.iterdir() if path.suffix in (".csv", ".toml") and not path.name.startswith(".")):
            own += rows_in(path, problems, {table: model}).get(table, [])
    if problems:
        raise BadInputError(problems)
    return base, own


@cache
def _shipped(table: str, model: type[TableRow]) -> tuple[list[TableRow], list[Problem]]:
    """The rows of a shipped file: it does not change while the program runs."""
    problems: list[Problem] = []
    return _read(SHIPPED / f"{table}.csv", model, problems), problems


@cache
def names() -> list[str]:
    """The names of all tables: each has a shipped file, if only with its columns."""
    return sorted(path.stem for path in SHIPPED.glob("*.csv"))


def rows_in(path: Path, problems: list[Problem], models: Mapping[str, type[Row]]) -> dict[str, list[Row]]:
    """The rows of a site's file by table, of the tables in `models`; what is wrong with them is added to `problems`."""
    known = names()
    if path.suffix == ".toml":
        try:
            said = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            problems.append(Problem(path.name, f"cannot be read: {error}", "Save it as TOML in UTF-8."))
            return {}
        strange = [
            key for key, rows in said.items() if key not in known or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows)
        ]
        problems += [Problem(f"{path.name} {key}", "is no array of rows of a table", f"Write [[{known[0]}]] before each row; "
                             f"the tables are {', '.join(known)}.") for key in strange]
        return {
            table: _checked(path.name, table, ((number, {column: _told(value) for column, value in row.items()})
                                               for number, row in enumerate(said[table], start=1)), model, problems)
            for table, model in models.items() if table in said and table not in strange
        }
    named = max((name for name in known if path.name.startswith(name)), key=len, default=None)
    if named is None:
        problems.append(Problem(path.name, "belongs to no table", f"Let its name begin with one of {', '.join(known)}."))
        return {}
    return {named: _read(path, models[named], problems)} if named in models else {}


def _told(value: Any) -> Any:
    """A value of TOML as a cell of CSV says it, so that both are checked alike."""
    if isinstance(value, list | dict):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(path: Path, model: type[Row], problems: list[Problem]) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file, restkey="(beyond the last column)"))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(path.name, f"cannot be read: {error}", "Save it as CSV in UTF-8."))
        return []
    return _checked(path.name, "", enumerate(lines, start=2), model, problems)


def _checked(file: str, table: str, lines: Iterable[tuple[int, Mapping[str, Any]]], model: type[Row], problems: list[Problem]) -> list[Row]:
    rows: list[Row] = []
    seen: dict[object, int] = {}
    place = f"{file} {table} row" if table else f"{file} row"
    for number, line in lines:
        try:
            row = model.model_validate({column: value for column, value in line.items() if value not in ("", None)})
        except ValidationError as error:
            problems += _problems(f"{place} {number}", error)
            continue
        known = (row.key, getattr(row, "known_from", None))
        if first := seen.get(known):
            problems.append(Problem(f"{place} {number}", f"says the same as row {first}: {row.key}", "Keep one of the two rows."))
        seen[known] = number
        rows.append(row)
    return rows


def _problems(where: str, error: ValidationError) -> Iterable[Problem]:
    for detail in error.errors():
        column = f"{where} column {detail['loc'][0]}" if detail["loc"] else where
        match detail["type"]:
            case "extra_forbidden":
                yield Problem(column, "is not a column of this table", "Check its spelling; `tcewatch tables` lists the columns.")
            case "missing":
                yield Problem(column, "is empty", "Fill it in; every row needs it.")
            case _:
                what = detail["msg"].removeprefix("Value error, ")
                shown = f" (it is {detail['input']!r})" if detail["loc"] else ""
                yield Problem(column, what[:1].lower() + what[1:] + shown, "Correct the value.")


def framed(rows: Sequence[BaseModel], schema: pl.Schema) -> pl.DataFrame:
    """Rows as a named table."""
    known = {name: dtype for name, dtype in schema.items() if rows and name in type(rows[0]).model_fields}
    frame = pl.DataFrame([row.model_dump(include=set(known)) for row in rows], schema=known) if rows else pl.DataFrame(schema=schema)
    return schemas.conform(frame, schema)
