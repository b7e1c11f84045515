"""Coefficients of coal equivalent by carrier, basis and day: which one holds, and why there is none (GB/T 2589-2020; decisions.md 7, 11-13)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Final, NamedTuple

import polars as pl

from config import schemas
from config.calendar import period_days
from config.units import KJ_PER_KGCE, factor
from monitors.quantities import KEYS

FRESH_WATER: Final = ("water_tap", "water_ground", "water_surface")
UNCONVENTIONAL_WATER: Final = ("water_mine", "water_reclaimed")
WATER: Final = FRESH_WATER + UNCONVENTIONAL_WATER
WATER_UNITS: Final = ("m3", "10^4 m3", "L", "t", "10^4 t", "kg", "kt")
SECONDARY: Final = ("electricity", "heat")  # their two values differ, so neither stands in for the other
GAS_CONDITIONS: Final = ("m3", "10^4 m3", "L", "Nm3", "10^4 Nm3", "Sm3", "10^4 Sm3", "m3_actual")
CALORIFIC, EQUIVALENT = "calorific", "equivalent"


class Found(NamedTuple):
    """What holds for a carrier in a unit over a period on one basis: a coefficient with its source, or why there is none."""

    kgce_per_unit: float | None
    source: str | None
    reason: str | None


class Law:
    """Coefficients by carrier and basis, closed against each other: on one day at most one is in force."""

    def __init__(self, coefficients: pl.DataFrame) -> None:
        table = schemas.conform(coefficients, schemas.COEFFICIENT)
        self._units: dict[str, str] = dict(table.select("carrier", "unit").iter_rows())
        self._roles: dict[str, str] = dict(table.filter(pl.col("role").is_not_null()).select("carrier", "role").iter_rows())
        self._dated: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in table.filter(pl.col("kgce_per_unit").is_not_null()).sort("valid_from", maintain_order=True).iter_rows(named=True):
            rows = self._dated.setdefault((row["carrier"], row["basis"]), [])
            if rows and rows[-1]["valid_from"] == row["valid_from"]:
                rows.pop()  # brought in later
            elif rows:
                rows[-1]["valid_to"] = min(rows[-1]["valid_to"] or date.max, row["valid_from"])
            rows.append(row)

    @property
    def carriers(self) -> Iterable[str]:
        return self._units

    def knows(self, carrier: str | None) -> bool:
        return carrier in WATER or carrier in self._units

    def role(self, carrier: str | None) -> str | None:
        if carrier is None or carrier in WATER or carrier not in self._units:
            return None
        by_name = "secondary" if carrier in SECONDARY else "fuel" if (carrier, CALORIFIC) in self._dated else "consumed_medium"
        return self._roles.get(carrier, by_name)

    def is_fuel(self, carrier: str | None) -> bool:
        return self.role(carrier) == "fuel"

    def units(self, carrier: str) -> str:
        return "m3 or t" if carrier in WATER else self._units[carrier]

    def measures(self, carrier: str, unit: str) -> bool:
        """Whether the unit is one of the carrier's kind; a gas may stand in another condition, which then needs a heating value."""
        if carrier in WATER:
            return unit in WATER_UNITS
        own = {row["unit"] for basis in (CALORIFIC, EQUIVALENT) for row in self._dated.get((carrier, basis), ())} | {self._units[carrier]}
        return any(factor(unit, to) is not None or (to in GAS_CONDITIONS and unit in GAS_CONDITIONS) for to in own)

    def spans(self, carrier: str, first: date, last: date) -> Iterable[tuple[date, date]]:
        """The days from first to last in parts within which no coefficient of the carrier starts or ends; none if it is one part."""
        rows = [row for basis in (CALORIFIC, EQUIVALENT) for row in self._dated.get((carrier, basis), ())]
        inside = {day for row in rows for day in (row["valid_from"], row["valid_to"]) if day is not None and first < day <= last}
        begins = [first, *sorted(inside), last + timedelta(days=1)]
        return [(begin, following - timedelta(days=1)) for begin, following in pairwise(begins)] if inside else []

    def find(self, basis: str, carrier: str | None, unit: str | None, period: str | None, lhv_unit: str | None) -> Found:
        """The coefficient for one of `unit`; with a heating value, what turns that value into it."""
        if carrier in WATER:
            return Found(None, None, None)
        if carrier is None or carrier not in self._units:
            return Found(None, None, f"carrier {carrier} is in no coefficient table")
        if unit is None or not self.measures(carrier, unit):
            return Found(None, None, f"{unit} is no unit of {carrier} ({self._units[carrier]})")
        role = self.role(carrier)
        if lhv_unit is not None and role == "fuel":
            per_unit = lhv_factor(lhv_unit, unit)
            reason = None if per_unit else f"lhv_unit {lhv_unit} does not fit {carrier} in {unit}"
            return Found(per_unit, None, reason)
        try:
            first, last = _days_of(str(period))
        except ValueError:
            return Found(None, None, f"{period} is no period")
        if role == "fuel" and (carrier, EQUIVALENT) not in self._dated:
            basis = CALORIFIC  # what a fuel contains is what is spent
        rows = self._dated.get((carrier, basis), [])
        for row in rows:
            if row["valid_from"] <= first and last < (row["valid_to"] or date.max):
                scale = factor(unit, row["unit"])
                if scale is None and not (unit in GAS_CONDITIONS and row["unit"] in GAS_CONDITIONS):
                    return Found(None, None, f"the coefficient of {carrier} that is in force is for {row['unit']}, the quantity is in {unit}: "
                                  "give both in one unit, or a measured heating value")
                if scale is None:
                    return Found(None, None, f"the coefficient of {carrier} is for {row['unit']}, the quantity is in {unit}: between conditions "
                                  f"of a gas there is no fixed factor; give lhv in kJ/{unit}, or a coefficient for {unit}")
                return Found(float(f"{row['kgce_per_unit'] * scale:.14g}"), row["source"], None)  # 714.3, not 714.3000000000001
        return Found(None, None, _why_none(carrier, basis, role, period, rows, first, last))


def coefficients_for(needs: pl.DataFrame, coefficients: pl.DataFrame) -> pl.DataFrame:
    """What `energy` takes from the coefficients for carriers in units over periods: while this is the same, so is its result.

    Args:
        needs: carrier, unit, period.
        coefficients: COEFFICIENT.

    Returns:
        The needs with coefficient, source and, where there is none, the reason on both bases; so too the spans that `by_coefficients` makes.
    """
    law = Law(coefficients)
    spans = _spans(law, needs).join(needs.select("carrier", "unit").unique(maintain_order=True), on="carrier")
    asked = pl.concat([needs.select("carrier", "unit", "period"), spans.select("carrier", "unit", period="in_force")])
    return answers(law, asked.with_columns(_lhv_unit=pl.lit(None, pl.String())))


def by_coefficients(quantities: pl.DataFrame, days: pl.DataFrame, coefficients: pl.DataFrame) -> pl.DataFrame:
    """Divide quantities in whose period a coefficient of the carrier starts or ends into what was used before and after that day.

    `energy` then converts each part by the coefficient of its days, and `in_one_row` puts them together.

    Args:
        quantities: QUANTITY by month or year, further columns kept. One with a heating value, or with `lhv_missing`, stays as it is.
        days: the same by days. What has none here stays as it is.
        coefficients: COEFFICIENT.

    Returns:
        The quantities, and `in_force`: the days of the part as "2025-07-01/2025-07-14"; null where the row is not divided.
    """
    spans = _spans(Law(coefficients), quantities)
    rows = quantities.with_row_index("_row").with_columns(in_force=pl.lit(None, pl.String()))
    if spans.is_empty():
        return rows.drop("_row")
    own = [name for name in rows.columns if name not in {"quantity", "estimated_ratio", "in_force"}]
    bare = [pl.col(name).is_null() for name in ("lhv", "lhv_missing") if name in rows.columns]
    weight = pl.col("quantity").abs()
    used = schemas.conform(days, schemas.QUANTITY).select(*KEYS, "quantity", "estimated_ratio", day=pl.col("period").str.to_date())
    parts = (
        rows.filter(*bare).select(own)
        .join(spans, on=["carrier", "period"])
        .join(used.filter(pl.col("quantity").is_not_null()), on=KEYS, nulls_equal=True)
        .filter(pl.col("day").is_between("first", "last"))
        .group_by([*own, "in_force"], maintain_order=True)
        .agg(pl.col("quantity").sum(),
             estimated_ratio=pl.when(weight.sum() > 0).then((weight * pl.col("estimated_ratio").fill_null(0.0)).sum() / weight.sum()))
    )
    whole = rows.join(parts, on="_row", how="anti", maintain_order="left")
    return pl.concat([whole, parts.select(whole.columns)]).sort("_row", "in_force", maintain_order=True).drop("_row")


def changing_carriers(quantities: pl.DataFrame, coefficients: pl.DataFrame) -> list[str]:
    """Carriers of which a coefficient starts or ends inside the period of a quantity: those whose days `by_coefficients` needs."""
    return _spans(Law(coefficients), quantities)["carrier"].unique(maintain_order=True).to_list()


def _spans(law: Law, quantities: pl.DataFrame) -> pl.DataFrame:
    """Of carriers and periods in which a coefficient starts or ends: the spans of days between (`in_force`; `first` and `last`, both included)."""
    found = [
        (carrier, period, f"{first}/{last}", first, last)
        for carrier, period in quantities.select("carrier", "period").unique(maintain_order=True).iter_rows()
        for first, last in law.spans(carrier, *_days_of(period))
    ]
    columns = {"carrier": pl.String(), "period": pl.String(), "in_force": pl.String(), "first": pl.Date(), "last": pl.Date()}
    return pl.DataFrame(found, schema=columns, orient="row")


def _days_of(period: str) -> tuple[date, date]:
    """First and last day of a period, or of a span as `by_coefficients` writes it."""
    first, _, last = period.partition("/")
    return (date.fromisoformat(first), date.fromisoformat(last)) if last else period_days(period)


def answers(law: Law, needs: pl.DataFrame) -> pl.DataFrame:
    """The needs (carrier, unit, period, lhv unit) with coefficient, source and reason on both bases, and whether it is a consumed medium."""
    found = [(law.find(CALORIFIC, *need), law.find(EQUIVALENT, *need)) for need in needs.iter_rows()]
    return needs.with_columns(
        *(
            pl.Series(f"{basis}_{field}", [getattr(pair[position], attribute) for pair in found], dtype=dtype)
            for position, basis in enumerate((CALORIFIC, EQUIVALENT))
            for field, attribute, dtype in (
                ("kgce_per_unit", "kgce_per_unit", pl.Float64()), ("source", "source", pl.String()), ("reason", "reason", pl.String()),
            )
        ),
        _medium=pl.Series([law.role(carrier) == "consumed_medium" for carrier in needs["carrier"]], dtype=pl.Boolean()),
    )


def _why_none(
    carrier: str, basis: str, role: str | None, period: str | None, rows: Sequence[Mapping[str, Any]], first: date, last: date
) -> str:
    if any(row["valid_from"] <= last and first < (row["valid_to"] or date.max) for row in rows):
        bounds = {day for row in rows for day in (row["valid_from"], row["valid_to"]) if day is not None and first < day <= last}
        changes = ", ".join(map(str, sorted(bounds)))
        return f"the {basis} coefficient of {carrier} starts or ends within {period} ({changes}): give the quantity by months or days"
    if rows:
        spans = ", ".join(f"{row['valid_from']} to before {row['valid_to'] or 'further notice'}" for row in rows)
        return f"no {basis} coefficient of {carrier} is in force in {period}, only {spans}"
    match role:
        case "consumed_medium":
            return f"{carrier} is a consumed medium: it enters a figure only by a coefficient list that the standard or the site names"
        case "fuel":
            return f"{carrier} has no default coefficient: give its measured heating value as lhv and lhv_unit"
        case _:
            return f"{carrier} has no fixed {basis} coefficient: bring in the one that is valid for {period}, with its source"


def lhv_factor(lhv_unit: str, unit: str | None) -> float | None:
    """What a heating value in its unit (kJ/kg, GJ/t ...) is times to be kgce for one `unit`; None where the two do not fit."""
    energy_unit, _, amount = lhv_unit.partition("/")
    to_kj, to_amount = factor(energy_unit, "kJ"), factor(unit or "", amount)
    return to_kj * to_amount / KJ_PER_KGCE if to_kj is not None and to_amount is not None and unit else None
