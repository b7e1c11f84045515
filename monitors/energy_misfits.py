"""What cannot be meant by quantities of carriers and by coefficients that are brought, and what would be right."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import polars as pl

from config.calendar import period_days
from config.names import near_it
from config.units import KJ_PER_KGCE, dimension, known_units, to_base
from monitors.coefficients import CALORIFIC, EQUIVALENT, WATER, Law, lhv_factor
from monitors.energy import FLOW_SIGNS, USES

LHV_KJ: Final = (200.0, 150_000.0)  # for one kg or m3, from lean gas to hydrogen: what lies outside is in another unit than it says


def misfits(quantities: pl.DataFrame, coefficients: pl.DataFrame, names: Mapping[str, str] | None = None) -> list[tuple[int, str, str, str]]:
    """What cannot be meant: an unknown carrier, unit, flow or use, a unit of another kind, a heating value that does not fit.

    `energy` gives no value for such rows. A row without a carrier is told as any empty cell is.

    Args:
        quantities: QUANTITY, where some columns may be left out; optionally `lhv`, `lhv_unit`.
        coefficients: COEFFICIENT.
        names: further names of carriers, in Chinese say, with the codes that are meant by them.

    Returns:
        Row (from 0), column, what is wrong, and what would be right.
    """
    law = Law(coefficients)
    known = {**{carrier: carrier for carrier in (*WATER, *law.carriers)}, **(names or {})}
    problems: list[tuple[int, str, str, str]] = []
    columns = [name for name in ("carrier", "unit", "period", "flow", "use", "lhv", "lhv_unit") if name in quantities.columns]
    rows = quantities.with_row_index("_row").group_by(columns, maintain_order=True).agg("_row")
    for row in rows.iter_rows(named=True):
        problems += [(number, *misfit) for misfit in _row_misfits(row, law, known) for number in row["_row"]]
    return sorted(problems)


def coefficient_misfits(brought: pl.DataFrame, reference: pl.DataFrame, fluids: Collection[str]) -> list[tuple[int, str, str, str]]:
    """What no coefficient can be: one of water, one by a unit in which its carrier is not measured, one basis in place of the other.

    What one kWh or MJ contains is a definition (GB/T 2589-2020, 3.6 MJ and 29,307.6 kJ), and what was spent for it is not less.

    Args:
        brought: COEFFICIENT, as a user brings it; a carrier that is not in the reference may have any unit.
        reference: COEFFICIENT.
        fluids: carriers that have a mass and a volume, so that a coefficient may be for one of either.

    Returns:
        Row (from 0), column, what is wrong, and what would be right.
    """
    found: list[tuple[int, str, str, str]] = []
    usual = {carrier: {_measure(unit), *(("mass", "volume") if carrier in fluids else ())} for carrier, unit in
             reference.select("carrier", "unit").iter_rows()}
    for at, (carrier, basis, unit, kgce) in enumerate(brought.select("carrier", "basis", "unit", "kgce_per_unit").iter_rows()):
        allowed = usual.get(carrier)
        contained = to_base(unit) / KJ_PER_KGCE if unit is not None and dimension(unit) == "energy" else None
        if carrier in WATER:
            found.append((at, "carrier", f"{carrier} carries no energy", "Leave the row out."))
        elif allowed is not None and unit is not None and _measure(unit) not in allowed:
            right = ", ".join(each for each in known_units() if _measure(each) in allowed)
            found.append((at, "unit", f"{carrier} is not measured in {unit}", f"It is measured in {right}."))
        elif contained is None or kgce is None:
            continue
        elif basis == CALORIFIC and not 0.99 * contained <= kgce <= 1.01 * contained:
            what, right = f"{kgce:g} kgce for one {unit} is no calorific value", f"It is {contained:.4g} by definition"
            found.append((at, "kgce_per_unit", what, f"{right}; if {kgce:g} was spent to make it, the basis is equivalent."))
        elif basis == EQUIVALENT and kgce < 0.99 * contained:
            what = f"{kgce:g} kgce for one {unit} is no equivalent value"
            found.append((at, "kgce_per_unit", what, f"What is spent to make one {unit} is no less than the {contained:.4g} that it contains."))
    return found


def _measure(unit: str) -> str:
    """What a unit measures; the volume of a gas is one at some condition."""
    return str(dimension(unit)).partition(" at ")[0]


def _row_misfits(row: Mapping[str, Any], law: Law, known: Mapping[str, str]) -> Iterable[tuple[str, str, str]]:
    carrier, unit = row["carrier"], row["unit"]
    for column, allowed in (("flow", FLOW_SIGNS), ("use", USES)):
        if row.get(column) is not None and row[column] not in allowed:
            yield column, f"{row[column]!r} is not known", f"Write one of {', '.join(allowed)}."
    try:
        period_days(str(row["period"]))
    except ValueError:
        yield "period", f"{row['period']!r} is no period", "Write 2025, 2025-03 or 2025-03-07."
    if not law.knows(carrier):
        listed = f"{near_it(str(carrier), known)}`tcewatch tables coal_equivalent` lists the codes; water is water_tap, water_ground, ..."
        yield "carrier", "the cell is empty" if carrier is None else f"{carrier!r} is not known", listed
        return
    if unit is None:
        yield "unit", "the cell is empty", f"{carrier} is measured in {law.units(carrier)}."
    elif unit not in known_units():
        yield "unit", f"{unit!r} is not a known unit", f"{carrier} is measured in {law.units(carrier)}."
    elif not law.measures(carrier, unit):
        yield "unit", f"{unit} is no unit of {carrier}", f"Write a quantity in {law.units(carrier)} or a unit that is a multiple of it by definition."
    lhv = row.get("lhv")
    if lhv is None:
        return
    if not law.is_fuel(carrier):
        yield "lhv", f"{carrier} is no fuel and has no heating value", "Leave lhv and lhv_unit empty."
    elif not 0 < lhv < float("inf"):
        yield "lhv", f"{lhv} is no heating value", "Write the measured lower heating value, above 0, or leave it empty."
    per_unit = lhv_factor(str(row.get("lhv_unit")), unit)
    if per_unit is None:
        given = row.get("lhv_unit")
        what = "the cell is empty, and lhv is given" if given is None else f"{given!r} does not fit a quantity in {unit}"
        yield "lhv_unit", what, f"Write for example kJ/{unit} or MJ/{unit}."
    elif unit in known_units() and 0 < lhv < float("inf") and not LHV_KJ[0] <= lhv * per_unit * KJ_PER_KGCE / to_base(unit) <= LHV_KJ[1]:
        low, high = (f"{bound / 1000:g}" for bound in LHV_KJ)
        yield "lhv_unit", f"no fuel has {lhv:g} {row['lhv_unit']}", f"Check the unit: fuels have {low} to {high} MJ for one kg or m3."
