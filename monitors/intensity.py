"""Energy and water for each 10,000 yuan of value added: sum over sum (evaluation_methods 2 and 4; decisions.md 15 and 16)."""

from collections.abc import Sequence
from typing import Final, Literal

import polars as pl

from config import schemas
from monitors.limits import MIN_COVERED_RATIO

RATIOS: Final = {  # measure -> what it divides by value added
    "calorific_tce_per_10k_cny": "calorific_tce", "equivalent_tce_per_10k_cny": "equivalent_tce",
    "water_m3_per_10k_cny": "fresh_water_m3", "all_water_m3_per_10k_cny": "_all_water",
}
NAMES: Final = {"calorific_tce": "calorific energy", "equivalent_tce": "equivalent energy", "fresh_water_m3": "fresh water", "_all_water": "water"}
VALUE: Final = "value_added_10k_cny"
LENGTHS: Final = {len("2026"): "year", len("2026-01"): "month", len("2026-01-01"): "day"}


def intensity(energy_sum: pl.DataFrame, figures: pl.DataFrame, by: Literal["enterprise", "park"]) -> pl.DataFrame:
    """Divide energy and water by value added, for enterprises or parks and each period that the figures name.

    Sum over sum, never a mean of ratios. Numerator and denominator of each measure cover the same enterprises: one without
    value added, or without that energy or water, is in neither and is named in `missing`. Value added at or below zero in total,
    or figures of several price bases in one park, give no number. Energy of other periods than the figure, such as months beside a year, is
    not added up here: `missing` says so. Energy of which less than 90 % is covered is the measured part only, and `missing` says that too.

    Args:
        energy_sum: enterprise, period and ENERGY_SUM; one row for each enterprise and period.
        figures: FIGURE. An enterprise with figures in two parks in one period is in neither: its energy cannot be divided.
        by: the subject.

    Returns:
        The subject column, then INTENSITY. `coverage_ratio` is the share of value added whose enterprise has calorific energy;
        `covered_ratio` the metering coverage, weighted by that energy.
    """
    sums = schemas.conform(energy_sum, pl.Schema({"enterprise": pl.String(), "period": pl.String(), **schemas.ENERGY_SUM}))
    shares = pl.len().over("enterprise", "period")  # an enterprise's energy counts once, however many rows its value added has
    rows = (
        schemas.conform(figures, schemas.FIGURE)
        .filter(pl.col(by).is_not_null())
        .join(sums, on=["enterprise", "period"], how="left")
        .join(_other_periods(figures, sums), on=["enterprise", "period"], how="left", maintain_order="left")
        .with_columns(pl.col("calorific_tce", "equivalent_tce", "fresh_water_m3", "unconventional_water_m3") / shares)
        .with_columns(
            _all_water=pl.when(pl.any_horizontal(pl.col("fresh_water_m3", "unconventional_water_m3").is_not_null()))
            .then(pl.sum_horizontal("fresh_water_m3", "unconventional_water_m3")),
            _parks=pl.col("park").n_unique().over("enterprise", "period"),
        )
    )
    valued = pl.col(VALUE).is_not_null()
    if by == "park":
        valued &= pl.col("_parks") == 1
    rows = rows.with_columns(_valued=valued, **{VALUE: pl.when(valued).then(VALUE)})
    with_energy = pl.col("_valued") & pl.col("calorific_tce").is_not_null()
    weight = pl.col("calorific_tce").abs()
    total = pl.col(VALUE).sum()
    bases = pl.struct("price_basis", "base_year").filter("_valued").n_unique()
    # Where value added does not come to more than zero, or mixes price bases, a ratio to it says nothing.
    usable = (bases == 1) & (total > 0)
    groups = rows.sort(by, "period", "enterprise").group_by(by, "period", maintain_order=True).agg(
        *(_ratio(source, usable).alias(name) for name, source in RATIOS.items()),
        *(pl.when(bases == 1).then(pl.col(name).filter("_valued").first()).alias(name) for name in ("price_basis", "base_year")),
        coverage_ratio=pl.when(usable).then(pl.col(VALUE).filter(with_energy).sum() / total),
        covered_ratio=pl.when(weight.filter(with_energy).sum() > 0)
        .then((weight * pl.col("covered_ratio").fill_null(1.0)).filter(with_energy).sum() / weight.filter(with_energy).sum()),
        missing=pl.concat_list(_reasons(by, total, bases)),
    )
    # The reasons of the energy sum explain an enterprise's empty basis; a park's row names the enterprise instead.
    return groups.with_columns(missing=pl.when(pl.col("missing").list.drop_nulls().list.len() > 0).then(
        pl.col("missing").list.drop_nulls().list.join("; ")
    )).select(by, *schemas.INTENSITY)


def _other_periods(figures: pl.DataFrame, sums: pl.DataFrame) -> pl.DataFrame:
    """Of each enterprise and period of the figures whose energy stands in longer or shorter periods only: `_lengths`, as the reason names it."""
    energy_period, period = pl.col("_energy_period"), pl.col("period")
    asked = figures.select("enterprise", "period").unique().join(sums, on=["enterprise", "period"], how="anti")
    length = {
        name: pl.col(name).str.len_chars().replace_strict(LENGTHS, default=None, return_dtype=pl.String()) for name in ("_energy_period", "period")
    }
    return asked.join(sums.select("enterprise", _energy_period="period"), on="enterprise").filter(
        energy_period.str.starts_with(period) | period.str.starts_with(energy_period)
    ).sort(energy_period.str.len_chars()).group_by("enterprise", "period").agg(
        _lengths=pl.format("energy by {}, value added by {}", length["_energy_period"], length["period"]).first(),
    )


def _ratio(source: str, usable: pl.Expr) -> pl.Expr:
    both = pl.col("_valued") & pl.col(source).is_not_null()
    value = pl.col(VALUE).filter(both).sum()
    return pl.when(usable & both.any() & (value > 0)).then(pl.col(source).filter(both).sum() / value)


def _reasons(by: str, total: pl.Expr, bases: pl.Expr) -> Sequence[pl.Expr]:
    def listed(which: pl.Expr) -> pl.Expr:
        names = pl.col("enterprise").filter(which).unique(maintain_order=True)
        more = pl.when(names.len() > 5).then(pl.format(" and {} more", names.len() - 5)).otherwise(pl.lit(""))
        return pl.concat_str(names.head(5).str.join(", "), more)

    unvalued = pl.col(VALUE).is_null() & (pl.col("_parks") == 1 if by == "park" else pl.lit(value=True))
    reasons = [
        pl.when(unvalued.any()).then(pl.format("no value added of {}", listed(unvalued)) if by == "park" else pl.lit("no value added")),
        pl.when(bases > 1).then(pl.lit("figures of different price bases cannot be added")),
        pl.when((total <= 0) & pl.col("_valued").any()).then(pl.format("value added is {}: no intensity", total)),
    ]
    if by == "park":
        split = pl.col("_parks") > 1
        reasons.append(pl.when(split.any()).then(pl.format("in several parks, so in none: {}", listed(split))))
    apart = pl.col("_valued") & pl.col("_lengths").is_not_null()
    lengths = pl.col("_lengths").filter(apart).unique(maintain_order=True).str.join(", ")
    told = pl.format("{}: sum the energy by the period of the value added", lengths)
    reasons.append(pl.when(apart.any()).then(pl.format("{} ({})", told, listed(apart)) if by == "park" else told))
    partly = pl.col("_valued") & pl.col("calorific_tce").is_not_null() & (pl.col("covered_ratio") < MIN_COVERED_RATIO)
    if by == "park":
        reasons.append(pl.when(partly.any()).then(pl.format("the measured part only of {}", listed(partly))))
    else:
        part = pl.format("the measured part only, {} % covered", (100 * pl.col("covered_ratio").first()).round(1))
        reasons.append(pl.when(partly.any()).then(pl.concat_str(part, pl.format(" ({})", pl.col("missing").first()).fill_null(""))))
    for source, name in NAMES.items():
        without = pl.col("_valued") & pl.col(source).is_null()
        if by == "park":
            share = (100 * (pl.col(VALUE).filter(without).sum() / total)).round(1)
            of_value = pl.when(total > 0).then(pl.format(" ({} % of value added)", share)).otherwise(pl.lit(""))
            reasons.append(pl.when(without.any()).then(pl.format("no {} of {}{}", pl.lit(name), listed(without), of_value)))
        else:
            why = pl.when(source.endswith("_tce") & pl.col("missing").first().is_not_null()).then(pl.format(" ({})", pl.col("missing").first()))
            reasons.append(pl.when(without.any()).then(pl.concat_str(pl.lit(f"no {name}"), why.otherwise(pl.lit("")))))
    return reasons
