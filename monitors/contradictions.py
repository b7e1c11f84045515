"""What products say twice, and differently: a limit is held against neither of the two."""

from collections.abc import Iterator
from typing import Final

import polars as pl

from config import schemas
from config.units import factor
from monitors.limits import TOTAL_INDICATORS, default_indicators, unit_factor, with_days

_BASES: Final = {
    "calorific": "calorific", "当量值": "calorific", "当量": "calorific", "equivalent": "equivalent", "等价值": "equivalent", "等价": "equivalent",
}


def contradictions(
    products: pl.DataFrame, table: pl.DataFrame, energy_sum: pl.DataFrame | None = None,
) -> list[tuple[int, str, str, str]]:
    """What a row says twice, and differently: period and days, unit consumption and energy with output, energy and the sum, and its basis.

    What differs within the rounding of the numbers as they are written is the same. `limits` would take one of the two.

    Args:
        products: PRODUCT, where some columns may be left out, with `period`, and `basis` where the rows say it.
        table: LIMIT.
        energy_sum: ENERGY_SUM by enterprise, product and period.

    Returns:
        Row (from 0), column, what is wrong, and what would be right.
    """
    own = schemas.conform(products, pl.Schema({**schemas.PRODUCT, "basis": pl.String()})).rename({"basis": "_basis"})
    days = with_days(products.select("period")).select(_first="period_start", _last="period_end")
    rows = pl.concat([own, days, products.select("period")], how="horizontal").with_row_index("_at")
    defaults = pl.col("product").replace_strict(default_indicators(table), default=None, return_dtype=pl.String())
    rows = rows.with_columns(
        pl.coalesce("indicator", defaults),
        _asked=pl.col("product").replace_strict(_bases(table), default=None, return_dtype=pl.String()),
    )
    of_sum = () if energy_sum is None else _other_energy(rows, energy_sum)
    return sorted([*_other_days(rows), *_other_figures(rows), *_other_bases(rows), *of_sum])


def _bases(table: pl.DataFrame) -> dict[str, str]:
    """The basis of each product whose rows all have the same one."""
    return dict(table.group_by("product").agg(pl.col("basis").unique()).filter(pl.col("basis").list.len() == 1).with_columns(
        pl.col("basis").list.first(),
    ).iter_rows())


def _other_days(rows: pl.DataFrame) -> Iterator[tuple[int, str, str, str]]:
    for side, last in (("period_start", "_first"), ("period_end", "_last")):
        for at, period, day, right in rows.filter(pl.col(side) != pl.col(last)).select("_at", "period", side, last).iter_rows():
            yield at, side, f"{day} is not that of the period {period}, which is {right}", "Write the period or the two days, not both."


def _rounding(name: str) -> pl.Expr:
    """Half of the last decimal place with which a number is written."""
    written = pl.col(name).cast(pl.String()).str.strip_suffix(".0")
    places = written.str.extract(r"\.(\d+)$").str.len_chars().fill_null(0).cast(pl.Float64())
    return pl.when(written.str.contains("e")).then(0.0).otherwise(0.5 * pl.lit(10.0).pow(-places))


def _other_figures(rows: pl.DataFrame) -> Iterator[tuple[int, str, str, str]]:
    both = rows.drop_nulls(["value", "unit", "energy", "energy_unit", "output", "output_unit"]).filter(pl.col("output") > 0)
    pairs = both.select("energy_unit", "output_unit", "unit").unique()
    scale = [unit_factor(f"{energy}/{output}", unit) for energy, output, unit in pairs.iter_rows()]
    found = both.join(pairs.with_columns(_scale=pl.Series(scale, dtype=pl.Float64())), on=pairs.columns, maintain_order="left")
    worked_out = pl.col("energy") / pl.col("output") * pl.col("_scale")
    rounded = _rounding("value") + (_rounding("energy") * pl.col("_scale") + _rounding("output") * worked_out.abs()) / pl.col("output")
    differs = pl.col("_scale").is_null() | ((pl.col("value") - worked_out).abs() > rounded * (1 + 1e-9))
    asked = ["_at", "value", "unit", "energy", "energy_unit", "output", "output_unit", "_worked_out"]
    for at, value, unit, energy, of, output, per, other in found.with_columns(_worked_out=worked_out).filter(differs).select(asked).iter_rows():
        if other is None:
            yield at, "energy_unit", f"{of}/{per} cannot be held against the value in {unit}", "Leave energy empty, or write it in the value's unit."
        else:
            what = f"{value:.12g} {unit} is not {energy:.12g} {of} / {output:.12g} {per}, which is {other:.12g} {unit}"
            yield at, "value", what, "Write the unit consumption, or energy and output, not both."


def _other_bases(rows: pl.DataFrame) -> Iterator[tuple[int, str, str, str]]:
    said = pl.col("_basis").str.to_lowercase().replace_strict(_BASES, default="", return_dtype=pl.String())
    rows = rows.drop_nulls("_basis")
    for at, basis, meant, asked in rows.filter(said != pl.col("_asked")).select("_at", "_basis", said.alias("_said"), "_asked").iter_rows():
        what = f"{basis!r} is no basis" if not meant else f"the figure is {meant}, and the limit is {asked}"
        yield at, "basis", what, f"Give the figure on the {asked} basis: the two are never mixed."


def _other_energy(rows: pl.DataFrame, energy_sum: pl.DataFrame) -> Iterator[tuple[int, str, str, str]]:
    """Energy of a product that is not the energy sum's, on the basis of its limit: on the other one, say."""
    keys = ["enterprise", "product", "period_start", "period_end"]
    total = pl.col("indicator").is_in(TOTAL_INDICATORS) & pl.col("feedstock").ne_missing("excluded")
    days = {"period_start": pl.coalesce("period_start", "_first"), "period_end": pl.coalesce("period_end", "_last")}
    rows = rows.filter(total).drop_nulls(["energy", "energy_unit", "_asked"]).with_columns(**days).join(
        with_days(energy_sum).select(*keys, "calorific_tce", "equivalent_tce"), on=keys, maintain_order="left",
    )
    units = {unit: factor(unit, "tce") for unit in rows["energy_unit"].unique()}
    scale = pl.col("energy_unit").replace_strict(units, default=None, return_dtype=pl.Float64())
    asked = pl.when(pl.col("_asked") == "equivalent").then("equivalent_tce").otherwise("calorific_tce")
    other = pl.when(pl.col("_asked") == "equivalent").then("calorific_tce").otherwise("equivalent_tce")
    given, rounded = pl.col("energy") * scale, (_rounding("energy") * scale) * (1 + 1e-9)
    found = rows.with_columns(_sum=asked, _mixed=(given - other).abs() <= rounded).filter((given - pl.col("_sum")).abs() > rounded)
    for at, energy, unit, basis, total_tce, mixed in found.select("_at", "energy", "energy_unit", "_asked", "_sum", "_mixed").iter_rows():
        what = f"{energy:.12g} {unit} is not the {basis} energy of the sum, which is {total_tce:.12g} tce"
        yield at, "energy", what + (", but that on the other basis" if mixed else ""), "Leave it empty: it is taken from the energy sum."
