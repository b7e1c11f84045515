"""When a limit's excess becomes a case. Pure."""

from collections.abc import Collection
from datetime import date, datetime
from typing import Final

import polars as pl

from alerts.compose import case_texts
from alerts.rules import MAX_ESTIMATED_RATIO, MIN_COVERED_RATIO, binding_limit, verdict_facts
from config.findings import CaseOpened

_OF_ONE_YEAR: Final = ["enterprise", "product", "indicator", "line", "plant_status", "year"]


def cases_from(verdicts: pl.DataFrame, existing_keys: Collection[str], *, today: date, at: datetime) -> list[CaseOpened]:
    """The cases that verdicts open as suspected (内政发〔2019〕21号 art. (六); decisions.md 1, 3, 6, 18).

    A case needs a national standard, a limit row that the site has confirmed (`binding`), a calendar year that is over, and
    complete data, or a measured part that exceeds alone. A limit within the figure's expanded uncertainty is verified first and opens
    none. A year that an edition's change divides is judged part by part.

    Args:
        verdicts: VERDICT, optionally with names (`enterprise_zh`, `product_en`, ...) and `confirmed_by`, `copy` of the confirmation.
        existing_keys: keys of the cases that exist in whatever state; none is opened twice.
        today: the local day; a year is over when its last day lies before.
        at: the instant that the cases carry.

    Returns:
        New cases, ordered by key, with the verdict row as frozen evidence.
    """
    year = pl.col("period_end").dt.year()
    closed = verdicts.filter(pl.col("period_start").dt.year() == year, pl.date(year, 12, 31) < today).with_columns(limit=binding_limit(), year=year)
    complete = (pl.col("covered_ratio") >= MIN_COVERED_RATIO) & (pl.col("estimated_ratio") <= MAX_ESTIMATED_RATIO)
    exceeded = closed.join(_whole_years(closed), on=_OF_ONE_YEAR, how="semi", nulls_equal=True).filter(
        pl.col("standing") == "binding",
        pl.col("standard").str.starts_with("GB "),  # baseline and local values open no case
        ~pl.col("within_uncertainty").fill_null(value=False),
        (pl.col("verdict") == "exceeds_measured_alone") | ((pl.col("verdict") == "exceeds") & complete),
    )
    found = []
    for row in exceeded.iter_rows(named=True):
        facts = {**verdict_facts(row), "enterprise": row["enterprise"]}
        text_zh, text_en = case_texts(facts)
        found.append(CaseOpened(
            enterprise=row["enterprise"], product=row["product"], indicator=row["indicator"], standard=row["standard"], edition=row["edition"],
            period_start=row["period_start"], period_end=row["period_end"], at=at, text_zh=text_zh, text_en=text_en, facts=facts,
            line=row["line"],
        ))
    return sorted((case for case in found if case.key not in existing_keys), key=lambda case: case.key)


def _whole_years(verdicts: pl.DataFrame) -> pl.DataFrame:
    """What is judged for a whole year: one span for each edition, together every day. Months or a part of a year warn, no more."""
    spans = verdicts.unique([*_OF_ONE_YEAR, "standard", "period_start", "period_end"])
    days = (pl.col("period_end") - pl.col("period_start")).dt.total_days().sum() + pl.len()
    judged = spans.group_by(_OF_ONE_YEAR).agg(days=days, one_for_each_edition=pl.len() == pl.col("standard").n_unique())
    days_of_year = (pl.date(pl.col("year") + 1, 1, 1) - pl.date("year", 1, 1)).dt.total_days()
    return judged.filter(pl.col("days") == days_of_year, pl.col("one_for_each_edition"))
