"""Daily consumption -> energy, intensity and verdicts, for days, months, years and the products of every enterprise."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import takewhile
from typing import Literal, NamedTuple

import polars as pl

from config import calendar, schemas
from monitors.energy import energy, sum_energy
from monitors.intensity import intensity
from monitors.limits import limits
from monitors.quantities import quantities
from pipeline.site import Site

FINGERPRINT = "evaluated"
EVALUATED_ON = "evaluated_on"


class _Law(NamedTuple):
    limits: pl.DataFrame  # LIMIT
    coefficients: pl.DataFrame  # COEFFICIENT
    confirmations: pl.DataFrame  # CONFIRMATION


@dataclass
class Evaluator:
    """Keeps the results equal to what the daily tables, the register, the figures and the tables of the law say."""

    site: Site
    clock: Callable[[], datetime]

    def once(self) -> bool:
        """Evaluate if anything has changed; whether it had."""
        law = _Law(self.site.limits(), self.site.coefficients(), self.site.confirmations.frame())
        today = calendar.local_day(self.clock(), self.site.settings.site.zone)
        fingerprint = self._fingerprint(law, today)
        if fingerprint == self.site.ledger.get_state(FINGERPRINT):
            return False
        for name, frame in evaluated(self.site, today, law).items():
            self.site.derived.write_result(name, frame)
        self.site.ledger.set_state(EVALUATED_ON, str(today))
        self.site.ledger.set_state(FINGERPRINT, fingerprint)
        return True

    def is_current(self) -> bool:
        """Whether the results are those of what the site has now."""
        law = _Law(self.site.limits(), self.site.coefficients(), self.site.confirmations.frame())
        today = calendar.local_day(self.clock(), self.site.settings.site.zone)
        return self._fingerprint(law, today) == self.site.ledger.get_state(FINGERPRINT)

    def _fingerprint(self, law: _Law, today: date) -> str:
        site = self.site
        tables = (table.hash_rows(seed=0).sum() for table in law)
        inputs = (site.derived.version("daily"), site.register.version(), site.figures.version(), str(today), *tables)
        return hashlib.sha256(repr(inputs).encode()).hexdigest()


def evaluated(site: Site, today: date, law: _Law | None = None) -> Mapping[str, pl.DataFrame]:
    """All results from the daily tables: energy, carriers, intensity, park_intensity, verdicts."""
    limit_table, coefficients, confirmations = law or _Law(site.limits(), site.coefficients(), site.confirmations.frame())
    zone = site.settings.site.zone
    days = site.derived.days("daily")
    daily = site.derived.read("daily", days[0], days[-1]).collect() if days else schemas.empty(schemas.INTERVAL)
    registers, assignments = site.register.registers(), site.register.assignments()
    # The running month and year are measured up to the start of today: later hours cannot be missing yet.
    until = calendar.day_span(today, zone)[0]

    def carried(by: Literal["day", "month", "year"], end: datetime) -> pl.DataFrame:
        return energy(quantities(daily.filter(pl.col("start") < end), registers, assignments, by=by, zone=zone, until=end), coefficients)

    by_grain = [carried("day", calendar.day_span(today, zone)[1]), carried("month", until), carried("year", until)]
    sums = pl.concat([sum_energy(rows, ["enterprise", "period"]) for rows in by_grain])
    products = _judged_periods(site.figures.outputs(), today)
    figures = site.figures.values()
    verdicts = limits(products, limit_table, confirmations, _product_energy(products, lambda last: carried("year", calendar.day_span(last, zone)[1])))
    return {
        "energy": sums.sort("enterprise", "period"),
        "carriers": pl.concat(by_grain[1:]).sort("enterprise", "period", "carrier"),
        "intensity": intensity(sums, figures, "enterprise"),
        "park_intensity": intensity(sums, figures, "park"),
        "verdicts": verdicts,
    }


def _product_energy(products: pl.DataFrame, carried_to: Callable[[date], pl.DataFrame]) -> pl.DataFrame:
    """ENERGY_SUM by enterprise, product and judged period: each measured over all of its days, those without data included."""
    keys = ["enterprise", "product"]
    parts = [schemas.empty(pl.Schema({**{name: schemas.PRODUCT[name] for name in (*keys, "period_start", "period_end")}, **schemas.ENERGY_SUM}))]
    for first, last in products.select("period_start", "period_end").unique().sort("period_end").iter_rows():
        rows = carried_to(last).filter(pl.col("period") == str(first.year), pl.col("product").is_not_null())
        parts.append(sum_energy(rows, keys).with_columns(period_start=pl.lit(first), period_end=pl.lit(last)).select(parts[0].columns))
    return pl.concat(parts)


def _judged_periods(outputs: pl.DataFrame, today: date) -> pl.DataFrame:
    """PRODUCT rows with `closed`: each year's output as far as it is reported (a yearly figure, else January to the last month in a row).

    A yearly figure of a year that is not over judges nothing yet. Further columns of `outputs` (parameters of limits) stay.
    """
    keys = [name for name in outputs.columns if name not in {"period", "output"}]
    rows = []
    dated = outputs.with_columns(year=pl.col("period").str.slice(0, 4).cast(pl.Int32))
    for key, group in dated.group_by([*keys, "year"], maintain_order=True):
        year = int(str(key[-1]))
        reported = dict(group.select("period", "output").iter_rows())
        months = list(takewhile(reported.__contains__, (f"{year}-{month:02d}" for month in range(1, 13))))
        if str(year) in reported and year < today.year:
            last, output = date(year, 12, 31), reported[str(year)]
        elif months:
            last, output = calendar.period_days(months[-1])[1], sum(reported[month] for month in months)
        else:
            continue
        if last < today:
            rows.append({
                **dict(zip(keys, key, strict=False)), "period_start": date(year, 1, 1), "period_end": last, "output": output,
                "closed": last == date(year, 12, 31),
            })
    further = {name: outputs.schema[name] for name in keys if name not in schemas.PRODUCT}
    shape = pl.Schema({**schemas.PRODUCT, **further, "closed": pl.Boolean()})
    return pl.DataFrame(rows, schema=shape) if rows else schemas.empty(shape)
