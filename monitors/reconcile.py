"""Reported monthly figures against metered quantities, and the balance of stocks (decisions.md 6, 10, 12)."""

from typing import Final, Literal

import polars as pl

from config import schemas
from config.units import factor
from monitors.figure_rules import in_force
from monitors.numbers import whole_sum

STOCKS: Final = ("opening_stock", "closing_stock")
INFLOWS: Final = ("purchased", "own_primary")
OUTFLOWS: Final = ("sold", "converted_out")
BY_EVENT: Final = ("weighbridge", "receipt")  # single deliveries: the days between them lack nothing
METERED, BALANCE = "metered", "stock_balance"
_OWNER: Final = ("enterprise", "carrier")
_GROUP: Final = (*_OWNER, "flow")
_EXACT: Final = 1e-9  # of a figure: what rounding of sums may differ by
Grain = Literal["day", "month"]


def reconcile(figures: pl.DataFrame, quantities: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Compare what was reported for each month with what was metered, and say which of them counts.

    A figure that spans months is divided evenly by its days; each part is compared with the meter on the same days (with the whole
    month where it covers it). Figures of one kind add up; where several of them (deliveries apart) say something of one day, the finding
    `figures_overlap` tells so: they may be of two meters, or one bill under two names. For a carrier whose stock was taken at both ends
    of a month, received + opening stock - passed on - closing stock is a figure of its own, `stock_balance`, beside the consumption.

    A difference is within its tolerance up to `tolerance_ratio` of the reported figure; that is unknown where the meter covers less of
    these days than it needs in order to count. Of the metered quantity and the kinds of figures the first in the order of the rules counts
    that covers enough of the month's days: metered as `measured`, a figure as `estimated`.

    Args:
        figures: MONTHLY_FIGURE.
        quantities: QUANTITY by day or by month.
        rules: FIGURE_RULE with `counts` and `tolerance_ratio`.

    Returns:
        RECONCILIATION, sorted; months in which nothing is reported are left out.
    """
    reported = _sorted(figures)
    metered = _metered(quantities)
    months = _by_month(metered)
    taken = stock_balance(reported, quantities, rules, by="month").filter(
        pl.col("opening_source") == "taken", pl.col("closing_source") == "taken", pl.col("received_kind").is_not_null()
    )
    balance = taken.select(
        *_OWNER, "period", "unit", flow=pl.lit("consumed"), kind=pl.lit(BALANCE), split=pl.lit(value=False),
        quantity=pl.col("opening_stock") + pl.col("received") - pl.col("passed_on") - pl.col("closing_stock"),
        documents=pl.format("{} + {} - {} - {}", "opening_stock", "received", "passed_on", "closing_stock"),
        first=pl.col("period").str.to_date("%Y-%m", strict=False),
    ).join(
        _days(reported).group_by(*_OWNER, "period").agg(pl.col("known_from").max()), on=[*_OWNER, "period"], how="left"
    ).with_columns(day=pl.date_ranges("first", pl.col("first").dt.month_end())).explode("day")
    days = pl.concat([
        _days(reported.filter(~pl.col("flow").is_in(STOCKS))),
        balance.with_columns(quantity=pl.col("quantity") / pl.len().over(*_OWNER, "period")),
    ], how="diagonal").select(*_GROUP, "period", "kind", "day", "quantity", "unit", "split", "documents", "known_from")
    if days.is_empty():
        return schemas.empty(schemas.RECONCILIATION)
    rows = _in_unit_of(days, _units(months, days))
    month_days = pl.col("day").first().dt.month_end().dt.day().cast(pl.UInt32)
    kinds = [*_GROUP, "period", "kind"]
    by_kind = rows.sort(*kinds, "day").group_by(kinds, maintain_order=True).agg(
        pl.col("unit").first(), figure_quantity=whole_sum("quantity"),
        figure_days=pl.col("day").n_unique(), days=month_days, split=pl.col("split").any(),
        documents=pl.col("documents").drop_nulls().unique(maintain_order=True).sort().str.join("; "), known_from=pl.col("known_from").max(),
        _days_told=pl.len(),
    ).with_columns(
        findings=pl.when(~pl.col("kind").is_in(BY_EVENT) & (pl.col("_days_told") > pl.col("figure_days"))).then(pl.lit("figures_overlap")),
        documents=pl.col("documents").replace("", None),
        figure_days=pl.when(pl.col("kind").is_in(BY_EVENT)).then("days").otherwise("figure_days"),
        day=pl.col("period").str.to_date("%Y-%m", strict=False),
    )
    whole = pl.col("figure_days") == pl.col("days")
    same_days = _on_same_days(rows, metered) if _grain(quantities) == "day" else months.clear().with_columns(kind=pl.lit(None, dtype=pl.String()))
    compared = (
        by_kind.join(months.select(*_GROUP, "period", _month="quantity", _month_covered="covered_ratio"), on=[*_GROUP, "period"], how="left")
        .join(same_days.select(*kinds, _part="quantity", _part_covered="covered_ratio"), on=kinds, how="left")
        .with_columns(
            metered_quantity=pl.when(whole).then("_month").otherwise("_part"),
            covered_ratio=pl.when(whole).then("_month_covered").otherwise("_part_covered"),
        )
    )
    return _counted(_toleranced(compared, rules), rules).select(schemas.RECONCILIATION.names()).sort(*_GROUP, "period", "kind")


def stock_balance(figures: pl.DataFrame, quantities: pl.DataFrame, rules: pl.DataFrame, *, by: Grain) -> pl.DataFrame:
    """Book and taken stock by day or month: opening + received - passed on - consumption - difference = closing.

    The consumption is what is metered (for coal the belt scale); a stock-taking is the check, and its difference is booked in
    the period at whose end it was (decisions.md 12), as `stock_difference`: positive where less was found than the book has. A period
    opens with the stock taken for its start, else with the stock taken at the end of the one before, else with that one's book stock.
    Of several kinds that report what was received or found, the first in the order of the rules counts.

    Findings: `negative_stock` (opening, book or closing below 0), `difference_over_tolerance` (by the consumption since the stock-taking
    before, rule `tolerance_ratio` of kind stock_taking), `opening_differs` (from the stock taken at the end of the period before),
    `nothing_received` (in a month), `no_consumption` (nothing metered: the book is unknown until the next stock-taking),
    `consumption_incomplete` (since the stock-taking before, the meter covers less of a period than it needs in order to count).

    Args:
        figures: MONTHLY_FIGURE; carriers without any stock are left out.
        quantities: QUANTITY by day or by month.
        rules: FIGURE_RULE.
        by: length of a period; days need quantities by day.

    Returns:
        STOCK_BALANCE, sorted.
    """
    reported = _sorted(figures)
    owners = reported.filter(pl.col("flow").is_in(STOCKS)).select(_OWNER).unique()
    if owners.is_empty():
        return schemas.empty(schemas.STOCK_BALANCE)
    reported = reported.join(owners, on=_OWNER, how="semi")
    metered = _metered(quantities).join(owners, on=_OWNER, how="semi")
    metered = _by_month(metered) if by == "month" else metered
    every, length = ("1d", 10) if by == "day" else ("1mo", 7)
    units = _units(metered, reported)
    is_stock, opens = pl.col("flow").is_in(STOCKS), pl.col("flow") == "opening_stock"
    flows = _in_unit_of(_days(reported.filter(~is_stock)), units)
    # A stock is that of an instant: of the period that starts then (opening) or that ends then (closing).
    stocks = _in_unit_of(reported.filter(is_stock).with_columns(day=pl.when(opens).then("first_day").otherwise("last_day")), units).filter(
        pl.col("day") == pl.when(opens).then(pl.col("day").dt.truncate(every)).otherwise(_last_day_of(pl.col("day"), every))
    )
    flows, stocks = (rows.with_columns(period=pl.col("day").dt.to_string("%Y-%m-%d").str.slice(0, length)) for rows in (flows, stocks))
    best = _best(pl.concat([flows.select(_SIDES), stocks.select(_SIDES), _metered_side(metered, rules)]), rules)
    inflow, outflow = best.filter(pl.col("flow").is_in(INFLOWS)), best.filter(pl.col("flow").is_in(OUTFLOWS))
    spans = pl.concat([metered.select(*_OWNER, "period"), best.select(*_OWNER, "period")]).with_columns(
        day=(pl.col("period") + "-01").str.slice(0, 10).str.to_date("%Y-%m-%d")
    ).group_by(_OWNER).agg(pl.col("day").min().alias("first"), pl.col("day").max().alias("last"))
    periods = spans.with_columns(day=pl.date_ranges("first", "last", interval=every)).explode("day").select(
        *_OWNER, "day", period=pl.col("day").dt.to_string("%Y-%m-%d").str.slice(0, length)
    ).sort(*_OWNER, "day")
    key = [*_OWNER, "period"]
    consumed = metered.filter(pl.col("flow") == "consumed").select(*key, consumption="quantity", covered_ratio="covered_ratio")
    joined = (
        periods.join(units.rename({"_to": "unit"}), on=_OWNER, how="left").join(consumed, on=key, how="left")
        .join(
            inflow.group_by(key).agg(received=whole_sum("quantity"), received_kind=pl.col("kind").unique().sort().str.join(", ")), on=key, how="left",
        )
        .join(outflow.group_by(key).agg(passed_on=whole_sum("quantity"), passed_on_kind=pl.len()), on=key, how="left")
        .join(best.filter(pl.col("flow") == "opening_stock").select(*key, _opening="quantity"), on=key, how="left")
        .join(best.filter(pl.col("flow") == "closing_stock").select(*key, _closing="quantity"), on=key, how="left")
        .sort(*_OWNER, "day")
    )
    needed = in_force(joined.select("carrier", "day", flow=pl.lit("consumed"), kind=pl.lit(METERED)), rules, "counts")["value"]
    booked = _booked(joined.with_columns(_partial=pl.col("covered_ratio") < needed))
    stock_taken = booked.select("carrier", "day", flow=pl.lit("closing_stock"), kind=pl.lit("stock_taking"))
    tolerances = in_force(stock_taken, rules, "tolerance_ratio")["value"]
    return booked.with_columns(findings=_findings(by, tolerances)).select(schemas.STOCK_BALANCE.names()).sort(*key)


def corrections(reconciled: pl.DataFrame, balances: pl.DataFrame, quantities: pl.DataFrame) -> pl.DataFrame:
    """QUANTITY rows by month that stand beside the metered ones, so that their sum is what counts; nothing metered is altered.

    - Where a reported figure of the flow `consumed` counts: what it has beyond the metered quantity, with the flow `figure_difference`
      (`consumed` for a carrier without a meter; nothing for one that is metered as it comes in, which would count it twice).
    - Else, where the stock was taken at the month's end and the meter covers the time since the stock-taking before: the difference,
      with the flow `stock_difference`. Not where more was found than the book has and nothing was reported as received in a month since
      then: that is no less consumption, but a delivery that nobody reported.

    Both are estimated as a whole, since nothing measured them. Beside a metered row they have its `covered_ratio`, else none, as a reported
    figure has.

    Args:
        reconciled: RECONCILIATION.
        balances: STOCK_BALANCE by month.
        quantities: QUANTITY by month or day: the metered rows.
    """
    key = [*_OWNER, "period"]
    months = _by_month(_metered(quantities))
    metered = months.filter(pl.col("flow") == "consumed").select(*key, _metered="quantity", _covered="covered_ratio")
    coming_in = months.filter(pl.col("flow").is_in([*INFLOWS, *STOCKS])).join(metered, on=key, how="anti")
    counted = reconciled.filter(pl.col("flow") == "consumed", pl.col("counted_quality") == "estimated").unique(key, keep="first", maintain_order=True)
    figures = counted.join(coming_in, on=key, how="anti").join(metered, on=key, how="left").select(
        *key, "unit", flow=pl.when(pl.col("_covered").is_null()).then(pl.lit("consumed")).otherwise(pl.lit("figure_difference")),
        quantity=pl.col("counted_quantity") - pl.col("_metered").fill_null(0.0), covered_ratio="_covered",
    )
    findings = pl.col("findings").fill_null("")
    taken = pl.col("opening_source").eq_missing("taken")
    told = balances.sort(key).with_columns(_run=taken.cum_sum().over(_OWNER)).with_columns(
        _unreported=findings.str.contains("nothing_received").cum_max().over(*_OWNER, "_run"),
    )
    sound = ~findings.str.contains("consumption_incomplete") & ~(pl.col("_unreported") & (pl.col("stock_difference") < 0))
    differences = told.filter(sound, pl.col("stock_difference") != 0).join(figures, on=key, how="anti").select(
        *key, "unit", flow=pl.lit("stock_difference"), quantity="stock_difference", covered_ratio="covered_ratio",
    )
    rows = pl.concat([figures, differences]).with_columns(use=pl.lit("fuel"), estimated_ratio=pl.lit(1.0))
    return schemas.conform(rows, schemas.QUANTITY).sort(*key, "flow")


def by_days(months: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Corrections by day, for the heating value of each: a stock difference in proportion to what was consumed, others evenly.

    Args:
        months: QUANTITY by month, as `corrections` gives it.
        days: QUANTITY by day: the metered rows.

    Returns:
        QUANTITY by day; the days of a row add up to it.
    """
    consumed = _metered(days).filter(pl.col("flow") == "consumed").select(*_OWNER, "period", _weight="quantity")
    first = pl.col("period").str.to_date("%Y-%m", strict=False)
    spread = months.with_row_index("_row").with_columns(_day=pl.date_ranges(first, first.dt.month_end())).explode("_day").with_columns(
        period=pl.col("_day").dt.to_string("%Y-%m-%d")
    ).join(consumed, on=[*_OWNER, "period"], how="left")
    whole = pl.col("_weight").fill_null(0.0).sum().over("_row")
    share = pl.when((pl.col("flow") == "stock_difference") & (whole > 0)).then(pl.col("_weight").fill_null(0.0) / whole).otherwise(
        1 / pl.len().over("_row")
    )
    return schemas.conform(spread.with_columns(quantity=pl.col("quantity") * share), schemas.QUANTITY)


_SIDES: Final = (*_GROUP, "kind", "period", "quantity")


def _sorted(figures: pl.DataFrame) -> pl.DataFrame:
    return schemas.conform(figures, schemas.MONTHLY_FIGURE).sort("first_day", "last_day", *_GROUP, "kind", "document", "quantity")


def _last_day_of(day: pl.Expr, every: str) -> pl.Expr:
    return day.dt.truncate(every).dt.offset_by(every).dt.offset_by("-1d")


def _grain(quantities: pl.DataFrame) -> Grain:
    return "day" if quantities.height and len(quantities["period"][0]) == 10 else "month"


def _metered(quantities: pl.DataFrame) -> pl.DataFrame:
    """Quantities of an enterprise, carrier and flow by period in one unit; what is not known is not covered."""
    rows = schemas.conform(quantities, schemas.QUANTITY).with_columns(pl.col("flow").fill_null("consumed"))
    rows = rows.with_columns(_to=pl.col("unit").drop_nulls().first().over(_OWNER))
    rows = rows.with_columns(quantity=pl.col("quantity") * _scale(rows, "unit", "_to"), unit="_to")
    known = pl.col("quantity").is_not_null()
    return rows.sort(*_GROUP, "period").group_by([*_GROUP, "period"], maintain_order=True).agg(
        pl.col("unit").first(), quantity=pl.when(known.any()).then(pl.col("quantity").sum()),
        covered_ratio=pl.when(known).then(pl.col("covered_ratio").fill_null(1.0)).otherwise(0.0).mean(),
    )


def _by_month(metered: pl.DataFrame) -> pl.DataFrame:
    """Days to months: a day without a row is not covered."""
    if _grain(metered) == "month":
        return metered
    return metered.with_columns(day=pl.col("period").str.to_date("%Y-%m-%d"), period=pl.col("period").str.slice(0, 7)).group_by(
        [*_GROUP, "period"], maintain_order=True
    ).agg(
        pl.col("unit").first(), quantity=pl.when(pl.col("quantity").is_not_null().any()).then(pl.col("quantity").sum()),
        covered_ratio=pl.col("covered_ratio").sum() / pl.col("day").first().dt.month_end().dt.day(),
    )


def _days(figures: pl.DataFrame) -> pl.DataFrame:
    """Figures by day, each divided evenly over its days."""
    count = (pl.col("last_day") - pl.col("first_day")).dt.total_days() + 1
    return figures.with_columns(
        day=pl.date_ranges("first_day", "last_day"), quantity=pl.col("quantity") / count,
        split=pl.col("first_day").dt.truncate("1mo") != pl.col("last_day").dt.truncate("1mo"), documents="document",
    ).explode("day").with_columns(period=pl.col("day").dt.to_string("%Y-%m"))


def _scale(rows: pl.DataFrame, unit: str, to: str) -> pl.Series:
    """By what each row's quantity is multiplied to be in the other unit; null where no definition links the two."""
    pairs = rows.select(unit, to).unique()
    known = pairs.with_columns(_factor=pl.Series([factor(str(one), str(other)) for one, other in pairs.iter_rows()], dtype=pl.Float64()))
    return rows.select(unit, to).join(known, on=[unit, to], how="left", nulls_equal=True, maintain_order="left")["_factor"]


def _units(metered: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The unit of each carrier: that in which it is metered, else that of its first figure."""
    own = [*_OWNER, "unit"]
    return pl.concat([metered.select(own), rows.select(own)]).unique(_OWNER, keep="first", maintain_order=True).rename({"unit": "_to"})


def _in_unit_of(rows: pl.DataFrame, units: pl.DataFrame) -> pl.DataFrame:
    joined = rows.join(units, on=_OWNER, how="left", maintain_order="left")
    return joined.with_columns(quantity=pl.col("quantity") * _scale(joined, "unit", "_to"), unit="_to").drop("_to")


def _on_same_days(days: pl.DataFrame, metered: pl.DataFrame) -> pl.DataFrame:
    """What was metered on the days for which each kind has a figure."""
    by_day = metered.with_columns(day=pl.col("period").str.to_date("%Y-%m-%d")).select(*_GROUP, "day", "quantity", "covered_ratio")
    named = days.select(*_GROUP, "period", "kind", "day").unique(maintain_order=True)
    return named.join(by_day, on=[*_GROUP, "day"], how="left").group_by([*_GROUP, "period", "kind"], maintain_order=True).agg(
        quantity=pl.when(pl.col("quantity").is_not_null().any()).then(pl.col("quantity").sum()),
        covered_ratio=pl.col("covered_ratio").fill_null(0.0).mean(),
    )


def _toleranced(rows: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    limits = in_force(rows.select("carrier", "flow", "kind", "day"), rules, "tolerance_ratio")
    needed = in_force(rows.select("carrier", "flow", "day", kind=pl.lit(METERED)), rules, "counts")["value"].alias("_needed")
    rows = rows.with_columns(
        limits["value"].alias("tolerance_ratio"), limits["source"].alias("tolerance_source"), needed,
        difference=pl.col("metered_quantity") - pl.col("figure_quantity"),
    )
    size = pl.col("figure_quantity").abs()
    covered = (pl.col("covered_ratio") >= pl.col("_needed")).fill_null(value=False)
    missing = (
        pl.when(pl.col("figure_quantity").is_null()).then(pl.lit("no definition links the units of the figures and the meter"))
        .when(pl.col("metered_quantity").is_null() & (pl.col("figure_days") < pl.col("days")))
        .then(pl.lit("no metered quantity for these days; quantities by month are not divided"))
        .when(pl.col("metered_quantity").is_null()).then(pl.lit("no metered quantity"))
        .when(pl.col("_needed").is_null() | pl.col("tolerance_ratio").is_null()).then(pl.lit("no rule is in force"))
        .when(~covered).then(pl.format("the meter covers {} % of the days, not {} %", _percent("covered_ratio"), _percent("_needed")))
    )
    return rows.with_columns(
        difference_ratio=pl.when(size > 0).then(pl.col("difference") / size),
        within=pl.when(missing.is_null()).then(pl.col("difference").abs() <= pl.col("tolerance_ratio") * size * (1 + _EXACT)), missing=missing,
    )


def _counted(rows: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Add what counts in each group and month, and why."""
    key = [*_GROUP, "period"]
    share = pl.col("figure_days") / pl.col("days")
    meters = rows.unique(key, keep="first", maintain_order=True).select(
        *key, "day", kind=pl.lit(METERED), _quantity="_month", _share=pl.col("_month_covered").fill_null(0.0)
    )
    figures = rows.select(*key, "day", "kind", _quantity="figure_quantity", _share=share)
    candidates = pl.concat([meters, figures])
    ranks = in_force(candidates.select("carrier", "flow", "kind", "day"), rules, "counts")
    candidates = candidates.with_columns(ranks["rank"], ranks["value"].alias("_needed"), ranks["source"].alias("rule_source"))
    enough = pl.col("_quantity").is_not_null() & (pl.col("_share") >= pl.col("_needed") - _EXACT)
    said = pl.format("{} covers {} % of the days (needs {} %)", "kind", _percent("_share"), _percent("_needed"))
    fitting = candidates.filter(enough).sort(*key, "rank").unique(key, keep="first", maintain_order=True)
    passed = candidates.join(fitting.select(*key, _chosen="rank"), on=key, how="left").filter(
        pl.col("rank").is_not_null(), pl.col("_chosen").is_null() | (pl.col("rank") <= pl.col("_chosen"))
    ).sort(*key, "rank").group_by(key, maintain_order=True).agg(why=said.str.join("; "))
    chosen = fitting.select(
        *key, "rule_source", counts="kind", counted_quantity="_quantity",
        counted_quality=pl.when(pl.col("kind") == METERED).then(pl.lit("measured")).otherwise(pl.lit("estimated")),
    )
    return rows.join(chosen, on=key, how="left").join(passed, on=key, how="left")


def _metered_side(metered: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Metered flows in and out that cover enough of their period to count."""
    sides = metered.filter(pl.col("flow").is_in([*INFLOWS, *OUTFLOWS]), pl.col("quantity").is_not_null()).with_columns(kind=pl.lit(METERED))
    needed = in_force(_dated(sides), rules, "counts")["value"]
    return sides.filter(pl.col("covered_ratio") >= needed).select(_SIDES)


def _best(sides: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Of the kinds that report a flow of a period the first in the order of the rules, each kind summed."""
    key = [*_GROUP, "period"]
    summed = sides.group_by([*key, "kind"], maintain_order=True).agg(quantity=whole_sum("quantity"))
    ranks = in_force(_dated(summed), rules, "counts")["rank"]
    return summed.with_columns(ranks).sort(*key, "rank", nulls_last=True).unique(key, keep="first", maintain_order=True)


def _dated(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("carrier", "flow", "kind", day=pl.col("period").str.slice(0, 7).str.to_date("%Y-%m", strict=False))


def _booked(rows: pl.DataFrame) -> pl.DataFrame:
    """Carry the book stock from one stock-taking to the next."""
    before = pl.col("_closing").shift(1).over(_OWNER)
    rows = rows.with_columns(
        # What is reported in a unit that nothing links to the stock's is not nothing: the book is unknown then.
        *(pl.when(pl.col(f"{flow}_kind").is_null()).then(0.0).otherwise(flow).alias(flow) for flow in ("received", "passed_on")),
        _reported=pl.col("received_kind").is_not_null(),
        _taken=pl.coalesce("_opening", before), _differs=(pl.col("_opening") - before).abs() > before.abs() * _EXACT,
    ).with_columns(_net=pl.col("received") - pl.col("passed_on") - pl.col("consumption"))
    run = [*_OWNER, "_run"]
    since = pl.col("_net").fill_null(0.0).cum_sum().over(run)
    broken = pl.col("_net").is_null().cum_max().over(run)
    rows = rows.with_columns(_run=pl.col("_taken").is_not_null().cum_sum().over(_OWNER)).with_columns(
        book_stock=pl.when(~broken).then(pl.col("_taken").first().over(run) + since),
        _consumed_since=pl.col("consumption").cum_sum().over(run), _partial=pl.col("_partial").fill_null(value=False).cum_max().over(run),
    )
    opening = pl.coalesce("_taken", pl.col("book_stock").shift(1).over(_OWNER))
    rows = rows.with_columns(
        opening_stock=opening, opening_source=_source("_taken", opening), closing_stock=pl.coalesce("_closing", "book_stock"),
        closing_source=_source("_closing", pl.col("book_stock")), stock_difference=pl.col("book_stock") - pl.col("_closing"),
    )
    return rows.with_columns(
        residual=pl.col("opening_stock") + pl.col("received") - pl.col("passed_on") - pl.col("consumption")
        - pl.col("stock_difference").fill_null(0.0) - pl.col("closing_stock"),
    )


def _source(taken: str, other: pl.Expr) -> pl.Expr:
    return pl.when(pl.col(taken).is_not_null()).then(pl.lit("taken")).when(other.is_not_null()).then(pl.lit("carried"))


def _findings(grain: Grain, tolerances: pl.Series) -> pl.Expr:
    limit = tolerances * pl.col("_consumed_since").abs() * (1 + _EXACT)
    found = {
        "negative_stock": (pl.min_horizontal("opening_stock", "book_stock", "closing_stock") < 0),
        "difference_over_tolerance": pl.col("stock_difference").abs() > limit,
        "opening_differs": pl.col("_differs"),
        "nothing_received": ~pl.col("_reported") & pl.lit(value=grain == "month"),
        "no_consumption": pl.col("consumption").is_null(),
        "consumption_incomplete": pl.col("_partial"),
    }
    names = [pl.when(wrong.fill_null(value=False)).then(pl.lit(name)) for name, wrong in found.items()]
    return pl.concat_str(*names, separator=", ", ignore_nulls=True).replace("", None)


def _percent(column: str) -> pl.Expr:
    return (pl.col(column) * 100).round(1)
