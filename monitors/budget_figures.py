"""What regions, parks and enterprises used by month, measure by measure, for their budgets."""

from collections.abc import Collection
from datetime import date
from typing import Final

import polars as pl

from config import schemas
from config.budgets import LEVEL_PATTERN
from config.calendar import is_period
from config.phrases import with_chinese
from monitors.coefficients import FRESH_WATER
from monitors.energy import figures, sum_energy
from monitors.numbers import whole_sum

VALUE_ADDED: Final = "value_added_10k_cny"
NAMED: Final = 3  # enterprises that a reason names; the rest is counted
_ASSESSED: Final = ("assessment_calorific_tce", "assessment_equivalent_tce")
_ENERGY: Final = ("calorific_tce", "equivalent_tce", *_ASSESSED)
_ADDED: Final = ("calorific_tce", "equivalent_tce")  # what an approval tells
_BUDGET: Final = ["level", "subject", "measure", "period"]
PLACE: Final = ["enterprise", "park", "period"]
_SHARE: Final = "renewable_electricity_ratio"  # of the electricity, both on the calorific basis
_DIVIDED: Final = {"water_m3_per_10k_cny": "fresh_water_m3", _SHARE: "renewable_electricity_tce"} | {f"{name}_per_10k_cny": name for name in _ENERGY}
_DIVISORS: Final = {_SHARE: "electricity_tce"}  # of other levels: value added


def subjects(budgets: pl.DataFrame, present: pl.DataFrame, parks: pl.DataFrame) -> pl.DataFrame:
    """level, subject, enterprise, park, period: whose figures add up to those of each subject of a budget, month by month.

    Parks and regions have the part of an enterprise that lies in them (`park`); an enterprise has all of itself, in every month (both null).
    A region has the parks whose code begins with its own, less the zeros that stand for "all of it": 150000 has all of 15, 150400 all of 1504.

    Args:
        budgets: BUDGET.
        present: enterprise, park, period (a month).
        parks: park, region.

    >>> goal = pl.DataFrame({"level": ["region"], "subject": ["150400"]})
    >>> lying = pl.DataFrame({"enterprise": ["E1", "E2"], "park": ["a", "b"], "period": "2025-01"})
    >>> subjects(goal, lying, pl.DataFrame({"park": ["a", "b"], "region": ["150402", "150602"]}))["enterprise"].to_list()
    ['E1']
    """
    wanted = budgets.select("level", "subject").unique(maintain_order=True)
    lying = present.select("enterprise", "park", "period").join(parks.select("park", "region"), on="park", how="left")
    nowhere = pl.lit(None, dtype=pl.String())
    own = wanted.filter(pl.col("level") == "enterprise").with_columns(enterprise="subject", park=nowhere, period=nowhere)
    of_park = wanted.filter(pl.col("level") == "park").join(lying.with_columns(subject="park"), on="subject")
    of_region = wanted.filter(pl.col("level") == "region").join(lying.filter(pl.col("region").is_not_null()), how="cross").filter(_inside())
    return pl.concat(part.select("level", "subject", "enterprise", "park", "period") for part in (own, of_park, of_region)).unique(
        maintain_order=True
    )


def actuals(
    budgets: pl.DataFrame, members: pl.DataFrame, sums: pl.DataFrame, carriers: pl.DataFrame, values: pl.DataFrame, coal: Collection[str],
    carbon: pl.DataFrame, energy_figures: pl.DataFrame,
) -> pl.DataFrame:
    """The measures of all budgets by subject and month. A sum of which one member's part is not known is not known, and says whose.

    The value added of an enterprise that lies in several parks in a month counts where the figures name each of them.

    Args:
        budgets: BUDGET.
        members: level, subject, enterprise, park, period, as `subjects` gives them.
        sums: enterprise, park (null: all of the enterprise), period and ENERGY_SUM; only months are taken.
        carriers: the same of ENERGY, optionally with `renewable_ratio`.
        values: FIGURE; value added by month. A month without value added is left out of levels.
        coal: the carriers that are coal.
        carbon: enterprise, park, period, emissions_t, missing, source.
        energy_figures: ENERGY_FIGURE; `assessment` is what the dual-control assessment counts.

    Returns:
        ACTUAL.
    """
    wanted = budgets.select("level", "subject", "measure").unique(maintain_order=True)
    measured = _by_enterprise(sums, carriers, coal, carbon, energy_figures)
    months = measured.select("period").unique()
    always, by_month = members.filter(pl.col("period").is_null()).drop("period"), members.join(months, on="period", how="semi")
    lying = pl.concat([always.join(months, how="cross"), by_month.select(*always.columns, "period")])
    measured = pl.concat([measured, _values(values, measured.select(PLACE).unique())], how="diagonal")
    grid = wanted.join(lying, on=["level", "subject"]).with_columns(
        _of=pl.col("measure").replace(_DIVIDED), _by=pl.col("measure").replace_strict(_DIVISORS, default=VALUE_ADDED),
        _is_level=pl.col("measure").str.contains(LEVEL_PATTERN),
    )
    divisor = measured.select(*PLACE, _by="measure", per="actual")
    rows = grid.join(measured.rename({"measure": "_of"}), on=[*PLACE, "_of"], how="left", nulls_equal=True).join(
        divisor, on=[*PLACE, "_by"], how="left", nulls_equal=True
    )
    unknown = pl.col("enterprise").filter(pl.col("actual").is_null()).unique().sort()
    more = pl.when(unknown.len() > NAMED).then(pl.format(" and {} more", unknown.len() - NAMED)).otherwise(pl.lit(""))
    weight = pl.col("actual").abs()
    summed = rows.group_by("subject", "measure", "period", maintain_order=True).agg(
        actual=whole_sum("actual"),
        per=whole_sum("per"), _is_level=pl.col("_is_level").first(),
        covered_ratio=pl.when(weight.sum() > 0).then((weight * pl.col("covered_ratio").fill_null(1.0)).sum() / weight.sum()),
        missing=pl.when(unknown.len() > 0).then(pl.concat_str(pl.lit("no figure of "), unknown.head(NAMED).str.join(", "), more)),
        _why=pl.col("missing").filter(pl.col("actual").is_null()).drop_nulls().first(),
        source=pl.col("source").drop_nulls().unique().sort().str.join("; ").replace("", None),
    ).with_columns(per=pl.when("_is_level").then("per"))
    why = pl.concat_str(pl.lit(" ("), "_why", pl.lit(")"))
    told = summed.filter(~pl.col("_is_level") | (pl.col("per") > 0)).with_columns(missing=pl.col("missing") + why.fill_null(""))
    return schemas.conform(told.sort("subject", "measure", "period"), schemas.ACTUAL)


def _values(values: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """enterprise, park, period, measure, actual: the value added of each place by month."""
    keys = ["enterprise", "period"]
    months = values.filter(is_period("month"))
    total = whole_sum(VALUE_ADDED)
    whole, parted = months.group_by(keys).agg(_whole=total), months.group_by(PLACE).agg(_part=total)
    rows = places.join(whole, on=keys, how="left").join(parted, on=PLACE, how="left")
    lone = pl.col("park").is_null() | (pl.col("park").is_not_null().sum().over(keys) == 1)
    named = (pl.col("_part").is_not_null() | pl.col("park").is_null()).all().over(keys)
    value = pl.when(lone).then("_whole").when(named).then("_part")
    return rows.select(*PLACE, measure=pl.lit(VALUE_ADDED), actual=value)


def additions(budgets: pl.DataFrame, expected: pl.DataFrame, parks: pl.DataFrame, on: date) -> pl.DataFrame:
    """What projects that do not operate yet will add from a day on, of the budgets in tce by year or month that are not over then.

    Args:
        budgets: level, subject, measure, period; measures other than `calorific_tce` and `equivalent_tce` are left out, since no approval tells them.
        expected: EXPECTED_ENERGY from the day's month on.
        parks: park, region.
        on: the day.

    Returns:
        level, subject, measure, period, expected_tce, expected_missing (project: why), expected_missing_zh, expected_source; a budget that no
        project concerns has no row. With one project that cannot be told there is no sum.
    """
    asked = budgets.select(_BUDGET).unique(maintain_order=True).filter(
        pl.col("measure").is_in(_ADDED), pl.col("period").str.len_chars() <= len("2026-01"),
        pl.col("period") >= pl.lit(on.isoformat()).str.head(pl.col("period").str.len_chars()),
    )
    projects = expected.join(parks.select("park", "region"), on="park", how="left").rename({"period": "_month"})
    inside = (
        pl.when(pl.col("level") == "enterprise").then(pl.col("enterprise") == pl.col("subject"))
        .when(pl.col("level") == "park").then(pl.col("park") == pl.col("subject")).otherwise(_inside())
    )
    rows = asked.join(projects, how="cross").filter(inside, pl.col("_month").str.starts_with(pl.col("period")).fill_null(value=True)).with_columns(
        _tce=pl.when(pl.col("measure") == "calorific_tce").then("calorific_tce").otherwise("equivalent_tce")
    )
    unknown = pl.col("_tce").is_null()
    return rows.group_by(_BUDGET, maintain_order=True).agg(
        expected_tce=pl.when(~unknown.any()).then(pl.col("_tce").sum()),
        expected_missing=pl.when(unknown.any()).then(
            pl.format("{}: {}", "project", "missing").filter(unknown).unique(maintain_order=True).str.join("; ")
        ),
        expected_source=pl.col("source").drop_nulls().unique(maintain_order=True).str.join("; "),
    ).pipe(with_chinese, "expected_missing")


def _inside() -> pl.Expr:
    """Whether a park's region lies in that of the subject: its code begins with the subject's less the zeros that stand for all of it."""
    return pl.col("region").str.starts_with(pl.col("subject").str.replace(r"(00)+$", ""))


def _by_enterprise(
    sums: pl.DataFrame, carriers: pl.DataFrame, coal: Collection[str], carbon: pl.DataFrame, energy_figures: pl.DataFrame,
) -> pl.DataFrame:
    """enterprise, park, measure, period, actual, covered_ratio, missing (why the energy is not known), source."""
    month = is_period("month")
    burnt = sum_energy(carriers.filter(month, pl.col("carrier").is_in(list(coal))), PLACE).select(*PLACE, coal_tce="calorific_tce")
    power = sum_energy(carriers.filter(month, pl.col("carrier") == "electricity"), PLACE).select(
        *PLACE, electricity_tce="calorific_tce", renewable_electricity_tce=pl.col("renewable_tce").fill_null(0.0),
    )
    of_measure = {"electricity_kwh": ("electricity",), "fresh_water_m3": FRESH_WATER, "coal_tce": coal}
    used = carriers.filter(month).group_by(PLACE).agg(
        pl.col("carrier").is_in(list(names)).any().alias(f"_{name}") for name, names in of_measure.items()
    )
    assessed = figures(sums.filter(month), energy_figures.filter(pl.col("figure") == "assessment"))
    wide = assessed.select(
        *PLACE, *_ENERGY, "electricity_kwh", "fresh_water_m3", "covered_ratio", "missing", "figures_missing",
    )
    for part in (burnt, power, carbon.select(*PLACE, "source", carbon_tco2="emissions_t", _carbon="missing"), used):
        wide = wide.join(part, on=PLACE, how="left", nulls_equal=True)
    wide = wide.with_columns(
        # Where the energy is known, what has no row was not used.
        pl.when(pl.col(f"_{name}").fill_null(value=False)).then(name).otherwise(pl.col(name).fill_null(0.0)).alias(name) for name in of_measure
    ).drop(f"_{name}" for name in of_measure)
    index = [*PLACE, "covered_ratio", "missing", "figures_missing", "_carbon", "source"]
    told = wide.unpivot(index=index, variable_name="measure", value_name="actual")
    of_carbon = pl.col("measure") == "carbon_tco2"
    why = pl.when(of_carbon).then("_carbon").when(pl.col("measure").is_in(_ASSESSED)).then(
        pl.coalesce("figures_missing", "missing")
    ).otherwise("missing")
    return told.with_columns(missing=why, source=pl.when(of_carbon).then("source")).drop("_carbon", "figures_missing")
