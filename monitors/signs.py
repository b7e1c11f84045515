"""Signs that a person should look at: what does not fit together, with its figures, periods and sources. A sign asks, it never judges.

Each function looks for one sign and gives SIGN rows: `seen`, or `unknown` with the reason where it cannot be judged. What fits gives no
row. `actual` is what lies outside of `low` .. `high`, `expected` what it was held against. The bounds are rows of SIGN_RULE in force on the
day of looking; a sign without its bounds is not looked for.
"""

from collections.abc import Mapping
from datetime import date
from typing import Final, Literal, NamedTuple

import polars as pl

from config import schemas
from config.calendar import is_period, period_days
from config.tables import holding
from monitors.coefficients import WATER
from monitors.energy import CONSUMED
from monitors.numbers import SIGNIFICANT_DIGITS, whole_sum

RULES: Final = (
    "stopped_plant", "just_under_limit", "night_load", "copied_readings", "energy_per_output", "output_value_per_energy", "tax_per_energy",
    "energy_against_bills", "power_and_steam_per_fuel",
)
COPIED: Final = "copied_pattern"  # rule of monitors/vee_rules.py
BILL: Final = "bill"
POWER_AND_STEAM: Final = ("electricity", "heat", "steam_low_pressure")
LISTED: Final = 5  # registers that are named where many cannot be judged
Money = Literal["output_value_per_energy", "tax_per_energy"]
_SIDES: Final[Mapping[str, pl.DataType]] = {
    "subject": pl.String(), "period": pl.String(), "actual": pl.Float64(), "expected": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(),
    "unit": pl.String(), "missing": pl.String(), "missing_zh": pl.String(),
}


class Bounds(NamedTuple):
    """The bounds of one rule by name, and where they come from."""

    values: Mapping[str, float]
    source: str


def rules_on(rules: pl.DataFrame, day: date) -> pl.DataFrame:
    """SIGN_RULE in force on a day; of rows for one bound that hold then the last counts."""
    return rules.filter(holding(day)).unique(["rule", "bound"], keep="last", maintain_order=True)


def bounds_of(rules: pl.DataFrame, rule: str, day: date) -> Bounds | None:
    """The bounds of a rule on a day; None where it has none then, so that its sign is not looked for.

    Args:
        rules: SIGN_RULE.
        rule: its name.
        day: the day of looking.
    """
    rows = rules_on(rules, day).filter(pl.col("rule") == rule)
    if rows.is_empty() or set(rows["bound"]) != set(rules.filter(pl.col("rule") == rule)["bound"]):
        return None
    told = pl.format("{} = {}{}: {}", "bound", "value", pl.when(pl.col("unit") != "").then(pl.format(" {}", "unit")).otherwise(pl.lit("")), "source")
    return Bounds(dict(rows.select("bound", "value").iter_rows()), "; ".join(rows.select(told).to_series()))


def stopped_plants(days: pl.DataFrame, enterprises: pl.DataFrame, worked: pl.DataFrame, today: date, rules: pl.DataFrame) -> pl.DataFrame:
    """Enterprises without load for two years (candidates of 内政发〔2019〕21号, art. (五); its further criteria are not known here).

    A day has load where its electricity is above a share of the greatest mean of a local month. Days without a figure, and days before
    the data, say nothing: an enterprise that stands as far back as the data reach is unknown, and so is one that never changed its load
    and of which no output is reported, since a steady low load looks like standing.

    Args:
        days: enterprise, day, electricity_kwh, covered_ratio: local days.
        enterprises: enterprise: who is asked of.
        worked: enterprise, period: for which an output or a value of output above 0 is reported.
        today: the local day; it and what comes after does not count.
        rules: SIGN_RULE.

    Returns:
        SIGN; `period` is the first day without load, `actual` the years since, `low` the years from which on it is a sign.
    """
    bounds = bounds_of(rules, "stopped_plant", today)
    if bounds is None:
        return schemas.empty(schemas.SIGN)
    value = bounds.values
    window = pl.lit(today).dt.offset_by(f"-{12 * value['years_at_least']:.0f}mo")
    rows = days.filter(pl.col("day") < today).sort("enterprise", "day").with_columns(load=pl.col("electricity_kwh").abs())
    months = rows.group_by("enterprise", month=pl.col("day").dt.truncate("1mo")).agg(pl.col("load").mean())
    usual = months.group_by("enterprise").agg(
        usual=pl.col("load").max(), usual_month=pl.col("month").sort_by("load", "month", nulls_last=False).last(),
    )
    active = pl.col("load") > value["load_at_most_ratio"] * pl.col("usual")
    told = rows.join(usual, on="enterprise", maintain_order="left").group_by("enterprise", maintain_order=True).agg(
        pl.col("usual", "usual_month").first(), first=pl.col("day").filter(pl.col("load").is_not_null()).min(),
        last_load=pl.col("day").filter(active).max(), last_kwh=pl.col("load").filter(active).last(),
        idle=(~active & pl.col("load").is_not_null()).any(),
    ).with_columns(since=pl.coalesce(pl.col("last_load") + pl.duration(days=1), "first"))
    since = rows.join(told.select("enterprise", "since"), on="enterprise").filter(pl.col("day") >= pl.col("since")).group_by("enterprise").agg(
        counted=(pl.col("load").is_not_null() & (pl.col("covered_ratio").fill_null(1.0) >= value["covered_at_least_ratio"])).sum(),
        mean_kwh=pl.col("load").mean(),
    )
    ends = {period: period_days(period)[1] for period in worked["period"].unique()}
    worked = worked.with_columns(day=pl.col("period").replace_strict(ends, default=None, return_dtype=pl.Date()))
    recent = worked.filter(pl.col("day") >= window).select("enterprise").unique()
    asked = enterprises.select("enterprise").unique().join(told, on="enterprise", how="left").join(since, on="enterprise", how="left").join(
        recent.with_columns(worked=pl.lit(value=True)), on="enterprise", how="left",
    ).with_columns(length=(pl.lit(today) - pl.col("since")).dt.total_days())
    covered = pl.col("counted").fill_null(0) / pl.col("length")
    candidate = pl.col("since") <= window
    alone = pl.col("last_load").is_null() | ~pl.col("idle")
    steady = ~candidate & alone & pl.col("worked").is_null()
    thin, share = candidate & (covered < value["covered_at_least_ratio"]), (covered * 100).round(1)
    asked = asked.with_columns(
        missing=pl.when(pl.col("first").is_null()).then(pl.lit("no electricity is known by day"))
        .when(thin).then(pl.format("only {} % of the days since {} are covered", share, "since"))
        .when(steady).then(pl.format("one steady load or none since the data began on {}, and no output is reported", "first")),
        missing_zh=pl.when(pl.col("first").is_null()).then(pl.lit("没有逐日电力数据"))
        .when(thin).then(pl.format("{} 以来仅有 {} % 的日子有数据", "since", share))
        .when(steady).then(pl.format("自 {} 有数据以来负荷平稳或为零，且无产量填报", "first")),
        evidence=_evidence(
            ("last_day_with_load", pl.col("last_load").cast(pl.String), "last_kwh", "kWh", "daily consumption"),
            ("greatest_month", pl.col("usual_month").dt.strftime("%Y-%m"), "usual", "kWh/d", "daily consumption"),
            ("mean_since", pl.format("{}/{}", "since", pl.lit(today)), "mean_kwh", "kWh/d", "daily consumption"),
            ("covered_days", pl.format("{}/{}", "since", pl.lit(today)), "counted", "d", "daily consumption"),
        ),
        actual=pl.col("length") / 365.25, period=pl.coalesce(pl.col("since"), pl.lit(today)).cast(pl.String),
        low=pl.lit(value["years_at_least"]), unit=pl.lit("a"),
    )
    return _signs(asked.filter(pl.col("missing").is_not_null() | candidate), "stopped_plant", bounds)


def just_under_limit(verdicts: pl.DataFrame, days: pl.DataFrame, today: date, rules: pl.DataFrame) -> pl.DataFrame:
    """Figures that end their period at or just under their limit, with the load of its last days beside that of the days before.

    Args:
        verdicts: VERDICT.
        days: enterprise, day, electricity_kwh: local days.
        today: the local day.
        rules: SIGN_RULE.

    Returns:
        SIGN; `actual` is the figure, `expected` its limit, `low` .. the limit the band that is looked at.
    """
    bounds = bounds_of(rules, "just_under_limit", today)
    if bounds is None:
        return schemas.empty(schemas.SIGN)
    value = bounds.values
    below = value["below_at_most_ratio"]
    ratio = pl.col("excess_ratio").round_sig_figs(SIGNIFICANT_DIGITS)
    known = pl.col("verdict") == "complies"
    rows = verdicts.filter((known & ratio.is_between(-below, 0)) | (pl.col("verdict") == "incomplete")).with_row_index("row").with_columns(
        limit=pl.col("actual") - pl.col("excess"),
        period=pl.format("{}/{}", "period_start", "period_end"),
        subject=pl.concat_str("product", "indicator", "line", separator="/", ignore_nulls=True),
    )
    last, before = (pl.duration(days=int(value[name])) for name in ("last_days", "days_before"))
    ends = pl.col("period_end")
    load = rows.select("row", "enterprise", "period_end").join(days, on="enterprise").group_by("row").agg(
        last_kwh=pl.col("electricity_kwh").filter(pl.col("day") > ends - last, pl.col("day") <= ends).mean(),
        before_kwh=pl.col("electricity_kwh").filter(pl.col("day") > ends - last - before, pl.col("day") <= ends - last).mean(),
    )
    rows = rows.join(load, on="row", how="left").with_columns(
        expected="limit", high="limit", low=pl.col("limit") - below * pl.col("limit").abs(),
        missing=pl.when(~known).then(pl.coalesce("missing", pl.lit("the verdict is incomplete"))),
        missing_zh=pl.when(~known).then(pl.lit("判定数据不完整")),
        evidence=_evidence(
            ("figure", "period", "actual", "unit", pl.coalesce("derivation", pl.lit("verdict"))),
            ("limit", "period", "limit", "unit", pl.concat_str("standard", "clause", separator=" ", ignore_nulls=True)),
            ("load_of_last_days", pl.format("{}/{}", ends - last + pl.duration(days=1), ends), "last_kwh", "kWh/d", "daily consumption"),
            ("load_of_days_before", pl.format("{}/{}", ends - last - before + pl.duration(days=1), ends - last), "before_kwh", "kWh/d",
             "daily consumption"),
        ),
    )
    return _signs(rows, "just_under_limit", bounds)


def night_load(hours: pl.DataFrame, stops: pl.DataFrame, today: date, rules: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Night load of what is reported as stopped, against its night load before the stop.

    Args:
        hours: enterprise, process, start, kwh: electricity by hour; null where nothing is known.
        stops: STOP; without process: of the whole enterprise.
        today: the local day.
        rules: SIGN_RULE.
        zone: whose nights.

    Returns:
        SIGN; `actual` and `expected` are means of kWh in an hour of the night, during the stop and before it.
    """
    bounds = bounds_of(rules, "night_load", today)
    if bounds is None:
        return schemas.empty(schemas.SIGN)
    value = bounds.values
    rows = stops.filter(pl.col("first_day") < today).with_row_index("row").with_columns(
        last=pl.min_horizontal(pl.coalesce("last_day", pl.lit(today)), pl.lit(today).dt.offset_by("-1d"))
    )
    local = pl.col("start").dt.convert_time_zone(zone)
    hour, day = local.dt.hour(), local.dt.date()
    night = (hour >= value["from_h"]) | (hour < value["to_h"]) if value["from_h"] > value["to_h"] else hour.is_between(
        value["from_h"], value["to_h"], closed="left",
    )
    nights = hours.filter(night, pl.col("kwh").is_not_null()).with_columns(day=day)
    found = rows.select("row", "enterprise", "first_day", "last", of="process").join(nights, on="enterprise").filter(
        pl.col("of").is_null() | (pl.col("of") == pl.col("process"))
    ).group_by("row", "start", "day").agg(pl.col("first_day", "last").first(), pl.col("kwh").sum())
    begin = pl.col("first_day")
    before = pl.col("day").is_between(begin - pl.duration(days=int(value["days_before"])), begin, closed="left")
    during = pl.col("day").is_between("first_day", "last")
    top = pl.col("kwh") == pl.col("kwh").filter(during).max()
    means = found.group_by("row").agg(
        actual=pl.col("kwh").filter(during).mean(), expected=pl.col("kwh").filter(before).mean(), nights=pl.col("day").filter(during).n_unique(),
        most_kwh=pl.col("kwh").filter(during).max(), most_at=pl.col("start").filter(during & top).min(),
    )
    rows = rows.join(means, on="row", how="left").with_columns(high=value["load_at_most_ratio"] * pl.col("expected"))
    until = pl.format("{}/{}", "first_day", "last")
    rows = rows.with_columns(
        missing=pl.when(pl.col("actual").is_null()).then(pl.lit("no hour of a night during the stop is known"))
        .when(pl.col("expected").is_null()).then(pl.lit("no hour of a night before the stop is known")),
        missing_zh=pl.when(pl.col("actual").is_null()).then(pl.lit("停产期间无夜间小时数据"))
        .when(pl.col("expected").is_null()).then(pl.lit("停产之前无夜间小时数据")),
        subject="process", period=pl.col("first_day").cast(pl.String), unit=pl.lit("kWh/h"),
        evidence=_evidence(
            ("reported_stop", until, None, "", pl.coalesce("document", pl.lit("register, sheet stop"))),
            ("nights", until, "nights", "d", "hourly consumption"),
            ("greatest_hour", pl.col("most_at").dt.convert_time_zone(zone).dt.strftime("%Y-%m-%dT%H:%M"), "most_kwh", "kWh", "hourly consumption"),
        ),
    )
    return _signs(rows.filter(pl.col("missing").is_not_null() | (pl.col("actual") > pl.col("high"))), "night_load", bounds)


def copied_readings(counts: pl.DataFrame, names: pl.DataFrame, today: date, rules: pl.DataFrame) -> pl.DataFrame:
    """Registers with days that repeat an earlier day reading by reading, as validation found them, by month.

    Args:
        counts: VERDICT_COUNT.
        names: register_key, enterprise, meter, register.
        today: the local day.
        rules: SIGN_RULE.

    Returns:
        SIGN; `actual` is the number of such days. Unknown, in one row for an enterprise and month: registers of which validation could judge
        no day of it.
    """
    bounds = bounds_of(rules, "copied_readings", today)
    if bounds is None:
        return schemas.empty(schemas.SIGN)
    most = bounds.values["days_at_most"]
    of_rule, failed = pl.col("rule") == COPIED, pl.col("verdict") == "failed"
    by_day = counts.group_by("register_key", "day").agg(
        copied=(of_rule & failed).any(), readings=pl.col("readings").filter(of_rule & failed).sum(),
        open=(of_rule & (pl.col("verdict") == "unknown")).any(),
    )
    months = by_day.group_by("register_key", period=pl.col("day").dt.strftime("%Y-%m")).agg(
        actual=pl.col("copied").sum().cast(pl.Float64), readings=pl.col("readings").sum(), days=pl.len(), open=pl.col("open").all(),
        first=pl.col("day").filter("copied").min(), last=pl.col("day").filter("copied").max(),
    ).filter((pl.col("actual") > most) | pl.col("open"))
    named = months.join(names, on="register_key").with_columns(subject=pl.format("{}/{}", "meter", "register"))
    unknown = named.filter("open").group_by("enterprise", "period").agg(pl.col("subject").unique().sort()).with_columns(
        listed=pl.col("subject").list.head(LISTED).list.join(", "), count=pl.col("subject").list.len(),
    ).with_columns(listed=pl.when(pl.col("count") > LISTED).then(pl.format("{}, ...", "listed")).otherwise("listed")).select(
        "enterprise", "period", missing=pl.format("{} registers have too few readings or values a day, or no history: {}", "count", "listed"),
        missing_zh=pl.format("{} 个寄存器每日读数或不同数值过少，或无历史：{}", "count", "listed"),
    )
    rows = named.filter(~pl.col("open")).with_columns(
        expected=pl.lit(most), high=pl.lit(most), unit=pl.lit("d"),
        evidence=_evidence(
            ("copied_days", pl.format("{}/{}", "first", "last"), "actual", "d", "rule copied_pattern of validation"),
            ("copied_readings", "period", "readings", "", "rule copied_pattern of validation"),
            ("days_with_readings", "period", "days", "d", "rule copied_pattern of validation"),
        ),
    )
    return pl.concat([_signs(rows, "copied_readings", bounds), _signs(unknown, "copied_readings", bounds)])


def energy_per_output(carriers: pl.DataFrame, outputs: pl.DataFrame, today: date, rules: pl.DataFrame) -> pl.DataFrame:
    """Months in which a product took far more or less energy for a unit of output than it usually does.

    Args:
        carriers: ENERGY by month, with `product`.
        outputs: enterprise, product, period (months), output, output_unit; lines and indicators in rows of their own.
        today: the local day.
        rules: SIGN_RULE.

    Returns:
        SIGN; `actual` is that of the month, `expected` the median of all months given, in tce for a unit of output.
    """
    bounds = bounds_of(rules, "energy_per_output", today)
    if bounds is None:
        return schemas.empty(schemas.SIGN)
    value, keys = bounds.values, ["enterprise", "product", "period"]
    energy = _used(carriers.filter(pl.col("product").is_not_null()), keys)
    made = outputs.filter(is_period("month")).unique([*keys, "line"], keep="last", maintain_order=True).group_by(
        keys, maintain_order=True,
    ).agg(pl.col("output").sum(), pl.col("output_unit").first())
    whole = (pl.col("output") > 0) & pl.col("tce").is_not_null()
    rows = made.join(energy, on=keys, how="left").with_columns(actual=pl.when(whole).then(pl.col("tce") / pl.col("output")))
    rows = rows.with_columns(
        expected=pl.col("actual").median().over("enterprise", "product"), months=pl.col("actual").is_not_null().sum().over("enterprise", "product"),
        unit=pl.format("tce/{}", "output_unit"), subject="product",
    ).with_columns(low=value["low_ratio"] * pl.col("expected"), high=value["high_ratio"] * pl.col("expected"))
    idle = (pl.col("output") <= 0) & ((pl.col("tce") <= 0) | pl.col("tce").is_null())  # nothing made of nothing
    few = pl.col("months") < value["months_at_least"]
    rows = rows.filter(~idle.fill_null(value=False)).with_columns(
        missing=pl.when(pl.col("output") <= 0).then(pl.lit("energy, but no output: there is no quotient"))
        .when(pl.col("tce").is_null()).then(pl.coalesce("missing", pl.lit("no energy is known of the product")))
        .when(few).then(pl.format("only {} months are known", "months")),
        missing_zh=pl.when(pl.col("output") <= 0).then(pl.lit("有能耗而无产量，无法相除"))
        .when(pl.col("tce").is_null()).then(pl.lit("产品能耗不明"))
        .when(few).then(pl.format("仅有 {} 个月的数据", "months")),
        evidence=_evidence(
            ("energy", "period", "tce", "tce", "metered energy of the product, calorific basis"),
            ("output", "period", "output", "output_unit", "reported and checked"),
        ),
    )
    return _signs(rows.filter(pl.col("missing").is_not_null() | _outside()), "energy_per_output", bounds)


def money_per_energy(rule: Money, years: pl.DataFrame, figures: pl.DataFrame, today: date, rules: pl.DataFrame) -> pl.DataFrame:
    """Closed years in which the value of output, or the tax, for a tce is far from that of the year before.

    Args:
        rule: which sign.
        years: enterprise, period, calorific_tce, missing: years.
        figures: enterprise, period (years), value in 10^4 CNY, the same price basis throughout.
        today: the local day.
        rules: SIGN_RULE.

    Returns:
        SIGN; `actual` is 10^4 CNY for a tce in the year, `expected` that of the year before. Without figures for a year of which the energy
        is known it is unknown; the first year of both is not judged.
    """
    bounds = bounds_of(rules, rule, today)
    if bounds is None:
        return schemas.empty(schemas.SIGN)
    value = bounds.values
    closed = is_period("year") & (pl.col("period") < str(today.year))
    keys = ["enterprise", "period"]
    told = figures.filter(closed, pl.col("value").is_not_null()).group_by(keys, maintain_order=True).agg(pl.col("value").sum())
    rows = years.filter(closed).join(told.select(*keys, "value"), on=keys, how="full", coalesce=True).sort(keys).with_columns(
        actual=pl.when(pl.col("calorific_tce") > 0).then(pl.col("value") / pl.col("calorific_tce")), year=pl.col("period").cast(pl.Int32),
    )
    before = rows.select("enterprise", "calorific_tce", "value", year=pl.col("year") + 1, expected="actual")
    rows = rows.join(before, on=["enterprise", "year"], how="left", suffix="_before").with_columns(
        low=value["low_ratio"] * pl.col("expected"), high=value["high_ratio"] * pl.col("expected"), unit=pl.lit("10^4 CNY/tce"),
        _year_before=(pl.col("year") - 1).cast(pl.String),
    )
    no_energy = ~(pl.col("calorific_tce") > 0).fill_null(value=False)
    rows = rows.with_columns(
        missing=pl.when(no_energy).then(pl.coalesce("missing", pl.lit("no energy is known of the year")))
        .when(pl.col("value").is_null()).then(pl.lit("no figure is reported for the year")),
        missing_zh=pl.when(no_energy).then(pl.lit("该年度能耗不明")).when(pl.col("value").is_null()).then(pl.lit("该年度未填报数值")),
        evidence=_evidence(
            ("energy", "period", "calorific_tce", "tce", "accounts, calorific basis"),
            ("money", "period", "value", "10^4 CNY", "reported and checked"),
            ("energy", "_year_before", "calorific_tce_before", "tce", "accounts, calorific basis"),
            ("money", "_year_before", "value_before", "10^4 CNY", "reported and checked"),
        ),
    )
    return _signs(rows.filter(pl.col("missing").is_not_null() | _outside()), rule, bounds)


def energy_against_bills(reconciled: pl.DataFrame) -> pl.DataFrame:
    """Months in which the meters and the supplier's bill differ by more than the tolerance of FIGURE_RULE.

    Args:
        reconciled: RECONCILIATION.

    Returns:
        SIGN; `actual` is what was metered on the days of the bill, `expected` the bill.
    """
    size = pl.col("figure_quantity").abs() * pl.col("tolerance_ratio")
    rows = reconciled.filter(pl.col("kind") == BILL, ~pl.col("within") | pl.col("missing").is_not_null()).with_columns(
        subject=pl.format("{}/{}", "carrier", "flow"), actual="metered_quantity", expected="figure_quantity",
        low=pl.col("figure_quantity") - size, high=pl.col("figure_quantity") + size,
        missing_zh=pl.when(pl.col("missing").is_not_null()).then(pl.lit("账单与计量无法比较")),
        evidence=_evidence(
            ("metered", "period", "metered_quantity", "unit", "daily consumption"),
            ("billed", "period", "figure_quantity", "unit", pl.coalesce("documents", pl.lit("bill"))),
        ),
    )
    found = _signs(rows, "energy_against_bills", None)
    return found.with_columns(source=rows.select(pl.coalesce("tolerance_source", pl.lit("no tolerance is in force"))).to_series())


def power_and_steam_per_fuel(carriers: pl.DataFrame, today: date, rules: pl.DataFrame) -> pl.DataFrame:
    """Months in which the power and steam that come out do not fit the fuel that goes in, on the calorific basis.

    Power and steam are rows of flow `converted_out`. They are held against the fuel of the same process; where no fuel is assigned to it,
    or no process is named, against all fuel of the enterprise, and then only the high bound is asked: fuel may go elsewhere.

    Args:
        carriers: ENERGY by month.
        today: the local day.
        rules: SIGN_RULE.

    Returns:
        SIGN; `actual` is energy out by energy in.
    """
    bounds = bounds_of(rules, "power_and_steam_per_fuel", today)
    if bounds is None:
        return schemas.empty(schemas.SIGN)
    value, owner = bounds.values, ["enterprise", "period"]
    out = _summed(carriers.filter(pl.col("flow") == "converted_out", pl.col("carrier").is_in(POWER_AND_STEAM)), [*owner, "process"], "out")
    fuel = carriers.filter(
        pl.col("flow").fill_null("consumed").is_in([*CONSUMED, "purchased", "own_primary"]), ~pl.col("carrier").is_in([*POWER_AND_STEAM, *WATER]),
        pl.col("use").fill_null("fuel") == "fuel",
    )
    by_process = _summed(fuel.filter(pl.col("process").is_not_null()), [*owner, "process"], "in")
    apart = out.join(by_process, on=[*owner, "process"], how="inner")
    others = out.join(by_process, on=[*owner, "process"], how="anti")
    mixed = out.join(others.select(owner).unique(), on=owner, how="semi").group_by(owner, maintain_order=True).agg(
        whole_sum("out"), out_missing=pl.col("out_missing").drop_nulls().first(),
    ).join(_summed(fuel, owner, "in"), on=owner, how="left").with_columns(process=pl.lit(None, pl.String()))
    rows = pl.concat([apart, mixed.select(apart.columns)]).with_columns(
        actual=pl.when(pl.col("in") > 0).then(pl.col("out") / pl.col("in")), subject="process",
        low=pl.when(pl.col("process").is_not_null()).then(pl.lit(value["low_ratio"])), high=pl.lit(value["high_ratio"]), unit=pl.lit("tce/tce"),
    )
    unknown = pl.coalesce("out_missing", "in_missing")
    rows = rows.with_columns(
        missing=pl.when(pl.col("actual").is_null()).then(pl.coalesce(unknown, pl.lit("no fuel is known that it could come from"))),
        missing_zh=pl.when(pl.col("actual").is_null()).then(pl.when(unknown.is_not_null()).then(pl.lit("有能源数量未知")).otherwise(
            pl.lit("没有可对应的燃料")
        )),
        evidence=_evidence(
            ("fuel", "period", "in", "tce", "accounts, calorific basis"), ("power_and_steam", "period", "out", "tce", "accounts, calorific basis"),
        ),
    )
    return _signs(rows.filter(pl.col("missing").is_not_null() | _outside()), "power_and_steam_per_fuel", bounds)


def gathered(signs: pl.DataFrame) -> pl.DataFrame:
    """SIGN in which periods that cannot be judged for one and the same reason are one row, its period from the first to the last."""
    keys = ["enterprise", "rule", "subject", "missing"]
    open_ones = signs.filter(pl.col("state") == "unknown").sort(*keys, "period").group_by(keys, maintain_order=True).agg(
        pl.exclude("period").last(), first=pl.col("period").first(), last=pl.col("period").last(),
    ).with_columns(period=pl.when(pl.col("first") == pl.col("last")).then("first").otherwise(pl.format("{}..{}", "first", "last")))
    seen = signs.filter(pl.col("state") == "seen")
    return pl.concat([seen, schemas.conform(open_ones, schemas.SIGN)]).sort("enterprise", "rule", "subject", "period", nulls_last=False)


def _outside() -> pl.Expr:
    actual, low, high = (pl.col(name).round_sig_figs(SIGNIFICANT_DIGITS) for name in ("actual", "low", "high"))
    return ((actual < low) | (actual > high)).fill_null(value=False)


def _used(carriers: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """What was consumed in tce, null where a part of it is not known; `missing` says why."""
    consumed = carriers.filter(pl.col("flow").fill_null("consumed").is_in(CONSUMED), ~pl.col("carrier").is_in(WATER))
    return _summed(consumed, keys, "tce").rename({"tce_missing": "missing"})


def _summed(carriers: pl.DataFrame, keys: list[str], name: str) -> pl.DataFrame:
    rows = carriers.filter(pl.col("use").fill_null("fuel") != "medium")
    whole = pl.col("calorific_tce").is_not_null().all()
    return rows.group_by(keys, maintain_order=True).agg(
        pl.when(whole).then(pl.col("calorific_tce").sum()).alias(name),
        pl.when(~whole).then(pl.col("missing").drop_nulls().first().fill_null("nothing is measured")).alias(f"{name}_missing"),
    )


def _evidence(*rows: tuple[str, str | pl.Expr, str | None, str, str | pl.Expr]) -> pl.Expr:
    """Rows of evidence: figure, period, value, unit, source. Units and sources that are no column are texts."""
    columns = {"unit", "output_unit"}
    return pl.concat_list(*(
        pl.struct(
            figure=pl.lit(figure), period=pl.col(period) if isinstance(period, str) else period,
            value=(pl.lit(None) if value is None else pl.col(value)).cast(pl.Float64),
            unit=pl.col(unit) if unit in columns else pl.lit(unit), source=pl.lit(source) if isinstance(source, str) else source,
        ) for figure, period, value, unit, source in rows
    ))


def _signs(rows: pl.DataFrame, rule: str, bounds: Bounds | None) -> pl.DataFrame:
    lacking = [pl.lit(None, dtype).alias(name) for name, dtype in _SIDES.items() if name not in rows.columns]
    found = rows.with_columns(lacking).with_columns(
        rule=pl.lit(rule), state=pl.when(pl.col("missing").is_null()).then(pl.lit("seen")).otherwise(pl.lit("unknown")),
        source=pl.lit(bounds.source if bounds else None, pl.String()),
    )
    return schemas.conform(found, schemas.SIGN)
