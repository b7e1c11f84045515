"""Products over months, the year so far, twelve months and calendar years; where a year is heading; and what would bring which level.

Only a closed calendar year makes a finding (domain decision 1): everything else warns, since start-ups and stops distort months.
"""

from datetime import date, timedelta
from typing import Final

import polars as pl

from config import schemas
from config.calendar import is_period
from config.units import factor
from monitors.energy import sum_energy
from monitors.forecast import forecast
from monitors.limits import DEFAULT_INDICATOR, ELECTRICITY_INDICATORS, TOTAL_INDICATORS, limits, unit_factor
from monitors.numbers import SIGNIFICANT_DIGITS, whole_sum

NEAR_RATIO: Final = 0.05  # decisions.md 5
MONTHS_SHOWN: Final = 12
YEARS_SHOWN: Final = 3
PERIOD_KINDS: Final = ("month", "year_to_date", "rolling_12_months", "calendar_year", "year_forecast")
SUBJECT: Final = ("enterprise", "product", "indicator", "line", "plant_status", "feedstock", "output_unit")
_WINDOW: Final = ["enterprise", "product", "period_start", "period_end"]
_YEAR: Final = 12
_m = pl.col("_m")


def running_periods(outputs: pl.DataFrame, today: date) -> pl.DataFrame:
    """The periods of each product that its reported outputs allow: PRODUCT with `period_kind`, `may_find` and the parameters of limits.

    Of each product the last MONTHS_SHOWN months; the running year from January to its last month without a gap; the last twelve months
    in a row; and the last YEARS_SHOWN closed years, of a yearly output or of twelve months. A parameter of several months is their mean
    weighted by output; a text that differs between them is empty.

    Args:
        outputs: SUBJECT, `period` (month or year) and `output`, and further columns: the parameters of limits.
        today: months and years that are over before it count.

    >>> made = pl.DataFrame({"enterprise": "E", "product": "p", "period": ["2025-01", "2025-02", "2025-03"], "output": [1.0, 2.0, 4.0]})
    >>> running_periods(made, date(2025, 4, 2)).filter(period_kind="year_to_date").select("period_end", "output", "may_find").row(0)
    (datetime.date(2025, 3, 31), 7.0, False)
    """
    shape = pl.Schema({name: schemas.PRODUCT.get(name, pl.String()) for name in SUBJECT})
    further = [name for name in outputs.columns if name not in {*SUBJECT, "period", "output"}]
    rows = pl.concat([schemas.conform(outputs, shape), outputs.select("period", pl.col("output").cast(pl.Float64()), *further)], how="horizontal")
    own = [name for name in further if name not in schemas.PRODUCT]
    subject, length = list(SUBJECT), pl.col("period").str.len_chars()
    year = pl.col("period").str.slice(0, 4).cast(pl.Int32)
    months = rows.filter(length == 7, pl.col("output").is_not_null()).with_columns(
        _m=year * _YEAR + pl.col("period").str.slice(5, 2).cast(pl.Int32) - 1,
    ).filter(_m < today.year * _YEAR + today.month - 1).sort(*subject, "_m")
    last = _m.max().over(subject)
    run = _m - pl.int_range(pl.len()).over(subject)
    placed = months.with_columns(
        _last=last, _row=pl.int_range(pl.len()).over([*subject, run]), _in_year=pl.int_range(pl.len()).over([*subject, _m // _YEAR]) == _m % _YEAR,
    )
    at = placed.select(*subject, "_m", "_last", "_row", "_in_year")
    so_far = at.filter(_m >= today.year * _YEAR, "_in_year").group_by(subject, maintain_order=True).agg(_m.max())
    windows = [
        at.filter(_m > pl.col("_last") - MONTHS_SHOWN).select(*subject, period_kind=pl.lit("month"), _from=_m, _to=_m),
        so_far.select(*subject, period_kind=pl.lit("year_to_date"), _from=_m // _YEAR * _YEAR, _to=_m),
        at.filter(_m == pl.col("_last"), pl.col("_row") >= _YEAR - 1).select(
            *subject, period_kind=pl.lit("rolling_12_months"), _from=_m - (_YEAR - 1), _to=_m,
        ),
        at.filter(_m % _YEAR == _YEAR - 1, "_in_year", _m // _YEAR >= today.year - YEARS_SHOWN).select(
            *subject, period_kind=pl.lit("calendar_year"), _from=_m - (_YEAR - 1), _to=_m,
        ),
    ]
    inside = pl.concat(windows).join(months.select(*subject, "_m", "output", *further), on=subject, nulls_equal=True).filter(
        _m.is_between("_from", "_to")
    )
    weight = pl.when(pl.col("output").sum() > 0).then(pl.col("output")).otherwise(1.0)

    def parameter(name: str) -> pl.Expr:
        one = pl.col(name)
        if outputs.schema[name].is_numeric():
            return pl.when(one.is_not_null().all()).then((one * weight).sum() / weight.sum()).alias(name)
        return pl.when(one.n_unique() == 1).then(one.first()).alias(name)

    summed = inside.group_by([*subject, "period_kind", "_from", "_to"], maintain_order=True).agg(
        pl.col("output").sum(), *(parameter(name) for name in further)
    )
    years = rows.filter(length == 4, pl.col("output").is_not_null(), year < today.year, year >= today.year - YEARS_SHOWN).select(
        *subject, period_kind=pl.lit("calendar_year"), _from=year * _YEAR, _to=year * _YEAR + _YEAR - 1, output="output", **{
            name: pl.col(name) for name in further
        },
    )
    # Where a year is reported as such, its months are not.
    both = pl.concat([years, summed.with_columns(pl.col(name).cast(years.schema[name]) for name in further)])
    both = both.unique([*subject, "period_kind", "_from"], keep="first", maintain_order=True)
    dated = both.with_columns(
        period_start=_first_day("_from"), period_end=_first_day(pl.col("_to") + 1) - pl.duration(days=1),
        may_find=pl.col("period_kind") == "calendar_year",
    )
    return pl.concat([schemas.conform(dated, schemas.PRODUCT), dated.select("period_kind", "may_find", *own)], how="horizontal").sort(
        *subject, "period_end", "period_start", nulls_last=False
    )


def running_energy(carriers: pl.DataFrame, periods: pl.DataFrame) -> pl.DataFrame:
    """ENERGY_SUM by enterprise, product, `period_start` and `period_end`, from the months that lie inside.

    Args:
        carriers: ENERGY; rows of other periods than months, or without a product, are left out.
        periods: PRODUCT.

    Returns:
        `covered_ratio` is that of the months, times the share of the months that have any energy.
    """
    months = carriers.filter(is_period("month"), pl.col("product").is_not_null()).with_columns(_day=_month_start("period"))
    inside = periods.select(_WINDOW).unique(maintain_order=True).join(months, on=["enterprise", "product"]).filter(
        pl.col("_day").is_between("period_start", "period_end")
    )
    if inside.is_empty():
        return schemas.empty(pl.Schema({name: schemas.PRODUCT[name] for name in _WINDOW} | dict(schemas.ENERGY_SUM)))
    due = (pl.col("period_end").dt.year() - pl.col("period_start").dt.year()) * _YEAR + (
        pl.col("period_end").dt.month().cast(pl.Int32) - pl.col("period_start").dt.month().cast(pl.Int32)
    ) + 1
    found = inside.group_by(_WINDOW).agg(_found=pl.col("period").n_unique())
    sums = sum_energy(inside.drop("_day"), _WINDOW).join(found, on=_WINDOW)
    return sums.with_columns(pl.col("covered_ratio") * pl.col("_found") / due).drop("_found")


def year_forecasts(outputs: pl.DataFrame, carriers: pl.DataFrame, table: pl.DataFrame, today: date) -> pl.DataFrame:
    """Unit consumption of the running year as far as it can be forecast: PRODUCT with value, `low`, `high`, `reason`, `reason_zh`.

    Energy (on the basis of the standard, without raw material where the limit leaves it out) and output are both forecast.

    Args:
        outputs: as for `running_periods`; only months.
        carriers: ENERGY.
        table: LIMIT.
        today: the day.
    """
    subject = list(SUBJECT)
    shape = pl.Schema({name: schemas.PRODUCT.get(name, pl.String()) for name in SUBJECT})
    made = pl.concat([schemas.conform(outputs, shape), outputs.select("period", "output")], how="horizontal").filter(
        is_period("month")
    )
    months = carriers.filter(is_period("month"), pl.col("product").is_not_null())
    indicator = pl.col("indicator").fill_null(DEFAULT_INDICATOR)
    bases = table.sort("effective_from", nulls_last=False).group_by("product", _indicator="indicator").agg(_basis=pl.col("basis").last())
    empty = schemas.empty(pl.Schema({
        **schemas.PRODUCT, "period_kind": pl.String(), "may_find": pl.Boolean(), "low": pl.Float64(), "high": pl.Float64(),
        "reason": pl.String(), "reason_zh": pl.String(),
    }))
    if made.is_empty() or months.is_empty():
        return empty
    sums = sum_energy(months, ["enterprise", "product", "period"])
    raw = pl.when(pl.col("feedstock") == "excluded").then(pl.col("feedstock_tce").fill_null(0.0)).otherwise(0.0)
    of_basis = pl.when(pl.col("_basis") == "equivalent").then("equivalent_tce").otherwise("calorific_tce") - raw
    series = made.join(sums, on=["enterprise", "product", "period"], how="left").with_columns(_indicator=indicator).join(
        bases, on=["product", "_indicator"], how="inner"
    ).filter(pl.col("_indicator").is_in([*TOTAL_INDICATORS, *ELECTRICITY_INDICATORS])).with_columns(
        _numerator=pl.when(pl.col("_indicator").is_in(ELECTRICITY_INDICATORS)).then(pl.lit("kWh")).otherwise(pl.lit("tce")),
        actual=pl.when(pl.col("_indicator").is_in(ELECTRICITY_INDICATORS)).then("electricity_kwh").otherwise(of_basis), per=pl.col("output"),
    )
    told = forecast(series, [*subject, "_numerator"], today - timedelta(days=1))
    day = today - timedelta(days=1)
    return schemas.conform(told.with_columns(
        period_start=pl.lit(date(day.year, 1, 1)), period_end=pl.lit(date(day.year, 12, 31)), unit=pl.format("{}/{}", "_numerator", "output_unit"),
        period_kind=pl.lit("year_forecast"), may_find=pl.lit(value=False),
    ), empty.schema)


def running_verdicts(
    outputs: pl.DataFrame, carriers: pl.DataFrame, table: pl.DataFrame, confirmations: pl.DataFrame, today: date,
) -> pl.DataFrame:
    """Judge each product over its running periods, and the forecast of its year.

    Args:
        outputs: SUBJECT, `period` and `output`, and further columns: the parameters of limits.
        carriers: ENERGY by month.
        table: LIMIT.
        confirmations: CONFIRMATION.
        today: months and years that are over before it count.

    Returns:
        RUNNING. `near_limit` where a figure that complies is within 5 % of the limit's absolute value (decisions.md 5); of a forecast
        also where its interval reaches beyond the limit. A year that cannot be forecast is `incomplete` and says why.
    """
    periods, ahead = running_periods(outputs, today), year_forecasts(outputs, carriers, table, today)
    # A parameter of a limit is taken to stay what it is in the longest running period of the product.
    parameters = [name for name in periods.columns if name not in schemas.PRODUCT and name not in ("period_kind", "may_find")]
    latest = periods.filter(pl.col("period_end") == pl.col("period_end").max().over(SUBJECT)).sort("period_start").unique(SUBJECT, keep="first")
    ahead = ahead.join(latest.select(*SUBJECT, *parameters), on=list(SUBJECT), how="left", nulls_equal=True)
    given = [pl.col(name).alias(f"_{name}") for name in ("output", "output_unit", "value")]
    is_forecast = pl.col("period_kind") == "year_forecast"
    products = pl.concat([periods, ahead], how="diagonal").with_columns(*given, _reported=~is_forecast)
    judged = limits(products, table, confirmations, running_energy(carriers, periods), reported="_reported").rename(
        {"_output": "output", "_output_unit": "output_unit"}
    )
    rows = schemas.conform(judged, pl.Schema({**schemas.RUNNING, "_value": pl.Float64()}))
    limit = pl.coalesce(pl.when(pl.col("binding_level") == level).then(pl.col(f"level_{level}")) for level in (1, 2, 3))
    complies = pl.col("verdict") == "complies"
    near = (limit - pl.col("actual")).round_sig_figs(SIGNIFICANT_DIGITS) <= (NEAR_RATIO * limit.abs()).round_sig_figs(SIGNIFICANT_DIGITS)
    to_unit = pl.when(pl.col("_value") != 0).then(pl.col("actual") / pl.col("_value"))
    rows = rows.with_columns((pl.col(name) * to_unit).alias(name) for name in ("low", "high"))
    said = {"derivation": ("forecast of the year ({}): {}", "reason"), "derivation_zh": ("全年预测（{}）：{}", "reason_zh")}
    return rows.with_columns(
        limit=limit, near_limit=(complies & (near | (is_forecast & (pl.col("high") > limit)))).fill_null(value=False),
        **{
            name: pl.when(is_forecast & pl.col("_value").is_null()).then(reason).otherwise(name)
            for name, reason in (("missing", "reason"), ("missing_zh", "reason_zh"))
        },
        **{
            name: pl.when(is_forecast).then(pl.format(text, reason, name)).otherwise(name) for name, (text, reason) in said.items()
        },
    ).select(*schemas.RUNNING)


def what_if(verdicts: pl.DataFrame, energy: pl.DataFrame | None = None) -> pl.DataFrame:
    """What brings each level that a limit has: how much less energy for the same output, or how much more output for the same energy.

    Args:
        verdicts: VERDICT, with `output` and `output_unit` where amounts are asked for. Rows without a figure are left out.
        energy: ENERGY of the products; then one row for each carrier: what it alone would have to save.

    Returns:
        WHAT_IF, in the order of the verdicts, level 3 first. A level that is reached needs no saving. Where a correction acts on the figure
        itself, a saving in its unit is no saving of energy, and no amounts are told.

    >>> judged = pl.DataFrame({"actual": 950.0, "unit": "kgce/t", "level_3": 940.0, "level_2": 900.0, "output": 1000.0, "output_unit": "t"})
    >>> what_if(judged).select("level", "saving", "saving_energy", "saving_energy_unit").rows()
    [('3', 10.0, 10.0, 'tce'), ('2', 50.0, 50.0, 'tce')]
    """
    given = pl.Schema({**schemas.VERDICT, "output": pl.Float64(), "output_unit": pl.String()})
    corrected = (pl.col("actual") != pl.col("uncorrected")).fill_null(value=False)
    rows = schemas.conform(verdicts, given).with_row_index("_row").filter(pl.col("actual").is_finite()).with_columns(
        output=pl.when(~corrected).then("output"),
    )
    names = ["_row", *(name for name in schemas.WHAT_IF if name in given), "basis", "output", "output_unit"]
    names = list(dict.fromkeys(name for name in names if name != "level"))
    levels = pl.concat([
        rows.select(*names, level=pl.lit(level), _rank=pl.lit(3 - int(level)), limit=pl.col(f"level_{level}")) for level in ("3", "2", "1")
    ]).filter(pl.col("limit").is_not_null()).sort("_row", "_rank")
    within = pl.col("actual").round_sig_figs(SIGNIFICANT_DIGITS) <= pl.col("limit").round_sig_figs(SIGNIFICANT_DIGITS)
    saving = pl.when(within).then(0.0).otherwise(pl.col("actual") - pl.col("limit"))
    levels = levels.with_columns(saving=saving).with_columns(
        reached=pl.col("saving") == 0, saving_ratio=pl.when(pl.col("actual") > 0).then(pl.col("saving") / pl.col("actual")),
        output_needed=pl.when((pl.col("limit") > 0) & (pl.col("actual") > 0)).then(pl.col("output") * pl.max_horizontal(
            pl.col("actual") / pl.col("limit"), pl.lit(1.0),
        )),
    )
    pairs = levels.select("unit", "output_unit").unique().drop_nulls()
    amounts = [_amount(*pair) for pair in pairs.iter_rows()]
    pairs = pairs.with_columns(
        _by=pl.Series([by for by, _ in amounts], dtype=pl.Float64()), saving_energy_unit=pl.Series([unit for _, unit in amounts], dtype=pl.String()),
    )
    levels = levels.join(pairs, on=["unit", "output_unit"], how="left", maintain_order="left").with_columns(
        saving_energy=pl.col("saving") * pl.col("output") * pl.col("_by"),
    )
    if energy is not None:
        levels = _by_carrier(levels, energy)
    return schemas.conform(levels, schemas.WHAT_IF)


def _amount(unit: str, output_unit: str) -> tuple[float | None, str | None]:
    """By what a unit consumption times an output is multiplied to be an amount of energy, and its unit (tce or kWh)."""
    for total in ("tce", "kWh"):
        by = unit_factor(unit, f"{total}/{output_unit}")
        if by is not None:
            return by, total
    return None, None


def _by_carrier(levels: pl.DataFrame, energy: pl.DataFrame) -> pl.DataFrame:
    """A row for each carrier: what it alone would have to save, in its own unit, and whether there is as much of it."""
    consumed = schemas.conform(energy, schemas.ENERGY).filter(pl.col("flow").fill_null("consumed") == "consumed", pl.col("product").is_not_null())
    used = consumed.with_columns(_day=_month_start("period"))
    keys = ["enterprise", "product", "period_start", "period_end"]
    inside = levels.select(keys).unique(maintain_order=True).join(used, on=["enterprise", "product"], nulls_equal=True).filter(
        pl.col("_day").is_between("period_start", "period_end"),
        # The year beside its months would count twice: what is finest counts.
        pl.col("period").str.len_chars() == pl.col("period").str.len_chars().max().over(keys),
    )
    of_carrier = inside.group_by([*keys, "carrier", "unit"], maintain_order=True).agg(
        carrier_quantity=whole_sum("quantity"), _calorific=whole_sum("calorific_tce") / whole_sum("quantity"),
        _equivalent=whole_sum("equivalent_tce") / whole_sum("quantity"),
    ).rename({"unit": "carrier_unit"})
    joined = levels.join(of_carrier, on=keys, how="left", nulls_equal=True, maintain_order="left")
    tce = pl.when(pl.col("basis") == "equivalent").then("_equivalent").otherwise("_calorific")
    to_kwh = {unit: by for unit in of_carrier["carrier_unit"].unique() if (by := factor(unit, "kWh")) is not None}
    kwh = pl.when(pl.col("carrier") == "electricity").then(pl.col("carrier_unit").replace_strict(to_kwh, default=None, return_dtype=pl.Float64()))
    per_unit = pl.when(pl.col("saving_energy_unit") == "kWh").then(kwh).otherwise(tce)
    return joined.with_columns(carrier_saving=pl.when(per_unit > 0).then(pl.col("saving_energy") / per_unit)).with_columns(
        carrier_suffices=pl.col("carrier_saving") <= pl.col("carrier_quantity"),
    )


def _first_day(month: str | pl.Expr) -> pl.Expr:
    """The first day of a month that is counted from year 0."""
    at = pl.col(month) if isinstance(month, str) else month
    return pl.date(at // _YEAR, at % _YEAR + 1, 1)


def _month_start(name: str) -> pl.Expr:
    """The first day of a period."""
    return pl.concat_str(pl.col(name), pl.lit("-01-01")).str.slice(0, 10).str.to_date("%Y-%m-%d")
