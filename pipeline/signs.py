"""The signs of a site that a person should look at, with what was said of them by whoever did.

They are computed when they are asked for, from results, derived tables, register and reported figures. Only the notes are kept.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from config import calendar, schemas
from config.units import factor
from monitors import signs as core
from pipeline.site import Site
from store.signs import KEY, NOTE

MONTHS: Final = 24  # so far back monthly signs are looked for
SIGNED: Final = pl.Schema({**schemas.SIGN, "status": pl.String(), **{name: dtype for name, dtype in NOTE.items() if name not in KEY}})
_ENTERPRISE: Final = {"enterprise": pl.String()}


def signs(site: Site, now: datetime) -> pl.DataFrame:
    """SIGNED: all signs, those that cannot be judged gathered by reason; `status` is open, or looked_at with the last note."""
    rules, zone = site.sign_rules(), site.settings.site.zone
    today = calendar.local_day(now, zone)
    since = f"{today.year - MONTHS // 12:04d}-{today.month:02d}"
    energy = site.derived.result("energy", pl.Schema({**_ENTERPRISE, "period": pl.String(), **schemas.ENERGY_SUM}))
    days = energy.filter(calendar.is_period("day")).with_columns(day=pl.col("period").str.to_date("%Y-%m-%d"))
    over = calendar.is_period("month") & pl.col("period").is_between(pl.lit(since), pl.lit(f"{today:%Y-%m}"), closed="left")
    carriers = site.derived.result("carriers", schemas.ENERGY).filter(over)
    outputs, money = site.figures.outputs(), site.figures.values()
    basis = pl.format("{}/{}", *(pl.col(name).cast(pl.String).fill_null("") for name in ("price_basis", "base_year")))
    in_one_basis = money.sort("period").filter(basis == basis.last().over("enterprise"))  # values at other prices do not compare
    worked = pl.concat([
        outputs.filter(pl.col("output") > 0).select("enterprise", "period"),
        money.filter(pl.max_horizontal("value_added_10k_cny", "output_value_10k_cny") > 0).select("enterprise", "period"),
    ])
    found = pl.concat([
        core.stopped_plants(days, site.register.enterprises(), worked, today, rules),
        core.just_under_limit(_verdicts(site), days, today, rules),
        core.night_load(_hours(site, today, rules), site.register.stops(), today, rules, zone),
        *_copied(site, since, today, rules),
        core.energy_per_output(carriers, outputs.filter(over), today, rules),
        core.money_per_energy("output_value_per_energy", energy, in_one_basis.rename({"output_value_10k_cny": "value"}), today, rules),
        core.money_per_energy("tax_per_energy", energy, site.figures.taxes(), today, rules),
        core.energy_against_bills(site.derived.result("reconciliation", schemas.RECONCILIATION).filter(pl.col("period") >= since)),
        core.power_and_steam_per_fuel(carriers, today, rules),
    ])
    noted = core.gathered(found).join(site.sign_notes.notes(), on=KEY, how="left", nulls_equal=True, maintain_order="left")
    status = pl.when(pl.col("looked_at").is_null()).then(pl.lit("open")).otherwise(pl.lit("looked_at"))
    return schemas.conform(noted.with_columns(status=status), SIGNED)


def _verdicts(site: Site) -> pl.DataFrame:
    """VERDICT of the judged periods, and of months whose figure complies."""
    judged = site.derived.result("verdicts", schemas.VERDICT)
    months = site.derived.result("running", schemas.RUNNING).filter(pl.col("period_kind") == "month", pl.col("verdict") == "complies")
    key = ["enterprise", "product", "indicator", "line", "period_start", "period_end", "standard"]
    return pl.concat([judged, schemas.conform(months, schemas.VERDICT)]).unique(key, keep="first", maintain_order=True)


def _copied(site: Site, since: str, today: date, rules: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """SIGN of copied days, a month at a time: their counts are the largest table that is read here."""
    names = site.register.names()
    for month in sorted({f"{day:%Y-%m}" for day in site.derived.days("verdict_counts") if since <= f"{day:%Y-%m}" and day < today}):
        first, last = calendar.period_days(month)
        counts = site.derived.read("verdict_counts", first, min(last, today - timedelta(days=1))).collect()
        yield core.copied_readings(counts, names, today, rules)


def _hours(site: Site, today: date, rules: pl.DataFrame) -> pl.DataFrame:
    """enterprise, process, start, kwh of enterprises that report a stop, from so many days before the first of them as the rule looks back."""
    nothing = pl.DataFrame(schema={**_ENTERPRISE, "process": pl.String(), "start": schemas.INSTANT, "kwh": pl.Float64()})
    stops, bounds = site.register.stops(), core.bounds_of(rules, "night_load", today)
    first = stops["first_day"].min()
    if bounds is None or not isinstance(first, date):
        return nothing
    registers = site.register.registers().group_by("register_key").agg(pl.col("unit").last())
    scale = {unit: factor(unit, "kWh") for unit in registers["unit"].unique()}
    assigned = site.register.assignments().join(stops.select("enterprise").unique(), on="enterprise", how="semi").filter(
        pl.col("carrier") == "electricity", pl.col("flow").fill_null("consumed").is_in(["consumed", "purchased"]),
    ).join(registers, on="register_key").with_columns(_scale=pl.col("unit").replace_strict(scale, default=None, return_dtype=pl.Float64()))
    hourly = site.derived.read("hourly", first - timedelta(days=int(bounds.values["days_before"])), today - timedelta(days=1))
    rows = hourly.filter(pl.col("register_key").is_in(assigned["register_key"].implode())).collect().join(assigned, on="register_key")
    begun, ends = (pl.col("valid_from") <= pl.col("start")).fill_null(value=True), (pl.col("valid_to") > pl.col("start")).fill_null(value=True)
    return rows.filter(begun, ends).select(
        "enterprise", "process", "start", kwh=pl.col("quantity") * pl.col("share_ratio").fill_null(1.0) * pl.col("_scale"),
    )
