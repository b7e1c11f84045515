"""Heating value of fuels by batch: of a day by the batches fired on it, of a month by the consumption of its days."""

from collections.abc import Iterable
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

import polars as pl

from config import schemas
from config.units import heating_value_in
from monitors.figure_rules import in_force
from monitors.quantities import KEYS

SAID: Final = {"laboratory": "measured (laboratory, by batch)", "supplier": "supplier (by batch)"}
NAMED: Final = 5  # batches and spans that are listed one by one
_OWNER: Final = ("enterprise", "carrier")


def as_received(batches: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Bring heating values into one unit and to the fuel as it was received.

    A value of the dry fuel becomes lhv x (1 - M) - heat x M with the moisture M as a share of the mass (GB/T 213, net calorific value
    at constant volume: 23 J/g for each per cent of moisture; the row `moisture_heat_kj_per_kg` of the rules says so).

    Args:
        batches: BATCH.
        rules: FIGURE_RULE.

    Returns:
        BATCH with `lhv` in kJ/kg, kJ/Nm3 ... as received and `missing`, which says why a value cannot be used (its `lhv` is null then).
    """
    table = schemas.conform(batches, schemas.BATCH)
    units = {unit: heating_value_in(unit) for unit in table["lhv_unit"].drop_nulls().unique()}
    scale = {unit: found[0] for unit, found in units.items() if found}
    base = {unit: found[1] for unit, found in units.items() if found}
    nobody = pl.lit(None, dtype=pl.String())
    heats = in_force(table.select("carrier", flow=nobody, kind=nobody, day="first_day"), rules, "moisture_heat_kj_per_kg")
    dry, moisture = pl.col("basis") == "dry", pl.col("moisture_ratio")
    found = table.with_columns(
        heats["value"].alias("_heat"), lhv=pl.col("lhv") * pl.col("lhv_unit").replace_strict(scale, default=None, return_dtype=pl.Float64()),
        _unit=pl.col("lhv_unit").replace_strict(base, default=None, return_dtype=pl.String()),
    )
    why = (
        pl.when(pl.col("_unit").is_null()).then(pl.format("batch {}: {} is no unit of a heating value", "batch", "lhv_unit"))
        .when(dry & (pl.col("_unit") != "kJ/kg")).then(pl.format("batch {}: only a value by mass can be of the dry fuel", "batch"))
        .when(dry & moisture.is_null()).then(pl.format("batch {}: a value of the dry fuel needs the moisture", "batch"))
        .when(dry & pl.col("_heat").is_null()).then(pl.format("batch {}: no rule moisture_heat_kj_per_kg is in force", "batch"))
    )
    wet = pl.when(dry).then(pl.col("lhv") * (1 - moisture) - pl.col("_heat") * moisture).otherwise("lhv")
    why = why.when(dry & (wet <= 0)).then(pl.format("batch {}: with this moisture no heating value is left", "batch"))
    return found.with_columns(missing=why).with_columns(lhv=pl.when(pl.col("missing").is_null()).then(wet), lhv_unit="_unit").drop("_heat", "_unit")


def heating_values(batches: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """The heating value of each day on which a batch was fired, weighted by the mass of each (decisions.md 12).

    A batch is spread evenly over its days. Laboratory values come before the supplier's: on a day that has one, only these
    count. Several batches on one day need their masses. A day after the last batch has none, unless a row `batch_holds_days`
    of the rules lets it hold for so many days.

    Args:
        batches: BATCH.
        rules: FIGURE_RULE.

    Returns:
        HEATING_VALUE, sorted; `lhv` is null where `missing` says why.
    """
    usable = as_received(batches, rules).with_columns(
        day=pl.date_ranges("first_day", "last_day"), _share_t=pl.col("mass_t") / ((pl.col("last_day") - pl.col("first_day")).dt.total_days() + 1)
    ).explode("day")
    owner_day = [*_OWNER, "day"]
    measured = (pl.col("origin") == "laboratory").any().over(owner_day)
    counted = usable.filter(~measured | (pl.col("origin") == "laboratory"))
    one, weighed = pl.len() == 1, pl.col("_share_t").is_not_null().all()
    whole = pl.col("lhv").is_not_null().all() & (pl.col("lhv_unit").n_unique() == 1)
    days = counted.sort(*owner_day, "batch").group_by(owner_day, maintain_order=True).agg(
        lhv=pl.when(whole & one).then(pl.col("lhv").first())
        .when(whole & weighed).then((pl.col("lhv") * pl.col("_share_t")).sum() / pl.col("_share_t").sum()),
        lhv_unit=pl.col("lhv_unit").first(), origin=pl.col("origin").first(), batches=pl.col("batch"),
        _why=pl.col("missing").drop_nulls().unique(maintain_order=True), _mixed=pl.col("lhv_unit").n_unique() > 1, _weighed=one | weighed,
    ).with_columns(
        held=pl.lit(value=False),
        missing=pl.when(pl.col("_why").list.len() > 0).then(pl.col("_why").list.join("; "))
        .when("_mixed").then(pl.format("batches {}: heating values by mass and by volume on one day", pl.col("batches").list.join(", ")))
        .when(~pl.col("_weighed")).then(pl.format("batches {}: fired on one day, and not all have a mass", pl.col("batches").list.join(", "))),
    )
    return pl.concat([days.select(schemas.HEATING_VALUE.names()), _held(days, rules)]).sort(owner_day)


def with_heating_values(quantities: pl.DataFrame, days: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Give quantities the heating value of what was fired: sum(m_d x lhv_d) / sum(m_d) over their days, never a plain mean.

    A period whose days do not all have a heating value of one origin is divided into rows: the quantity of the days that have one,
    with it, and that of the days that have none, without it and with their names in `lhv_missing`, for `energy` to convert by a
    coefficient or to leave open. The rows of a period add up to its days, and their energy to the energy of the days.

    Args:
        quantities: QUANTITY of one grain (year, month or day).
        days: the same by days; a period of a fuel that has no days here stays as it is.
        values: HEATING_VALUE.

    Returns:
        QUANTITY with further columns kept, then `lhv`, `lhv_unit`, `lhv_source` (whose value it is, and of which batches) and `lhv_missing`.
    """
    own = [name for name in quantities.columns if name not in {"lhv", "lhv_unit", "lhv_source", "lhv_missing"}]
    bare = quantities.select(own).with_row_index("_row").with_columns(
        lhv=pl.lit(None, dtype=pl.Float64()), lhv_unit=pl.lit(None, dtype=pl.String()), lhv_source=pl.lit(None, dtype=pl.String()),
        lhv_missing=pl.lit(None, dtype=pl.String()),
    )
    if values.is_empty() or quantities.is_empty():
        return bare.drop("_row")
    grain = len(bare["period"][0])
    fired = (
        schemas.conform(days, schemas.QUANTITY)
        .join(values.select(_OWNER).unique(), on=_OWNER, how="semi")
        .filter(pl.col("quantity").is_not_null(), pl.col("quantity") != 0)
        .with_columns(day=pl.col("period").str.to_date("%Y-%m-%d"), period=pl.col("period").str.slice(0, grain))
        .join(values, on=[*_OWNER, "day"], how="left")
        .with_columns(origin=pl.when(pl.col("lhv").is_not_null()).then("origin"), lhv_unit=pl.when(pl.col("lhv").is_not_null()).then("lhv_unit"))
    )
    amount = pl.col("quantity")
    weight = amount.abs()
    parts = fired.sort("day").group_by([*KEYS, "period", "origin", "lhv_unit"], maintain_order=True).agg(
        _amount=amount.sum(),
        _lhv=pl.when(pl.col("lhv").is_not_null().all() & (amount.sum() != 0)).then((amount * pl.col("lhv")).sum() / amount.sum()),
        _estimated=(weight * pl.col("estimated_ratio").fill_null(0.0)).sum() / weight.sum(),
        _batches=pl.col("batches").explode(empty_as_null=False).drop_nulls().unique(maintain_order=True),
        _held=pl.col("held").fill_null(value=False).sum(),
        _days=pl.col("day").unique(maintain_order=True), _why=pl.col("missing").drop_nulls().unique(maintain_order=True),
    )
    has = pl.col("origin").is_not_null()
    count = pl.col("_batches").list.len()
    some = pl.when(count > NAMED).then(pl.concat_str(pl.col("_batches").list.head(NAMED).list.join(", "), pl.lit(", ..."))).otherwise(
        pl.col("_batches").list.join(", ")
    )
    held = pl.when(pl.col("_held") > 0).then(pl.format(", {} days by a batch that holds on", "_held")).otherwise(pl.lit(""))
    said = pl.format("{}, {} {}: {}{}", pl.col("origin").replace_strict(SAID, default=None, return_dtype=pl.String()), count,
                     pl.when(count == 1).then(pl.lit("batch")).otherwise(pl.lit("batches")), some, held)
    lacking = parts.filter(~has)
    spans = pl.Series("_spans", [spans_of(each) for each in lacking["_days"]], dtype=pl.String())
    told = pl.format("no heating value on {}{}", "_spans", pl.when(pl.col("_why").list.len() > 0).then(
        pl.format(" ({})", pl.col("_why").list.head(NAMED).list.join("; "))).otherwise(pl.lit("")))
    parts = pl.concat([
        parts.filter(has).with_columns(_said=said, _told=pl.lit(None, dtype=pl.String())),
        lacking.with_columns(spans).with_columns(_said=pl.lit(None, dtype=pl.String()), _told=told).drop("_spans"),
    ])
    joined = bare.drop("lhv_unit").join(parts, on=[*KEYS, "period"], how="left", nulls_equal=True, maintain_order="left")
    touched = pl.col("_amount").is_not_null()
    lone = pl.len().over("_row") == 1  # then the period's own quantity stands, to the last digit
    return joined.sort("_row", "origin", nulls_last=True, maintain_order=True).with_columns(
        quantity=pl.when(touched & ~lone).then("_amount").otherwise("quantity"),
        estimated_ratio=pl.when(touched & ~lone).then("_estimated").otherwise("estimated_ratio"),
        lhv="_lhv", lhv_source="_said", lhv_missing="_told",
    ).select(*own, "lhv", "lhv_unit", "lhv_source", "lhv_missing")


def months_of(days: pl.DataFrame) -> pl.DataFrame:
    """QUANTITY by day to months; a day that is not there is not covered."""
    rows = schemas.conform(days, schemas.QUANTITY).with_columns(day=pl.col("period").str.to_date("%Y-%m-%d"), period=pl.col("period").str.slice(0, 7))
    known, weight = pl.col("quantity").is_not_null(), pl.col("quantity").abs()
    covered = pl.when(known).then(pl.col("covered_ratio").fill_null(1.0)).otherwise(0.0)
    return rows.sort("day").group_by([*KEYS, "period"], maintain_order=True).agg(
        quantity=pl.when(known.any()).then(pl.col("quantity").sum()),
        covered_ratio=covered.sum() / pl.col("day").first().dt.month_end().dt.day(),
        estimated_ratio=pl.when(weight.sum() > 0).then((weight * pl.col("estimated_ratio").fill_null(0.0)).sum() / weight.sum()),
    ).select(schemas.QUANTITY.names()).sort("period", *KEYS)


def spans_of(days: Iterable[date]) -> str:
    """Days as spans for a sentence: at most five, then how many more days.

    >>> spans_of([date(2025, 3, 1), date(2025, 3, 2), date(2025, 3, 9)])
    '2025-03-01 to 2025-03-02, 2025-03-09'
    """
    ordered = sorted(set(days))
    starts = [0, *(place for place, (one, other) in enumerate(pairwise(ordered), start=1) if other - one > timedelta(days=1)), len(ordered)]
    runs = [ordered[first:last] for first, last in pairwise(starts)]
    said = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs[:NAMED])
    rest = sum(len(run) for run in runs[NAMED:])
    return f"{said} and {rest} more days" if rest else said


def _held(days: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """HEATING_VALUE of the days to which a rule of the site extends the batch before."""
    nobody = pl.lit(None, dtype=pl.String())
    allowed = in_force(days.select("carrier", "day", flow=nobody, kind=nobody), rules, "batch_holds_days")["value"].fill_null(0.0).cast(pl.Int64)
    gap = (pl.col("day").shift(-1).over(_OWNER) - pl.col("day")).dt.total_days() - 1
    later = days.with_columns(_more=pl.min_horizontal(gap, allowed.alias("_allowed"))).filter(pl.col("_more") > 0, pl.col("lhv").is_not_null())
    return later.with_columns(
        day=pl.date_ranges(pl.col("day") + pl.duration(days=1), pl.col("day") + pl.duration(days=pl.col("_more"))), held=pl.lit(value=True)
    ).explode("day").select(schemas.HEATING_VALUE.names())
