"""Coal equivalents: kgce for one unit of a carrier on the calorific (当量) and the equivalent (等价) basis, dated."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import polars as pl
from pydantic import AwareDatetime, Field, model_validator

from config import schemas
from config.errors import BadInputError, Problem
from config.tables import Basis, Code, Confidence, Medium, Source, TableRow, Text, framed, known_at, load, one_of
from config.units import factor, known_units


class CoefficientRow(TableRow):
    """One coal equivalent: kgce for one unit of a carrier, on one basis, from `valid_from` up to but not on `valid_to`."""

    carrier: Code
    role: Literal["fuel", "secondary", "consumed_medium"] | None = None
    name_zh: Text | None = None
    name_en: Text | None = None
    medium: Medium | None = None
    unit: Annotated[str, one_of(known_units())]
    lhv_kj_per_unit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    kgce_per_unit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    basis: Basis
    valid_from: date
    valid_to: date | None = None
    source: Source
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


def coefficients(site_dir: Path | None = None, as_of: datetime | None = None) -> pl.DataFrame:
    """Coal equivalents of GB/T 2589-2020 (appendices A and B) and of the site's folder, as COEFFICIENT; with `as_of`, those known then.

    A consumed medium of appendix B has a number only where the site's folder names one.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("coal_equivalent", CoefficientRow, site_dir)
    own = known_at(own, as_of)
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


def coefficient_rows(site_dir: Path | None = None) -> list[CoefficientRow]:
    """The rows behind `coefficients`, shipped first, as they stand in the files."""
    base, own = load("coal_equivalent", CoefficientRow, site_dir)
    return base + own


MODELS: Final[dict[str, type[TableRow]]] = {"coal_equivalent": CoefficientRow}
