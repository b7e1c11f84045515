"""The budgets of a site against what its results say was used."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from config import budgets, carbon, coal_equivalents, energy_figures, schemas
from monitors.budget_figures import actuals, subjects
from monitors.budgets import early_warnings
from monitors.carbon import carbon as emissions
from monitors.forecast import forecast_months
from pipeline.site import Site


class Budgeted(NamedTuple):
    """What early warnings follow from, besides the results."""

    budgets: pl.DataFrame  # BUDGET
    members: pl.DataFrame  # level, subject, enterprise
    rules: pl.DataFrame  # WARNING_RULE
    consequences: pl.DataFrame  # CONSEQUENCE
    factors: pl.DataFrame  # CARBON_FACTOR
    energy_figures: pl.DataFrame  # ENERGY_FIGURE
    coal: frozenset[str]
    media: tuple[str, ...]  # carriers that are consumed media


def budgeted(site: Site) -> Budgeted:
    """The site's budgets with the tables that they are judged by."""
    goals, rows = site.reported.budgets.frame(), coal_equivalents.coefficient_rows(site.settings.site.tables_dir)
    rules, follows, factors, named = tables_of(site)
    return Budgeted(
        goals, subjects(goals, site.register.enterprises(), site.register.parks()), rules, follows, factors, named,
        frozenset(row.carrier for row in rows if row.medium == "coal"), tuple(sorted({row.carrier for row in rows if row.role == "consumed_medium"})),
    )


def tables_of(site: Site) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The tables that early warnings rest on: WARNING_RULE, CONSEQUENCE, CARBON_FACTOR, ENERGY_FIGURE."""
    folder = site.settings.site.tables_dir
    return budgets.warning_rules(folder), budgets.consequences(folder), carbon.carbon_factors(folder), energy_figures.energy_figures(folder)


def budget_results(
    known: Budgeted, sums: pl.DataFrame, carriers: pl.DataFrame, figures: pl.DataFrame, today: date,
) -> Mapping[str, pl.DataFrame]:
    """WARNING of the site's budgets as of the end of yesterday, and BUDGET_MONTH of what they measure.

    Args:
        known: the budgets and their tables.
        sums: enterprise, period, ENERGY_SUM.
        carriers: ENERGY.
        figures: FIGURE.
        today: the local day.
    """
    if known.budgets.is_empty():
        return {"budgets": schemas.empty(schemas.WARNING), "budget_months": schemas.empty(schemas.BUDGET_MONTH)}
    emitted, on = _carbon(known, carriers), today - timedelta(days=1)
    used = actuals(known.budgets, known.members, sums, carriers, figures, known.coal, emitted, known.energy_figures)
    return {
        "budgets": early_warnings(known.budgets, used, known.rules, on, consequences=known.consequences),
        "budget_months": schemas.conform(forecast_months(used, ["subject", "measure"], on), schemas.BUDGET_MONTH),
    }


def _carbon(known: Budgeted, carriers: pl.DataFrame) -> pl.DataFrame:
    """enterprise, period, emissions_t, missing by month, where a budget asks for it: of the energy, with the national factor of grid electricity."""
    shape = pl.Schema({"enterprise": pl.String(), "period": pl.String(), "emissions_t": pl.Float64(), "missing": pl.String()})
    if "carbon_tco2" not in known.budgets["measure"]:
        return schemas.empty(shape)
    months = carriers.filter(pl.col("period").str.len_chars() == 7)
    # The core sums by enterprise and year; a key of both gives months.
    keyed = months.with_columns(enterprise=pl.concat_str("enterprise", "period", separator="/"))
    years = sorted({int(period[:4]) for period in months["period"]})
    found = [emissions(keyed, known.factors, year, media=known.media)for year in years]
    key = pl.col("enterprise").str.split("/")
    split = [one.with_columns(enterprise=key.list.first(), period=key.list.last()).select(shape.names()) for one in found]
    return pl.concat([schemas.empty(shape), *split])
