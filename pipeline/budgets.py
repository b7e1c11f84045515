"""The budgets of a site against what its results say was used."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from config import budgets, carbon, coal_equivalents, energy_figures, schemas
from config.calendar import is_period
from monitors.budget_figures import PLACE, actuals, subjects
from monitors.budgets import early_warnings
from monitors.carbon import carbon as emissions
from monitors.energy import sum_energy
from monitors.forecast import forecast_months
from pipeline.site import Site


class Budgeted(NamedTuple):
    """What early warnings follow from, besides the results."""

    budgets: pl.DataFrame  # BUDGET
    parks: pl.DataFrame  # park, region, grid_region
    rules: pl.DataFrame  # WARNING_RULE
    consequences: pl.DataFrame  # CONSEQUENCE
    factors: pl.DataFrame  # CARBON_FACTOR
    energy_figures: pl.DataFrame  # ENERGY_FIGURE
    coal: frozenset[str]
    media: tuple[str, ...]  # carriers that are consumed media


def budgeted(site: Site) -> Budgeted:
    """The site's budgets with the tables that they are judged by."""
    rows = coal_equivalents.coefficient_rows(site.settings.site.tables_dir)
    rules, follows, factors, named = tables_of(site)
    return Budgeted(
        site.reported.budgets.frame(), site.register.parks().select("park", "region", "grid_region"), rules, follows, factors, named,
        frozenset(row.carrier for row in rows if row.medium == "coal"), tuple(sorted({row.carrier for row in rows if row.role == "consumed_medium"})),
    )


def tables_of(site: Site) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The tables that early warnings rest on: WARNING_RULE, CONSEQUENCE, CARBON_FACTOR, ENERGY_FIGURE."""
    folder = site.settings.site.tables_dir
    return budgets.warning_rules(folder), budgets.consequences(folder), carbon.carbon_factors(folder), energy_figures.energy_figures(folder)


def budget_results(
    known: Budgeted, sums: pl.DataFrame, carriers: pl.DataFrame, located: pl.DataFrame, lying: pl.DataFrame, figures: pl.DataFrame, today: date,
) -> Mapping[str, pl.DataFrame]:
    """WARNING of the site's budgets as of the end of yesterday, and BUDGET_MONTH of what they measure.

    Args:
        known: the budgets and their tables.
        sums: enterprise, period, ENERGY_SUM.
        carriers: ENERGY with `renewable_ratio` and `new_renewable_ratio`.
        located: the months of `carriers` by the park in which they were used, with `park`.
        lying: enterprise, park, period: where each enterprise lies in each month.
        figures: FIGURE.
        today: the local day.
    """
    if known.budgets.is_empty():
        return {"budgets": schemas.empty(schemas.WARNING), "budget_months": schemas.empty(schemas.BUDGET_MONTH)}
    nowhere, on = pl.lit(None, dtype=pl.String()).alias("park"), today - timedelta(days=1)
    by_month = is_period("month")
    parts, rows = [sums.filter(by_month).with_columns(nowhere)], [carriers.filter(by_month).with_columns(nowhere)]
    if not known.budgets.filter(pl.col("level") != "enterprise").is_empty():
        parts.append(sum_energy(located, PLACE))
        rows.append(located)
    emitted = _carbon(known, located)
    there = pl.concat([lying, located.select(lying.columns)]).unique()  # what was measured of no site lies at home
    used = actuals(
        known.budgets, subjects(known.budgets, there, known.parks), pl.concat(parts, how="diagonal"), pl.concat(rows, how="diagonal"), figures,
        known.coal, emitted, known.energy_figures,
    )
    return {
        "budgets": early_warnings(known.budgets, used, known.rules, on, consequences=known.consequences),
        "budget_months": schemas.conform(forecast_months(used, ["subject", "measure"], on), schemas.BUDGET_MONTH),
    }


def _carbon(known: Budgeted, located: pl.DataFrame) -> pl.DataFrame:
    """enterprise, park (null: all of it), period, emissions_t, missing, source by month, where a budget asks for it.

    Grid electricity has the factor of the park's grid region, the national one where the register names none; `source` says which.
    """
    shape = pl.Schema({**dict.fromkeys(PLACE, pl.String()), "emissions_t": pl.Float64(), "missing": pl.String(), "source": pl.String()})
    if "carbon_tco2" not in known.budgets["measure"]:
        return schemas.empty(shape)
    rows = located.join(known.parks.select("park", "grid_region"), on="park", how="left")
    # The core sums by enterprise and year; a key of place and month gives both.
    whole = rows.with_columns(park=pl.lit(None, dtype=pl.String()))
    keyed = pl.concat([whole, rows]).with_columns(_key=pl.struct(PLACE).rank("dense").cast(pl.String()))
    region = pl.when(pl.col("carrier") == carbon.GRID).then(pl.col("grid_region").fill_null(carbon.NATIONAL))
    strange = ~region.is_in(pl.concat([known.factors["region"], known.factors["region_zh"]]).drop_nulls().implode())
    places = keyed.group_by("_key").agg(
        pl.col(PLACE).first(), _regions=region.drop_nulls().unique().sort().str.join(", "),
        _strange=pl.format("{} is no grid region of the CO2 factors", region.filter(strange).drop_nulls().unique().sort().first()),
    )
    keyed = keyed.with_columns(enterprise="_key")
    years = sorted({int(period[:4]) for period in located["period"]})
    found = [emissions(keyed, known.factors, year, media=known.media) for year in years]
    said = pl.when(pl.col("factor_year").is_not_null()).then(pl.format("CO2 of grid electricity by the factor of {} ({})", "_regions", "factor_year"))
    named = (one.rename({"enterprise": "_key"}).join(places, on="_key") for one in found)
    told = (one.with_columns(source=said, missing=pl.coalesce("_strange", "missing")) for one in named)
    return pl.concat([schemas.empty(shape), *(one.select(shape.names()) for one in told)])
