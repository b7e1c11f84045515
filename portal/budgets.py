"""Read models of budgets, running verdicts and what would bring a level, within a scope."""

from datetime import date
from typing import Any, Final

import polars as pl

from config import budgets as law
from config.calendar import period_days
from config.schemas import BUDGET_MONTH, RUNNING, WARNING, conform
from monitors.budget_figures import additions
from monitors.running import PERIOD_KINDS, what_if
from pipeline.enterprises import expected_energy
from pipeline.site import Site
from portal.scope import Scope

SHAPE: Final = pl.Schema({**WARNING, "unit": pl.String()})
EXPECTED: Final = pl.Schema({
    "expected_tce": pl.Float64(), "expected_missing": pl.String(), "expected_missing_zh": pl.String(), "expected_source": pl.String(),
})
_RANK: Final = {"red": 0, "yellow": 1, "green": 3}  # without a colour: 2


def warnings(site: Site, scope: Scope) -> pl.DataFrame:
    """WARNING with `unit` of the budgets that the scope may see: of its enterprises and parks, of regions whoever sees everything; red first."""
    rows = site.derived.result("budgets", WARNING)
    seen = [
        scope.rows(rows.filter(pl.col("level") == level).with_columns(pl.col("subject").alias(level))).select(WARNING.names())
        for level in ("enterprise", "park")
    ]
    nobody = rows.filter(pl.col("level") == "region").with_columns(enterprise=pl.lit(None, dtype=pl.String()))
    mine = pl.concat([*seen, scope.rows(nobody).select(WARNING.names())])
    rank = pl.col("colour").replace_strict(_RANK, default=2, return_dtype=pl.Int8())
    unit = pl.col("measure").replace_strict(law.MEASURES, default=None, return_dtype=pl.String())
    return conform(mine.with_columns(unit=unit).sort("period", rank, "subject", "measure", descending=[True, False, False, False]), SHAPE)


def with_expected(site: Site, rows: pl.DataFrame, today: date) -> pl.DataFrame:
    """What `warnings` gave with EXPECTED: what projects that do not operate yet will add from today to the end of the period.

    It is no part of the forecast, which follows from what was used. Empty in all of its columns: no project is coming, the period is over,
    or the measure is none that an approval tells.
    """
    last = max((period_days(period)[1] for period in rows["period"].unique()), default=today)
    found = additions(rows, expected_energy(site, today, last, today), site.register.parks(), today)
    both = rows.join(found, on=["level", "subject", "measure", "period"], how="left", maintain_order="left")
    return conform(both, pl.Schema({**SHAPE, **EXPECTED}))


def months(site: Site, shown: pl.DataFrame) -> pl.DataFrame:
    """BUDGET_MONTH of what these budgets (WARNING) measure."""
    rows = site.derived.result("budget_months", BUDGET_MONTH)
    return rows.join(shown.select("subject", "measure").unique(), on=["subject", "measure"], how="semi").sort("subject", "measure", "period")


def drawn(by_month: pl.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """(subject, measure) -> periods, what is known of them and what is forecast, for a chart."""
    return {
        (str(subject), str(measure)): {
            "periods": part["period"].to_list(), "known": part.select(pl.when("known").then("value")).to_series().to_list(),
            "forecast": part.select(pl.when(~pl.col("known")).then("value")).to_series().to_list(),
        }
        for (subject, measure), part in by_month.group_by(["subject", "measure"], maintain_order=True)
    }


def running(site: Site, scope: Scope) -> pl.DataFrame:
    """RUNNING of the visible enterprises: forecast first, then the periods from the longest to the months, the newest first."""
    rows = scope.rows(site.derived.result("running", RUNNING))
    order = {kind: at for at, kind in enumerate(reversed(PERIOD_KINDS))}
    rank = pl.col("period_kind").replace_strict(order, default=None, return_dtype=pl.Int8())
    return rows.sort("enterprise", "product", "indicator", "line", rank, "period_end", descending=[False] * 5 + [True], nulls_last=False)


def levels(rows: pl.DataFrame) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """(product, indicator, line, period_start, period_end, standard) of RUNNING -> WHAT_IF of its levels; of months none."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    keys = ("product", "indicator", "line", "period_start", "period_end", "standard")
    for one in what_if(rows.filter(pl.col("period_kind") != "month")).unique([*keys, "level"], maintain_order=True).iter_rows(named=True):
        found.setdefault(tuple(one[name] for name in keys), []).append(one)
    return found
