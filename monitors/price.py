"""Add-ons to the price of electricity by dated schemes (national_monitoring 12; decisions.md 5 and 23)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from operator import itemgetter
from typing import Any, Final

import polars as pl

from config import schemas
from config.names import folded, near_it
from config.phrases import with_chinese
from monitors.limits import unit_factor, with_days
from monitors.numbers import SIGNIFICANT_DIGITS, number

CONSUMPTION_UNIT: Final = "kWh/t"
OPEN_VERDICTS: Final = ("incomplete", "exceeds_measured_alone", "no_rule")  # of `limits`: their figure is no basis of a price
_MODIFIERS: Final = ("unpaid_days_above", "unpaid_factor", "renewable_above_ratio", "renewable_cut_ratio")
_ZH: Final[Mapping[str, str]] = {  # pieces of a derivation; the order of what is put in stays
    "{} % of the limit above it": "超出限额的 {} %", "{} kWh/t": "{} kWh/t",
    " (the threshold {} and excess_ratio)": "（由基准 {} 与 excess_ratio 得出）",
    "{} in force from {}: step {}": "{}，自 {} 起施行：{} 档", "{} started units of {} x {} CNY/kWh": "{} 个起算单位（每 {}）× {} 元/kWh",
    "{} CNY/kWh": "{} 元/kWh", " x {} (unpaid for {} days)": " × {}（欠缴 {} 天）",
    " x (1 - {} completed points of renewable power x {})": " ×（1 - 可再生电力 {} 个整百分点 × {}）", " = {} CNY/kWh": " = {} 元/kWh",
    "{} kWh: {} CNY": "{} kWh：{} 元", "missing: {}": "缺少：{}", "{} confidence": "可信度{}",
    "no billing period given, taken by the only edition of the scheme": "未给出计费周期，按该方案唯一版本计",
    "the province's incentive value is not given, taken as reached": "未给出本省激励值，按已达到计",
    "; ": "；", "high": "高", "medium": "中", "low": "低",
}
LANGUAGES: Final[Mapping[str, Callable[[str], str]]] = {"en": str, "zh": _ZH.__getitem__}


def price(products: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """Find the step of a scheme that a row is in, and its add-on (元/kWh), by the edition in force on all days of the billing period.

    Values are compared at 12 significant digits; a bound belongs to the step that the document gives it to. A period that two editions touch
    has no add-on: it is to be billed in its parts. Started units are counted from the step's own bound; unpaid days raise the add-on and
    completed percentage points of renewable power lower it where the edition says so, but the latter only where the province's incentive
    value is reached; where nothing is said of it the share counts, and the derivation says so. Without a period the scheme's only edition holds,
    if it is still open, and the derivation says so too; of several none is chosen.
    No step follows from an excess over a limit at or below zero (decisions.md 5), nor from a verdict that is open.

    Args:
        products: PRICED; further columns are carried through. Schemes by excess ask for `excess_ratio`; those by consumption for `actual` (or
            `value`) with `unit`, or for the ratio by which their own threshold is exceeded; the others for `catalogue_class` or `grade`.
            An empty cell of `incentive_ratio` is unknown; only where the whole column is absent is the value taken as reached.
        steps: PRICE_STEP.

    Returns:
        PRICED, the further columns, and ADDON in the order of the rows. `missing` says why an add-on is empty.

    >>> from config.price_schemes import price_schemes
    >>> billed = pl.DataFrame({"scheme": ["by_excess"] * 2, "billing_period": ["2025-03"] * 2, "excess_ratio": [1.0, 1.01]})
    >>> price(billed, price_schemes())["addon_cny_per_kwh"].to_list()
    [0.1, 0.3]
    """
    further = [name for name in products.columns if name not in schemas.PRICED and name not in schemas.ADDON]
    rows = pl.concat([schemas.conform(products, schemas.PRICED), products.select(further)], how="horizontal").with_row_index("_row")
    dated = with_days(rows.select("period_start", "period_end", period=pl.coalesce("billing_period", "period")))
    rows = rows.with_columns(_first=dated["period_start"], _last=dated["period_end"])
    rows = rows.with_columns(_incentive_asked=pl.lit("incentive_ratio" in products.columns))
    rows = _measured(_with_edition(rows, steps), _categories(steps))
    table = steps.with_columns(_begin="valid_from").select(
        "scheme", "_begin", "step", "category", "from_value", "above", "up_to", "below", "addon_cny_per_kwh", "per_started",
        *_MODIFIERS, _incentive="incentive_ratio",
    )
    measure, category = pl.col("_measure"), pl.col("category")

    def side(bound: str, holds: pl.Expr) -> pl.Expr:
        return pl.col(bound).is_null() | holds

    within = (
        pl.when(pl.col("kind").is_in(["excess", "consumption"])).then(
            side("from_value", measure >= pl.col("from_value")) & side("above", measure > pl.col("above"))
            & side("up_to", measure <= pl.col("up_to")) & side("below", measure < pl.col("below"))
        ).otherwise(category == pl.col("_code"))
    )
    found = rows.filter(pl.col("_reason").is_null()).join(table, on=["scheme", "_begin"], how="inner").filter(within)
    names = [name for name in table.columns if name not in ("scheme", "_begin")]
    rows = rows.join(found.select("_row", *names), on="_row", how="left", maintain_order="left")
    rows = with_chinese(_added(rows))
    said = [_derivation(language).alias(name) for language, name in (("en", "derivation"), ("zh", "derivation_zh"))]
    return rows.with_columns(said).select(*schemas.PRICED, *further, *schemas.ADDON)


def misfits(products: pl.DataFrame, steps: pl.DataFrame) -> list[tuple[int, str, str, str]]:
    """What cannot be meant: a scheme, class, grade or unit that no row of the law has.

    Returns:
        Row (from 0), column, what is wrong, and what would be right.
    """
    kinds: dict[str, str] = dict(steps.select("scheme", "kind").iter_rows())
    names = _categories(steps)
    problems: list[tuple[int, str, str, str]] = []
    for at, row in enumerate(schemas.conform(products, schemas.PRICED).iter_rows(named=True)):
        kind = kinds.get(row["scheme"])
        if kind is None:
            problems.append((at, "scheme", f"{row['scheme']!r} is no scheme", _one_of(str(row["scheme"]), list(kinds))))
        elif kind in ("class", "grade"):
            column = _category_column(kind)
            known = {code for scheme, code in names if scheme == row["scheme"]}
            if row[column] is not None and folded(row[column]) not in known:
                problems.append((at, column, f"{row[column]!r} is no {kind} of {row['scheme']}", _one_of(row[column], sorted(known))))
        elif kind == "consumption" and (row["actual"] is not None or row["value"] is not None):
            unit = row["unit"]
            if unit is None or unit_factor(unit, CONSUMPTION_UNIT) is None:
                what = "the unit is empty" if unit is None else f"{unit} is no unit of this scheme"
                problems.append((at, "unit", what, f"Give the unit consumption in {CONSUMPTION_UNIT}."))
            column = "actual" if row["actual"] is not None else "value"
            if row[column] <= 0:
                problems.append((at, column, f"{row[column]:g} is no unit consumption", f"Write it in {CONSUMPTION_UNIT}, above 0."))
    return problems


def _one_of(written: str, known: Sequence[str]) -> str:
    near = near_it(written, known)
    return f"{near}{'write' if near else 'Write'} one of {', '.join(known)}."


def _category_column(kind: str) -> str:
    return "catalogue_class" if kind == "class" else "grade"


def _categories(steps: pl.DataFrame) -> dict[tuple[str, str], str]:
    """What a class or grade may be called: its code or its Chinese name."""
    rows = steps.filter(pl.col("category").is_not_null()).select("scheme", "category", "name_zh").iter_rows()
    return {(scheme, folded(name)): code for scheme, code, zh in rows for name in (code, zh)}


def _with_edition(rows: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """Add kind, begin, edition, source ... of the edition in force on all days, or the reason why there is none."""
    heads = ["scheme", "kind", "edition", "indicator", "valid_from", "valid_to"]
    editions: dict[str, list[dict[str, Any]]] = {}
    lowest = pl.col("from_value").is_null() & pl.col("above").is_null()
    grouped = steps.group_by(heads, maintain_order=True).agg(
        pl.col("source", "confidence").last(), threshold=pl.coalesce("up_to", "below").filter(lowest).first(),
    )
    for row in grouped.iter_rows(named=True):
        editions.setdefault(row["scheme"], []).append(row)
    asked = rows.select("scheme", "_first", "_last").unique(maintain_order=True)
    found = [_edition(editions.get(scheme, []), scheme, first, last) for scheme, first, last in asked.iter_rows()]
    columns = pl.DataFrame(found, schema={
        "kind": pl.String(), "_begin": pl.Date(), "edition": pl.String(), "_indicator": pl.String(), "source": pl.String(),
        "confidence": pl.String(), "_threshold": pl.Float64(), "_reason": pl.String(),
    }, orient="row")
    return rows.join(
        pl.concat([asked, columns], how="horizontal"), on=["scheme", "_first", "_last"], how="left", nulls_equal=True, maintain_order="left",
    )


_Edition = tuple[str | None, date | None, str | None, str | None, str | None, str | None, float | None, str | None]


def _taken(row: dict[str, Any]) -> _Edition:
    return row["kind"], row["valid_from"], row["edition"], row["indicator"], row["source"], row["confidence"], row["threshold"], None


def _edition(editions: list[dict[str, Any]], scheme: str | None, first: date | None, last: date | None) -> _Edition:
    kind = editions[0]["kind"] if editions else None
    if not editions:
        reason = f"{scheme} is no scheme"
    elif not (dated := [row for row in editions if row["valid_from"] is not None]):
        reason = f"{scheme} has no date and is never in force: bring the edition of the place with its date"
    elif first is None or last is None:
        if len(dated) == 1 and dated[0]["valid_to"] is None:
            return _taken(dated[0])
        begins = ", ".join(str(row["valid_from"]) for row in sorted(dated, key=itemgetter("valid_from")))
        reason = f"billing_period: the editions of {scheme} begin on {begins}, and which one holds depends on it"
    else:
        touched = [row for row in dated if row["valid_from"] <= last and (row["valid_to"] is None or first < row["valid_to"])]
        if len(touched) == 1 and touched[0]["valid_from"] <= first and (touched[0]["valid_to"] is None or last < touched[0]["valid_to"]):
            return _taken(touched[0])
        if touched:
            changes = {day for row in touched for day in (row["valid_from"], row["valid_to"]) if day is not None and first < day <= last}
            reason = f"the edition of {scheme} changes within the period ({', '.join(map(str, sorted(changes)))}): bill its parts"
        else:
            spans = "; ".join(
                f"{row['edition']} in force from {row['valid_from']} to before {row['valid_to']}" if row["valid_to"] else
                f"{row['edition']} in force from {row['valid_from']}" for row in sorted(dated, key=itemgetter("valid_from"))
            )
            reason = f"no edition of {scheme} is in force from {first} to {last} ({spans})"
    return kind, None, None, None, None, None, None, reason


def _measured(rows: pl.DataFrame, names: Mapping[tuple[str, str], str]) -> pl.DataFrame:
    """Add what the steps are compared with, or the reason why it is unknown."""
    units = rows["unit"].drop_nulls().unique().to_list()
    factors = pl.col("unit").replace_strict({unit: unit_factor(unit, CONSUMPTION_UNIT) for unit in units}, default=None, return_dtype=pl.Float64())
    limit = pl.coalesce("limit", pl.col("actual") - pl.col("excess")).round_sig_figs(SIGNIFICANT_DIGITS)
    excess, figure = pl.col("excess_ratio"), pl.coalesce("actual", "value")
    kind = pl.col("kind")
    by_excess, by_consumption = kind == "excess", kind == "consumption"
    category = pl.when(kind == "class").then("catalogue_class").when(kind == "grade").then("grade")
    measure = pl.when(by_excess).then(excess).when(by_consumption).then(pl.coalesce(figure * factors, pl.col("_threshold") * (1 + excess)))
    rows = rows.with_columns(_category=category, _measure=measure.round_sig_figs(SIGNIFICANT_DIGITS))
    called = rows.select("scheme", "_category").unique()
    codes = [names.get((scheme, folded(name))) if name is not None else None for scheme, name in called.iter_rows()]
    rows = rows.join(called.with_columns(_code=pl.Series(codes, dtype=pl.String())), on=["scheme", "_category"], how="left",
                     nulls_equal=True, maintain_order="left")
    reason = (
        pl.when((by_excess | by_consumption) & pl.col("verdict").is_in(OPEN_VERDICTS)).then(pl.format("the verdict is {}", "verdict"))
        .when(by_excess & (limit <= 0)).then(pl.format("no class follows from an excess over a limit of {}, at or below zero", limit))
        .when(by_excess & excess.is_null()).then(pl.lit("excess_ratio"))
        .when(by_consumption & (pl.col("indicator") != pl.col("_indicator")))
        .then(pl.format("the scheme is for {}, not {}", "_indicator", "indicator"))
        .when(by_consumption & pl.col("_measure").is_null()).then(pl.lit(f"actual in {CONSUMPTION_UNIT}"))
        .when((by_excess | by_consumption) & ~pl.col("_measure").is_finite()).then(pl.lit("a finite figure"))
        .when((kind == "class") & pl.col("_code").is_null()).then(pl.lit("catalogue_class"))
        .when((kind == "grade") & pl.col("_code").is_null()).then(pl.lit("grade"))
    )
    return rows.with_columns(_reason=pl.coalesce("_reason", reason), _from_excess=by_consumption & figure.is_null())


def _added(rows: pl.DataFrame) -> pl.DataFrame:
    """Add started units, factors and the add-on, or why it is unknown."""
    unpaid, renewable = pl.col("days_unpaid").fill_null(0.0), pl.col("renewable_ratio").fill_null(0.0).round_sig_figs(SIGNIFICANT_DIGITS)
    incentive = pl.coalesce("incentive_ratio", "_incentive")
    started = ((pl.col("_measure") - pl.col("above")) / pl.col("per_started")).round_sig_figs(SIGNIFICANT_DIGITS).ceil()
    beyond = renewable > pl.col("renewable_above_ratio")
    assumed = beyond & incentive.is_null() & ~pl.col("_incentive_asked")
    reached = assumed | (beyond & (renewable >= incentive))
    points = (100 * (renewable - pl.col("renewable_above_ratio"))).round_sig_figs(SIGNIFICANT_DIGITS).floor()
    rows = rows.with_columns(
        _started=started, _unpaid=pl.when(unpaid > pl.col("unpaid_days_above")).then("unpaid_factor"),
        _points=pl.when(reached & (points > 0)).then(points), _assumed=assumed & (points > 0),
    )
    reason = (
        pl.when(pl.col("_reason").is_null() & pl.col("addon_cny_per_kwh").is_null())
        .then(pl.format("{} states no add-on for step {}: bring the notice that does", "edition", "step"))
        .when(beyond & incentive.is_null() & ~assumed)
        .then(pl.lit("incentive_ratio: the province's incentive value for renewable power of the year before"))
    )
    cut = 1 - pl.col("_points").fill_null(0.0) * pl.col("renewable_cut_ratio").fill_null(0.0)
    addon = pl.col("addon_cny_per_kwh") * pl.col("_started").fill_null(1.0) * pl.col("_unpaid").fill_null(1.0) * cut
    missing = pl.coalesce("_reason", reason)
    return rows.with_columns(_base="addon_cny_per_kwh", missing=missing).with_columns(
        step=pl.when(pl.col("_reason").is_null()).then("step"),
        addon_cny_per_kwh=pl.when(pl.col("missing").is_null()).then(addon.round_sig_figs(SIGNIFICANT_DIGITS)),
    ).with_columns(addon_cny=(pl.col("addon_cny_per_kwh") * pl.col("electricity_kwh")).round_sig_figs(SIGNIFICANT_DIGITS))


def _derivation(language: str) -> pl.Expr:
    say = LANGUAGES[language]
    known = pl.col("missing").is_null()
    measure = (
        pl.when(pl.col("kind") == "excess").then(pl.format(say("{} % of the limit above it"), number(100 * pl.col("excess_ratio"))))
        .when(pl.col("kind") == "consumption").then(pl.concat_str(
            pl.format(say("{} kWh/t"), number("_measure")),
            pl.when("_from_excess").then(pl.format(say(" (the threshold {} and excess_ratio)"), number("_threshold"))).otherwise(pl.lit("")),
        )).otherwise(pl.col("_category"))
    )
    started = pl.format(say("{} started units of {} x {} CNY/kWh"), number("_started"), number("per_started"), number("_base"))
    arithmetic = pl.concat_str(
        pl.when(pl.col("_started").is_not_null()).then(started).otherwise(pl.format(say("{} CNY/kWh"), number("_base"))),
        pl.when(pl.col("_unpaid").is_not_null()).then(pl.format(say(" x {} (unpaid for {} days)"), number("_unpaid"), number("days_unpaid")))
        .otherwise(pl.lit("")),
        pl.when(pl.col("_points").is_not_null()).then(pl.format(
            say(" x (1 - {} completed points of renewable power x {})"), number("_points"), number("renewable_cut_ratio"),
        )).otherwise(pl.lit("")),
        pl.when(pl.any_horizontal(pl.col("_started", "_unpaid", "_points").is_not_null()))
        .then(pl.format(say(" = {} CNY/kWh"), number("addon_cny_per_kwh"))).otherwise(pl.lit("")),
    )
    word = pl.col("confidence").replace({each: say(each) for each in ("high", "medium", "low")})
    pieces = [
        pl.when(pl.col("step").is_not_null()).then(measure),
        pl.when(pl.col("step").is_not_null()).then(pl.format(say("{} in force from {}: step {}"), "edition", "_begin", "step")),
        pl.when(pl.col("step").is_not_null() & (pl.col("_first").is_null() | pl.col("_last").is_null()))
        .then(pl.lit(say("no billing period given, taken by the only edition of the scheme"))),
        pl.when(known).then(arithmetic),
        pl.when(known & pl.col("_assumed")).then(pl.lit(say("the province's incentive value is not given, taken as reached"))),
        pl.when(known & pl.col("addon_cny").is_not_null()).then(pl.format(say("{} kWh: {} CNY"), number("electricity_kwh"), number("addon_cny"))),
        pl.when(~known).then(pl.format(say("missing: {}"), "missing_zh" if language == "zh" else "missing")),
        pl.when(pl.col("confidence").is_not_null()).then(pl.format(say("{} confidence"), word)),
    ]
    return pl.concat_list(pieces).list.drop_nulls().list.join(say("; "))
