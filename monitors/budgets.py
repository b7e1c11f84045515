"""Dual-control goals against what was used: progress, gap, colour, and the rate that is needed for the rest (domain decision 21).

A *goal* is a ceiling (at most), a floor (at least) or a reduction (1 - actual / base, at least). Of an amount, a period that still
runs has the goal of its share so far, by days or by given shares of the months; a level (an intensity) and a reduction have the same
goal from the first day. `missed` is by how much the goal is not reached, whatever its kind:

    ceiling: actual - goal        floor: goal - actual        reduction: goal - (1 - actual / base)

It is red where missed > bound x |goal|, yellow where 0 < missed, green else, with the bound of the rule in force on the last day that
is judged; a reduction that is due is red where the figure rose. All are compared with full figures: what floating point leaves counts
as equal.
"""

from datetime import date
from typing import Final

import polars as pl

from config import schemas
from config.budgets import KINDS, LEVEL_PATTERN, NOT_JUDGED, parsed_shares
from config.calendar import is_period, period_days
from config.phrases import with_chinese
from config.tables import holding
from monitors.forecast import forecast
from monitors.limits import MIN_COVERED_RATIO
from monitors.numbers import SIGNIFICANT_DIGITS, whole_sum

REASONS: Final = 3  # of the months of a figure that are not known; more say no more
COLOURS: Final = ("red", "yellow", "green")
_EPSILON: Final = 1e-12
_SUBJECT: Final = ["subject", "measure"]
_ZH: Final = {
    "ceiling": "上限", "floor": "下限", "reduction_ratio": "降低率", "red": "红色", "yellow": "黄色", "green": "绿色",
    "{} {} {} of {}: {}": "{} {} {}（{}）：{}", "goal by {} ({} % of the period): {} x {} % = {}": "截至 {}（进度 {} %）的目标：{} × {} % = {}",
    "goal {}": "目标 {}", "reduction 1 - {} / {} = {} %": "降低率 1 - {} ÷ {} = {} %", "actual {}": "实际 {}",
    "missed by {} ({} % of the goal)": "未完成，差 {}（为目标的 {} %）", "met, by {} ({} % of the goal)": "完成，余 {}（为目标的 {} %）",
    "missed by {}": "未完成，差 {}", "met, by {}": "完成，余 {}", "the goal is 0: no gap ratio": "目标为零，无差距比例",
    "the figure rose where a reduction is due": "应降反升", "missing: {}": "缺少：{}",
    "the rest of the period ({} days): {} a day, so far {}": "其余 {} 天：每天 {}，此前每天 {}",
    "the rest of the period ({} days) at the same amounts: {}, so far {}": "其余 {} 天（规模不变）：{}，此前 {}",
    "red above {} %": "超过 {} % 为红色", "; ": "；",
}


def early_warnings(
    budgets: pl.DataFrame, actuals: pl.DataFrame, rules: pl.DataFrame, on: date, *, consequences: pl.DataFrame | None = None,
    reported_reductions: bool = False,
) -> pl.DataFrame:
    """Hold goals against what was used until a day.

    What was used is the row of the goal's own period, else the sum of its months (or days) that have begun by then. The base is that
    of these rows, else the goal's own (of which an amount that still runs has its share of the period), else that of the same spans
    one year before. Where the figure is not known, or less than 90 % of it is covered by data, there is no colour.

    Args:
        budgets: BUDGET.
        actuals: ACTUAL, one row for each subject, measure and period; months of former years are what a forecast is made from.
        rules: WARNING_RULE.
        on: the day as of which, included.
        consequences: CONSEQUENCE; what a colour brings is told where the goal says whose it is (`level`), and what a rank brings, with what
            would have to be known for it.
        reported_reductions: where a reduction has no base anywhere, `actual` is the reduction that was reached, as a ratio below 1.

    Returns:
        WARNING, in the order of the budgets.

    >>> from config.budgets import warning_rules
    >>> goal = pl.DataFrame({"subject": "P", "measure": "energy", "kind": "ceiling", "period": "2025", "target": 1000.0})
    >>> used = pl.DataFrame({"subject": "P", "measure": "energy", "period": ["2025"], "actual": [1100.0]})
    >>> early_warnings(goal, used, warning_rules(), date(2025, 12, 31)).select("gap_ratio", "colour").row(0)
    (0.1, 'yellow')
    """
    rows = schemas.conform(budgets, schemas.BUDGET).with_row_index("_b")
    rows = rows.with_columns(_days_of(rows["period"])).with_columns(
        _upto=pl.min_horizontal("_last", pl.lit(on)), _is_level=pl.col("measure").str.contains(LEVEL_PATTERN),
        _shares=_month_shares(rows["shares"]),
    )
    used = schemas.conform(actuals, schemas.ACTUAL)
    used = used.with_columns(_days_of(used["period"]))
    rows = _judged(_with_figure(rows, used, reported_reductions=reported_reductions), _bounds(rows, rules))
    rows = _with_consequences(_with_forecast(rows, used, on), consequences)
    said = with_chinese(with_chinese(rows), "_a_source").with_columns(derivation=_derivation(zh=False), derivation_zh=_derivation(zh=True))
    return said.sort("_b").select(*schemas.WARNING)


def misfits(budgets: pl.DataFrame) -> list[tuple[int, str, str, str]]:
    """What no goal can be: a kind that there is not, a reduction that is no ratio, shares of months that are none.

    Returns:
        Row (from 0), column, what is wrong, and what would be right.
    """
    found = []
    for number, row in enumerate(schemas.conform(budgets, schemas.BUDGET).iter_rows(named=True)):
        if row["kind"] not in KINDS:
            found.append((number, "kind", f"{row['kind']!r} is no kind of goal", f"Write one of {', '.join(KINDS)}."))
        elif row["kind"] == "reduction_ratio" and row["target"] is not None and not -1 < row["target"] < 1:
            found.append((number, "target", f"{row['target']:.15g} is no share of the base", "Write 0.03 for a reduction by 3 %."))
        if row["shares"] is None:
            continue
        try:
            parsed_shares(row["shares"])
        except ValueError:
            found.append((number, "shares", "are not the shares of twelve months", "Write twelve numbers that add up to 1, with ; between them."))
        if len(str(row["period"])) != 4:
            found.append((number, "shares", f"divide a year, and the period is {row['period']}", "Leave them out, or write the year's budget."))
    return found


def _days_of(periods: pl.Series) -> list[pl.Expr]:
    days = {period: period_days(period) for period in periods.drop_nulls().unique()}
    return [
        pl.col("period").replace_strict({period: both[end] for period, both in days.items()}, default=None, return_dtype=pl.Date()).alias(name)
        for end, name in enumerate(("_first", "_last"))
    ]


def _month_shares(texts: pl.Series) -> pl.Series:
    known = {text: parsed_shares(text) for text in texts.drop_nulls().unique()}
    return pl.Series("_shares", [known.get(text) for text in texts], dtype=pl.List(pl.Float64()))


def _with_figure(rows: pl.DataFrame, used: pl.DataFrame, *, reported_reductions: bool) -> pl.DataFrame:
    """Add `actual`, `base`, `through`, `progress_ratio`, `progress_target`, `_figure`, `_goal` and `missing`."""
    named = used.rename({
        "period": "_a_period", "_first": "_a_first", "_last": "_a_last", "base": "_a_base", "missing": "_a_missing", "source": "_a_source",
    })
    inside = rows.select("_b", *_SUBJECT, "kind", "period", "_first", "_last", "_upto").join(named, on=_SUBJECT, nulls_equal=False).filter(
        pl.col("_a_first") >= pl.col("_first"), pl.col("_a_last") <= pl.col("_last"), pl.col("_a_first") <= pl.col("_upto"),
    )
    own = (pl.col("_a_period") == pl.col("period")) & pl.col("actual").is_not_null()
    by_days = is_period("day", "_a_period")
    grain = pl.when(own).then(0).when(pl.col("_a_period") == pl.col("period")).then(3).when(by_days).then(2).otherwise(1)
    inside = inside.with_columns(_grain=grain).filter(pl.col("_grain") == pl.col("_grain").min().over("_b")).with_columns(
        _a_upto=pl.min_horizontal("_a_last", "_upto"),
        _before=pl.format("{}{}", pl.col("_a_period").str.slice(0, 4).cast(pl.Int32) - 1, pl.col("_a_period").str.slice(4)),
    )
    earlier = named.select(*_SUBJECT, pl.col("_a_period").alias("_before"), _then=pl.col("actual"), _then_per=pl.col("per"))
    # What still runs has nothing to stand beside it: the row of the year before is that of the whole month or year.
    whole = pl.col("_a_upto") == pl.col("_a_last")
    inside = inside.filter(whole | (pl.col("_grain") == 0) | (pl.col("kind") != "reduction_ratio"))
    inside = inside.join(earlier, on=[*_SUBJECT, "_before"], how="left").with_columns(
        pl.when(whole).then(name).alias(name) for name in ("_then", "_then_per")
    )
    days = (pl.col("_a_upto") - pl.col("_a_first")).dt.total_days() + 1
    has_per = pl.col("per").is_not_null().any()

    found = inside.group_by("_b").agg(
        actual=pl.when(has_per).then(whole_sum("actual") / whole_sum("per")).otherwise(whole_sum("actual")),
        _then=pl.when(has_per).then(whole_sum("_then") / whole_sum("_then_per")).otherwise(whole_sum("_then")),
        _a_base=pl.when(pl.col("_a_base").n_unique() == 1, has_per | (pl.len() == 1)).then(pl.col("_a_base").first())
        .when(~has_per).then(whole_sum("_a_base")),
        _is_reduction=~has_per & pl.col("_a_base").is_null().all() & (pl.col("actual") < 1).all(),  # a reduction as a ratio, where no base is given
        _summed=(pl.col("_grain").first() > 0) & ~has_per, through=pl.col("_a_upto").max(), _days=days.sum(),
        covered_ratio=(pl.col("covered_ratio").fill_null(1.0) * days).sum() / days.sum(),
        _a_missing=pl.col("_a_missing").drop_nulls().unique(maintain_order=True).head(REASONS).str.join("; "),
        _a_source=pl.col("_a_source").drop_nulls().unique().sort().str.join("; "),
        _unknown=pl.col("_a_period").filter(pl.col("actual").is_null()).sort().str.join(", "),
    )
    rows = rows.rename({"base": "_own_base"}).join(found, on="_b", how="left").join(
        _years(used), on=[*_SUBJECT, "period"], how="left"
    ).with_columns(progress_ratio=_progress())
    scaled = pl.when("_is_level").then("_own_base").otherwise(pl.col("_own_base") * pl.col("progress_ratio"))
    rows = rows.with_columns(base=pl.coalesce("_a_base", scaled, "_then"))
    reduction = pl.col("kind") == "reduction_ratio"
    from_base = pl.when(pl.col("base") > 0).then(1 - pl.col("actual") / pl.col("base"))
    reported = pl.col("base").is_null() & pl.col("_is_reduction").fill_null(value=True) & reported_reductions
    reached = pl.when(reported).then("actual").otherwise(from_base)
    needs_base = reduction & pl.col("base").is_null() & ~reported
    expected = (pl.col("through") - pl.col("_first")).dt.total_days() + 1
    missing = pl.concat_list(
        pl.when(pl.col("_upto") < pl.col("_first")).then(pl.format("the period begins on {}", "_first")),
        pl.when(pl.col("target").is_null()).then(pl.lit("the goal has no number yet")),
        pl.when((pl.col("_upto") >= pl.col("_first")) & pl.col("through").is_null()).then(pl.format("no figure of {} in {}", "measure", "period")),
        pl.when(pl.col("_unknown") != "").then(pl.format("no figure of {} in {}", "measure", "_unknown")),
        pl.when(pl.col("_days") < expected).then(pl.format("figures for {} of the {} days to {} only", "_days", expected, "through")),
        pl.when(pl.col("_summed") & (pl.col("_is_level") | (reduction & (needs_base.not_()) & pl.col("base").is_null())))
        .then(pl.format("parts of {} cannot be added: give the figure of {}, or what it is divided by", "measure", "period")),
        pl.when(needs_base).then(pl.lit("the base of the reduction")),
        pl.when(reduction & (pl.col("base") <= 0)).then(pl.format("a base above 0 (it is {})", _number("base"))),
        pl.when(pl.col("covered_ratio").round_sig_figs(SIGNIFICANT_DIGITS) < MIN_COVERED_RATIO)
        .then(pl.format("data: {} % covered, 90 % needed", _percent("covered_ratio"))),
        pl.when(pl.col("_a_missing") != "").then("_a_missing"),
    ).list.drop_nulls()
    goal = pl.when(reduction | pl.col("_is_level")).then("target").otherwise(pl.col("target") * pl.col("progress_ratio"))
    return rows.with_columns(
        actual=pl.when((pl.col("_summed") & pl.col("_is_level")).fill_null(value=False)).then(None).otherwise("actual"),
        missing=pl.when(missing.list.len() > 0).then(missing.list.join("; ")), progress_target=goal,
        reduction_ratio=pl.when(reduction).then(reached), _figure=pl.when(reduction).then(reached).otherwise("actual"),
    )


def _years(used: pl.DataFrame) -> pl.DataFrame:
    """What the twelve months of the year before each year came to."""
    months = used.filter(is_period("month"), pl.col("actual").is_not_null())
    years = months.group_by(*_SUBJECT, _year=pl.col("_first").dt.year()).agg(pl.len().alias("_months"), pl.col("actual", "per").sum(), _levels=pl.col(
        "per").is_not_null().all())
    value = pl.when("_levels").then(pl.col("actual") / pl.col("per")).otherwise("actual")
    return years.filter(pl.col("_months") == 12).select(*_SUBJECT, period=(pl.col("_year") + 1).cast(pl.String()), _year_before=value)


def _progress() -> pl.Expr:
    """The share of a period up to `through`: by days, or by the shares of months with the running one by its days."""
    by_days = ((pl.col("through") - pl.col("_first")).dt.total_days() + 1) / ((pl.col("_last") - pl.col("_first")).dt.total_days() + 1)
    month = pl.col("through").dt.month().cast(pl.Int64)
    of_month = pl.col("through").dt.day() / pl.col("through").dt.month_end().dt.day()
    by_shares = pl.col("_shares").list.head(month - 1).list.sum() + pl.col("_shares").list.get(month - 1) * of_month
    over = pl.col("through") == pl.col("_last")
    return pl.when(over).then(1.0).when(pl.col("_shares").is_not_null()).then(by_shares).otherwise(by_days)


def _bounds(rows: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Of each goal the bound above which it is red, whether a rise is red, and the sources."""
    law = schemas.conform(rules, schemas.WARNING_RULE).rename({"kind": "_of", "source": "_source"}).with_row_index("_r")
    held = rows.select("_b", "kind", "_upto").join(law, how="cross").filter(
        pl.col("_of").is_null() | (pl.col("_of") == pl.col("kind")), holding(pl.col("_upto")),
    ).sort("valid_from", "_r")
    of_rule = {rule: held.filter(pl.col("rule") == rule).group_by("_b").agg(pl.col("value", "_source").last()) for rule in (
        "red_above_missed_ratio", "rise_is_red",
    )}
    bound = of_rule["red_above_missed_ratio"].rename({"value": "_bound", "_source": "_bound_source"})
    rise = of_rule["rise_is_red"].rename({"value": "_rise", "_source": "_rise_source"})
    first = law.filter(pl.col("rule") == "red_above_missed_ratio")["valid_from"].min()
    return rows.select("_b", _rules_from=pl.lit(str(first))).join(bound, on="_b", how="left").join(rise, on="_b", how="left")


def _missed(figure: str, goal: str) -> pl.Expr:
    """By how much a goal is missed; 0 where figure and goal are equal but for floating point."""
    step = pl.when(pl.col("kind") == "ceiling").then(pl.col(figure) - pl.col(goal)).otherwise(pl.col(goal) - pl.col(figure))
    return pl.when(step.abs() <= _EPSILON * pl.max_horizontal(pl.col(figure).abs(), pl.col(goal).abs(), pl.lit(1e-300))).then(0.0).otherwise(step)


def _colour(missed: str, goal: str, figure: str) -> pl.Expr:
    allowed = pl.col("_bound") * pl.col(goal).abs()
    rose = (pl.col("kind") == "reduction_ratio") & (pl.col("target") > 0) & (pl.col("_rise") == 1) & (pl.col(figure) < -_EPSILON)
    beyond = (pl.col(missed) - allowed) > _EPSILON * pl.max_horizontal(pl.col(goal).abs(), pl.col(figure).abs())
    return (
        pl.when(pl.col("_bound").is_null() | pl.col(missed).is_null()).then(None)
        .when(rose | beyond).then(pl.lit("red")).when(pl.col(missed) > 0).then(pl.lit("yellow")).otherwise(pl.lit("green"))
    )


def _judged(rows: pl.DataFrame, bounds: pl.DataFrame) -> pl.DataFrame:
    """Add gap, colour, the rate needed and the sources."""
    rows = rows.join(bounds, on="_b", how="left").with_columns(_missed=_missed("_figure", "progress_target"))
    unruled = pl.col("_bound").is_null() & (pl.col("_upto") >= pl.col("_first"))
    no_rule = pl.when(unruled).then(pl.format("a rule of the colours in force on {} (the first begins on {})", "_upto", "_rules_from"))
    rows = rows.with_columns(missing=pl.concat_str("missing", no_rule, separator="; ", ignore_nulls=True).replace("", None))
    known = pl.col("missing").is_null()
    left = (pl.col("_last") - pl.col("through")).dt.total_days()
    share, runs = pl.col("progress_ratio"), known & (left > 0) & (pl.col("progress_ratio") < 1)
    reduction = pl.col("kind") == "reduction_ratio"
    by_share = pl.when("_is_level").then("base").otherwise(pl.col("base") / share)
    whole_base = pl.coalesce("_own_base", pl.when(pl.col("_a_base").is_null()).then("_year_before"), by_share)
    allowed = pl.when(reduction).then(whole_base * (1 - pl.col("target"))).otherwise("target")
    level = pl.when(reduction & pl.col("base").is_not_null()).then(pl.col("base") * (1 - pl.col("target"))).otherwise("target")
    by_day = ~pl.col("_is_level") & ~(reduction & pl.col("base").is_null())
    of_rest = (level - share * pl.col("actual")) / (1 - share)
    passed = (pl.col("through") - pl.col("_first")).dt.total_days() + 1
    factors = pl.col("_a_source").replace("", None)
    sources = pl.concat_str("source", "_bound_source", pl.when(reduction).then("_rise_source"), factors, separator="; ", ignore_nulls=True)
    return rows.with_columns(
        gap_ratio=pl.when(known & (pl.col("progress_target") != 0)).then(pl.col("_missed") / pl.col("progress_target").abs()),
        colour=pl.when(known).then(_colour("_missed", "progress_target", "_figure")), _left=left,
        needed_rate=pl.when(runs).then(pl.when(by_day).then((allowed - pl.col("actual")) / left).otherwise(of_rest)),
        needed_of=pl.when(runs).then(
            pl.when(by_day).then(pl.lit("a_day")).when(reduction & pl.col("base").is_null()).then(pl.lit("reduction")).otherwise(pl.lit("level"))
        ),
        rate=pl.when(runs).then(pl.when(by_day).then(pl.col("actual") / passed).otherwise("actual")),
        base=pl.when(reduction).then("base"), _whole_base=whole_base, source=sources,
    )


def _with_forecast(rows: pl.DataFrame, used: pl.DataFrame, on: date) -> pl.DataFrame:
    """Add the forecast of the year, of goals for the year of the day."""
    yearly = rows.filter(pl.col("period") == str(on.year)).select(_SUBJECT).unique()
    months = used.filter(is_period("month")).join(yearly, on=_SUBJECT, how="semi")
    # Levels of months cannot be added up to that of a year; what is divided, and by what, can.
    months = months.filter(~pl.col("measure").str.contains(LEVEL_PATTERN) | pl.col("per").is_not_null().any().over(_SUBJECT))
    told = forecast(months, _SUBJECT, on).rename({"year": "period", "value": "forecast"}).rename(
        {name: f"forecast_{name}" for name in ("low", "high", "reason", "reason_zh")}
    ).select(*_SUBJECT, "period", "forecast", *(f"forecast_{name}" for name in ("low", "high", "reason", "reason_zh")))
    rows = rows.join(told, on=[*_SUBJECT, "period"], how="left")
    of_kind = pl.when(pl.col("kind") == "reduction_ratio").then(1 - pl.col("forecast") / pl.col("_whole_base")).otherwise("forecast")
    rows = rows.with_columns(_forecast=of_kind).with_columns(_forecast_missed=_missed("_forecast", "target"))
    return rows.with_columns(forecast_colour=_colour("_forecast_missed", "target", "_forecast"))


def _with_consequences(rows: pl.DataFrame, table: pl.DataFrame | None) -> pl.DataFrame:
    law = schemas.conform(table if table is not None else schemas.empty(schemas.CONSEQUENCE), schemas.CONSEQUENCE).drop("source", "confidence")
    intensity = pl.col("_is_level") & (pl.col("kind") != "floor")  # a share of renewable power to be reached is none
    kind = pl.when(intensity).then(pl.lit("intensity")).otherwise(pl.lit("total"))
    held = rows.select("_b", "level", "_upto", event="colour", _kind=kind).join(law, on=["event", "level"]).filter(
        pl.col("measure_kind").is_null() | (pl.col("measure_kind") == pl.col("_kind")), holding(pl.col("_upto")),
    )
    told = held.group_by("_b", maintain_order=True).agg(
        consequence=pl.col("consequence_en").str.join("; "), consequence_zh=pl.col("consequence_zh").str.join("；"),
    )
    events = pl.DataFrame([(event, each.en, each.zh) for event, each in NOT_JUDGED.items()], schema=["event", "_en", "_zh"], orient="row")
    unknown = rows.select("_b", "level", "_upto").join(law.join(events, on="event"), on="level").filter(holding(pl.col("_upto")))
    listed = unknown.group_by("_b", maintain_order=True).agg(
        not_judged=pl.format("{}: {}", "_en", "consequence_en").str.join("; "),
        not_judged_zh=pl.format("{}：{}", "_zh", "consequence_zh").str.join("；"),
    ).with_columns(not_judged=pl.format("not judged here: {}", "not_judged"), not_judged_zh=pl.format("此处未判定：{}", "not_judged_zh"))
    return rows.join(told, on="_b", how="left").join(listed, on="_b", how="left")


def _derivation(*, zh: bool) -> pl.Expr:
    """The judgement as one line: figure, goal, gap, what is needed, what is missing."""
    def say(text: str) -> str:
        return _ZH[text] if zh else text

    kind, colour = (pl.col(name).replace({each: say(each) for each in words} if zh else {}) for name, words in (("kind", KINDS), ("colour", COLOURS)))
    progress = pl.col("progress_target") != pl.col("target")
    missed, zero = pl.col("_missed"), pl.col("progress_target") == 0
    size = _number(missed.abs())
    gap = _percent(pl.col("gap_ratio").abs())
    known = pl.col("missing").is_null()
    percent = _percent("progress_ratio")
    needed = pl.when(pl.col("needed_of") == "a_day").then(
        pl.format(say("the rest of the period ({} days): {} a day, so far {}"), "_left", _number("needed_rate"), _number("rate"))
    ).otherwise(pl.format(
        say("the rest of the period ({} days) at the same amounts: {}, so far {}"), "_left", _number("needed_rate"), _number("rate"),
    ))
    pieces = [
        pl.when(pl.col("reduction_ratio").is_not_null() & pl.col("base").is_not_null()).then(
            pl.format(say("reduction 1 - {} / {} = {} %"), _number("actual"), _number("base"), _percent("reduction_ratio"))
        ).when(pl.col("actual").is_not_null()).then(pl.format(say("actual {}"), _number("actual"))),
        pl.when(progress).then(pl.format(
            say("goal by {} ({} % of the period): {} x {} % = {}"), "through", percent, _number("target"), percent, _number("progress_target"),
        )).when(pl.col("target").is_not_null()).then(pl.format(say("goal {}"), _number("target"))),
        pl.when(known & zero & (missed > 0)).then(pl.format(say("missed by {}"), size))
        .when(known & zero).then(pl.format(say("met, by {}"), size))
        .when(known & (missed > 0)).then(pl.format(say("missed by {} ({} % of the goal)"), size, gap))
        .when(known).then(pl.format(say("met, by {} ({} % of the goal)"), size, gap)),
        pl.when(known & zero).then(pl.lit(say("the goal is 0: no gap ratio"))),
        pl.when(known & (pl.col("kind") == "reduction_ratio") & (pl.col("_figure") < 0) & (pl.col("target") > 0))
        .then(pl.lit(say("the figure rose where a reduction is due"))),
        pl.when(known).then(pl.format(say("red above {} %"), _percent("_bound"))),
        pl.when(pl.col("needed_rate").is_not_null()).then(needed),
        pl.when(~known).then(pl.format(say("missing: {}"), "missing_zh" if zh else "missing")),
        pl.col("_a_source_zh" if zh else "_a_source").replace("", None),
    ]
    head = pl.format(say("{} {} {} of {}: {}"), "subject", "measure", kind, "period", colour.fill_null("-"))
    return pl.concat_list(head, *pieces).list.drop_nulls().list.join(say("; "))


def _number(of: str | pl.Expr) -> pl.Expr:
    value = pl.col(of) if isinstance(of, str) else of
    return value.round_sig_figs(8).cast(pl.String()).str.replace(r"\.0$", "")


def _percent(of: str | pl.Expr) -> pl.Expr:
    value = pl.col(of) if isinstance(of, str) else of
    return _number((100 * value).round(2))
