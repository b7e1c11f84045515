"""The limits of the energy-consumption standards, and the corrections that plants may claim."""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import polars as pl
from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from config import schemas
from config.errors import BadInputError, Problem
from config.tables import Basis, Code, Confidence, Number, Source, TableRow, Text, framed, known_at, load, merged, one_of

LIMIT_UNITS: Final = (  # decisions.md 8, as the standards print them
    "kgce/t", "tce/t", "kWh/t", "gce/kWh", "kgce/kg", "kgce/m2", "kgce/m3", "kgce/GJ", "kgce/kL", "kgce/toe", "kgoe/t",
    "kgoe/(t·energy factor)", "kg/t", "kgce/weight case", "kgce/10^6 pieces", "kWh/kWh",
)


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
    source: Source
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
    known = sorted(merged(base, known_at(own, as_of)), key=lambda row: row.sequence)
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
    rows = merged(base, known_at(own, as_of))
    standards = {row.standard for row in rows}
    if lost := [row for row in rows if row.superseded_by is not None and row.superseded_by not in standards]:
        raise BadInputError([
            Problem(f"limits {row.standard} {row.product} column superseded_by", f"{row.superseded_by} has no row",
                    "Add a row of that standard, or leave the column empty.") for row in lost
        ])
    return rows


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


MODELS: Final[dict[str, type[TableRow]]] = {"limits": LimitRow, "corrections": CorrectionRow}
