"""Benchmark (标杆) and baseline (基准) energy efficiency levels of the NDRC: shown beside a verdict, never a legal finding."""

from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal

import polars as pl

from config import schemas
from config.limit_tables import LIMIT_UNITS
from config.tables import Code, Confidence, Number, Source, TableRow, Text, framed, load, one_of


class BenchmarkRow(TableRow):
    """Benchmark and baseline level of one product; empty ones were not found. The edition has no date: a row is in force on no day."""

    product: Code
    indicator: Code
    feedstock: Literal["included", "excluded"] | None = None
    edition: Text
    unit: Annotated[str, one_of(LIMIT_UNITS)] | None = None
    benchmark: Number | None = None
    baseline: Number | None = None
    sector_zh: Text
    product_zh: Text
    product_en: Text | None = None
    source: Source
    confidence: Confidence
    remark: str = ""

    @property
    def key(self) -> tuple[str, str, str | None, str]:
        return self.product, self.indicator, self.feedstock, self.edition

    def holds_on(self, day: date) -> bool:  # noqa: ARG002 - on no day
        return False


MODELS: Final[dict[str, type[TableRow]]] = {"benchmarks": BenchmarkRow}


def benchmarks(site_dir: Path | None = None) -> pl.DataFrame:
    """Benchmark and baseline levels as BENCHMARK, one row for each product, indicator and feedstock.

    These three are those of `limits` where both tables mean the same. A row of the site's folder comes before a shipped one, and of
    the site's own the last.

    Raises:
        BadInputError: rows that do not fit, all of them.

    >>> benchmarks().filter(product="blast_furnace").select("benchmark", "baseline", "edition").row(0)
    (361.0, 435.0, '2021 and 2023')
    """
    base, own = load("benchmarks", BenchmarkRow, site_dir)
    return framed([*base, *own], schemas.BENCHMARK).unique(["product", "indicator", "feedstock"], keep="last", maintain_order=True)
