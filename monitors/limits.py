"""Unit consumption of products against the energy-consumption limits in force, with the derivation (decisions.md 1-7)."""

from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from config import schemas
from config.calendar import period_days
from config.units import KGCE_PER_KGOE, factor
from monitors.corrections import LEVELS, Parameter, corrected, parameters
from monitors.numbers import SIGNIFICANT_DIGITS, number

MIN_COVERED_RATIO: Final = 0.9  # decisions.md 6
MAX_ESTIMATED_RATIO: Final = 0.05
BINDING_LEVELS: Final[Mapping[str, int]] = {"existing": 3, "new": 2}  # decisions.md 4
WRITTEN_AT_ONCE: Final = 50_000
DEFAULT_INDICATOR: Final = "comprehensive_energy"
TOTAL_INDICATORS: Final = ("comprehensive_energy", "process_energy")  # what the whole energy of a product answers
ELECTRICITY_INDICATORS: Final = ("electricity", "comprehensive_ac_electricity")  # what its whole electricity answers
_BASE_UNITS: Final[Mapping[str, tuple[str, float]]] = {  # by definition of the unit (decisions.md 8)
    "kgoe": ("kgce", KGCE_PER_KGOE), "kL": ("m3", 1.0), "weight case": ("kg", 50.0),
    "10^6 pieces": ("pieces", 1e6), "10^4 pieces": ("pieces", 1e4), "(t x energy factor)": ("(t·energy factor)", 1.0),
}

_ZH: Final[Mapping[str, str]] = {  # pieces of a derivation; the order of what is put in stays
    "reported {} {}": "填报值 {} {}", "energy {} {}": "能耗 {} {}", " ({} tce used as raw material left out)": "（已扣除用作原料的 {} tce）",
    " / output {} {}": " ÷ 产量 {} {}", "{}{}, level {} ({} plant)": "{}{}，{} 级（{}装置）", ": {} {}": "：{} {}",
    " is not in the table": "：表中无此级", " is not known": "：未知", ", corrected from {} {} by {}": "，由 {} {} 修正（{}）",
    ", corrected by {}": "，经修正（{}）",
    ", {} basis, in force from {}": "，{}，自 {} 起施行", "actual - limit = {} {}": "实际 - 限额 = {} {}",
    " ({} % of the limit's absolute value)": "（为限额绝对值的 {} %）", " (the limit is 0: no ratio)": "（限额为 0，无比值）",
    "judged for {} to {} only, where this edition is in force; the figure is that of {} to {}": "本版仅判定其施行的 {} 至 {}；数值为 {} 至 {} 的数值",
    "{} % covered, {} % estimated": "数据覆盖 {} %，估算 {} %", "the measured part alone, {} {}, is above the limit": "仅实测部分（{} {}）已超限额",
    "missing: {}": "缺少：{}", "{}, {} confidence": "{}，可信度{}",
    "corrections of the standard are not all carried as data: {}": "标准规定的修正未全部作为数据收录：{}", "see its text": "见标准文本",
    "expanded uncertainty (k = 2) {} {}": "扩展不确定度（k = 2）{} {}",
    ": the limit lies inside it, to be verified before any case": "：限额在其范围内，立案前须核实",
    "benchmark {}, baseline {} {} ({}), no legal finding: ": "标杆 {}、基准 {} {}（{}），不作执法依据：",
    "product {} is in no limit table": "限额表中没有产品 {}", "the indicator: {} has {}": "指标：{} 有 {}",
    "{} has no indicator {}": "{} 没有指标 {}",
    "feedstock: the standard's rows of {} have {}": "原料口径（feedstock）：标准中 {} 有 {}", "no feedstock boundary": "无原料口径",
    "no edition with rows of {} is in force on these days; the table has {}": "这些日期没有 {} 的现行版本；表中有 {}",
    "{} from {}": "{} 自 {} 起", " to {}": "至 {}", "{} without a date of effect": "{} 无施行日期",
    "energy of the product in this period: its sums stand for longer or shorter ones, sum them by the product's":
        "本期该产品的能耗：合计为更长或更短的统计期，请按产品的统计期汇总",
    "energy of the product in this period": "本期该产品的能耗", "output of the product in this period": "本期该产品的产量",
    "a figure of its own for {}: the product's energy sum does not tell it": "{} 的单独数值：产品的能耗合计不含此项",
    "energy: {}": "能耗：{}", "the sum has no value on this basis": "合计在此口径下无值", "an output above 0 (it is {})": "大于 0 的产量（现为 {}）",
    "a figure above 0: nothing is made with no energy, and every level of the limit is above 0":
        "大于 0 的单耗：限额各级均大于 0，有产量而能耗为 0 不成立",
    "unit of the value": "数值的单位", "units of energy and output": "能耗和产量的单位", "a finite figure": "有限的数值",
    "a figure in {}: {} cannot be turned into it by definition": "单位为 {} 的数值：{} 无法按定义换算",
    "plant_status existing or new (it is {})": "plant_status 为 existing 或 new（现为 {}）",
    "level {} of {}, which the table does not have": "{} 级（{}），表中没有",
    "data: {} % covered, 90 % needed": "数据：覆盖 {} %，须达 90 %", "data: {} % estimated, 5 % allowed": "数据：估算 {} %，至多 5 %",
    "leading": "达到标杆", "between": "介于两者之间", "below_baseline": "低于基准水平", "unknown": "未知",
    ", confirmed by {} on {} against {}": "，由{}于 {} 确认，核对文本：{}", "; ": "；",
    "existing": "现有", "new": "新建", "calorific": "当量值", "equivalent": "等价值",
    "binding": "已确认", "unconfirmed": "未确认", "indicative": "仅供参考", "high": "高", "medium": "中", "low": "低",
}
_WORDS: Final = (
    "existing", "new", "calorific", "equivalent", "binding", "unconfirmed", "indicative", "high", "medium", "low",
    "leading", "between", "below_baseline", "unknown",
)
_OF_LAW: Final[Mapping[str, str]] = {  # columns of LIMIT that a product's own further columns must not meet
    "unit": "_limit_unit", "effective_from": "_from", "effective_to": "_to", "corrections_complete": "_complete", "remark": "_remark",
}
_EN: Final = {"leading": "at or better than the benchmark", "between": "between the two", "below_baseline": "worse than the baseline"}
LANGUAGES: Final[Mapping[str, Callable[[str], str]]] = {"en": lambda text: _EN.get(text, text), "zh": _ZH.__getitem__}
_CASE: Final = ["product", "indicator", "feedstock", "plant_status", "_first", "_last"]  # what the law answers alike
_OF_CASE: Final = (  # what figures are held against; the rest of a case is said beside a verdict
    "_at", "_law", "_ruled", "_ambiguous", "basis", "_limit_unit", "binding_level", *LEVELS, "_printed", "_limit", "benchmark", "baseline",
)
_GIVEN: Final = pl.col("value").is_not_null()
_ELECTRIC: Final = pl.col("indicator").is_in(ELECTRICITY_INDICATORS)
_TOTAL: Final = pl.col("indicator").is_in(TOTAL_INDICATORS)
_USABLE_OUTPUT: Final = pl.col("output") > 0


def limits(
    products: pl.DataFrame, table: pl.DataFrame, confirmations: pl.DataFrame, energy_sum: pl.DataFrame | None = None,
    *, benchmarks: pl.DataFrame | None = None, reported: str | None = None,
) -> pl.DataFrame:
    """Judge products by the edition in force on the days of their period, one row for each edition that it touches.

    A period across a change of edition is divided: each part is judged by its own edition, with the figure of the whole period.
    Days on which no edition is in force make a row `no_rule`. Existing plants (the default) are bound by level 3, new ones by
    level 2; each present level is compared on its own, equal complies, at 12 significant digits. A figure without
    `covered_ratio` or `estimated_ratio` is a reported one and counts as complete. Where less than 90 % is covered or more than
    5 % estimated the verdict is `incomplete`, or `exceeds_measured_alone` if the measured part of a positive figure is above
    its positive limit already. Corrections of a limit row are applied first; one whose parameter is empty, impossible or beyond
    the standard's table makes the verdict `incomplete`, and its levels null.

    Args:
        products: PRODUCT: `value` with `unit`, or `energy` with `energy_unit`, or neither where `energy_sum` has the product's
            energy; `output` with `output_unit`. `indicator` may be null: comprehensive energy, or the only one of the product.
            Further columns are carried through; those that a correction names are its parameters.
        table: LIMIT.
        confirmations: CONFIRMATION.
        energy_sum: ENERGY_SUM by enterprise, product and `period` (or `period_start` and `period_end`). The limit's basis
            picks the column, less `feedstock_tce` where the limit excludes raw material; only indicators of a product's whole
            energy or electricity can be taken from it.
        benchmarks: BENCHMARK; shown beside, no part of the verdict.
        reported: a further column that says whether a `value` is a reported one (true) or, say, a forecast; without it all are.

    Returns:
        VERDICT and the further columns, in the order of the rows and of their days. `standing`: `binding` where a confirmation
        names the row and no correction is missing, `indicative` at low confidence or where corrections of the standard are not
        carried as data, else `unconfirmed`. `uncertainty` is that of `actual`; a limit within it asks for verification.

    >>> made = pl.DataFrame({"product": ["p"], "indicator": ["comprehensive_energy"], "period": ["2025"], "value": [940.0], "unit": ["kgce/t"]})
    >>> row = {"product": "p", "indicator": "comprehensive_energy", "standard": "GB 1-2024", "basis": "calorific", "unit": "kgce/t",
    ...        "level_3": 940.0, "effective_from": period_days("2025")[0], "corrections_complete": True, "confidence": "medium"}
    >>> law = schemas.conform(pl.DataFrame([row]), schemas.LIMIT)
    >>> limits(made, law, schemas.empty(schemas.CONFIRMATION)).select("verdict", "level", "standing").row(0)
    ('complies', '3', 'unconfirmed')
    """
    further = [name for name in products.columns if name not in schemas.PRODUCT and name not in schemas.VERDICT and name != "period"]
    rows = _with_energy(schemas.conform(with_days(products), schemas.PRODUCT).with_row_index("_row"), energy_sum).rename(
        {"period_start": "_first", "period_end": "_last"}
    ).with_columns(
        indicator=pl.coalesce("indicator", pl.col("product").replace_strict(default_indicators(table), default=None, return_dtype=pl.String())),
        plant_status=pl.col("plant_status").fill_null("existing"),
    )
    cases = _cases(rows.select(_CASE).unique(maintain_order=True), table, confirmations, benchmarks)
    rows = rows.join(cases.select(*_CASE, *_OF_CASE), on=_CASE, how="inner", nulls_equal=True, maintain_order="left_right").with_row_index("_order")
    rows = _compared(_corrected(_actual(rows), cases, table, products), cases)
    same_rows = rows.height == products.height and bool((rows["_row"] == rows["_order"]).all())
    judged = rows.hstack(products.select(further) if same_rows else products.select(pl.col(further).gather(rows["_row"])))
    said = cases.drop(*_CASE, *(name for name in _OF_CASE if name != "_at"))
    # The pieces of a text take several times its room: only of so many rows at a time.
    parts = [judged.slice(at, WRITTEN_AT_ONCE) for at in range(0, max(judged.height, 1), WRITTEN_AT_ONCE)]
    return pl.concat(
        _with_derivations(part.join(said, on="_at", how="left", maintain_order="left"), reported).select(*schemas.VERDICT, *further) for part in parts
    )


def with_days(products: pl.DataFrame) -> pl.DataFrame:
    """PRODUCT rows with `period_start` and `period_end` taken from `period` where they are empty.

    Raises:
        ValueError: a period that is none.
    """
    if "period" not in products.columns:
        return products
    days = {period: period_days(period) for period in products["period"].drop_nulls().unique()}
    said = [pl.col("period").replace_strict({k: v[end] for k, v in days.items()}, default=None, return_dtype=pl.Date()) for end in (0, 1)]
    names = ("period_start", "period_end")
    return products.with_columns(
        (pl.coalesce(name, each) if name in products.columns else each).alias(name) for name, each in zip(names, said, strict=True)
    )


def with_standing(table: pl.DataFrame, confirmations: pl.DataFrame) -> pl.DataFrame:
    """LIMIT rows with their `standing` (decisions.md 3)."""
    standing = _standing(_law(table), confirmations)["standing"]
    return table.with_columns(standing)


def _law(table: pl.DataFrame) -> pl.DataFrame:
    """What verdicts need of LIMIT."""
    named = ("product", "indicator", "feedstock", "standard", "edition", "basis", *LEVELS, "clause", "source", "confidence")
    return table.select(*named, *(pl.col(name).alias(own) for name, own in _OF_LAW.items()), _ruled=pl.lit(value=True))


def parameter_columns(table: pl.DataFrame) -> list[Parameter]:
    """The columns of products that corrections of these LIMIT rows ask for."""
    return parameters(row for those in table["corrections"].to_list() for row in those or ())


def unit_factor(unit: str, to: str) -> float | None:
    """By what a unit consumption is multiplied to be in the other unit, or None where no definition links the two.

    >>> unit_factor("tce/t", "kgce/t"), unit_factor("kWh/t", "kgce/t"), unit_factor("kgce/t", "kgce/weight case")
    (1000.0, None, 0.05)
    """
    if unit == to:
        return 1.0
    (above, _, below), (to_above, _, to_below) = unit.partition("/"), to.partition("/")
    numerator, denominator = _link(above, to_above), _link(to_below, below)
    return numerator * denominator if numerator is not None and denominator is not None else None


def _link(unit: str, to: str) -> float | None:
    (base, scale), (to_base, to_scale) = _BASE_UNITS.get(unit, (unit, 1.0)), _BASE_UNITS.get(to, (to, 1.0))
    between = factor(base, to_base)
    return between * scale / to_scale if between is not None else None


def default_indicators(table: pl.DataFrame) -> dict[str, str]:
    """What a product's row without an indicator is held against: comprehensive energy, or the only indicator of the product (LIMIT)."""
    known = dict(table.group_by("product").agg(pl.col("indicator").unique()).iter_rows())
    main = {product: DEFAULT_INDICATOR for product, each in known.items() if DEFAULT_INDICATOR in each}
    return {product: each[0] for product, each in known.items() if len(each) == 1} | main


def _with_energy(rows: pl.DataFrame, energy_sum: pl.DataFrame | None) -> pl.DataFrame:
    names = ["calorific_tce", "equivalent_tce", "feedstock_tce", "electricity_kwh", "covered_ratio", "estimated_ratio", "missing"]
    if energy_sum is None:
        no = pl.lit(value=False)
        nothing = (pl.lit(None, dtype=schemas.ENERGY_SUM[name]).alias(f"_e_{name}") for name in names)
        return rows.with_columns(*nothing, _e_found=no, _e_other_period=no)
    keys = ["enterprise", "product", "period_start", "period_end"]
    sums = with_days(energy_sum)
    sums = schemas.conform(sums, pl.Schema({**{key: sums.schema[key] for key in keys}, **{name: schemas.ENERGY_SUM[name] for name in names}}))
    sums = sums.rename({name: f"_e_{name}" for name in names}).with_columns(_e_found=pl.lit(value=True))
    rows = rows.join(sums, on=keys, how="left", nulls_equal=True, maintain_order="left").with_columns(pl.col("_e_found").fill_null(value=False))
    apart = rows.filter(~pl.col("_e_found")).select(keys).unique().join(sums.select(keys), on=keys[:2], suffix="_sum").filter(
        pl.col("period_start") <= pl.col("period_end_sum"), pl.col("period_start_sum") <= pl.col("period_end"),
    ).select(keys).unique().with_columns(_e_other_period=pl.lit(value=True))
    if apart.is_empty():
        return rows.with_columns(_e_other_period=pl.lit(value=False))
    return rows.join(apart, on=keys, how="left", maintain_order="left").with_columns(pl.col("_e_other_period").fill_null(value=False))


def _cases(cases: pl.DataFrame, table: pl.DataFrame, confirmations: pl.DataFrame, benchmarks: pl.DataFrame | None) -> pl.DataFrame:
    """What the law says to each different case, however many rows it has: _CASE with one row for each edition that its days touch.

    With the edition come its standing, the benchmarks beside it, and as `_NAME_en` and `_NAME_zh` the pieces of a derivation that no
    figure changes.
    """
    cases = cases.with_row_index("_case")
    parts = cases.join(_law(table).with_row_index("_law"), on=["product", "indicator", "feedstock"], how="inner", nulls_equal=True).filter(
        pl.col("_from") <= pl.col("_last"), (pl.col("_to") >= pl.col("_first")).fill_null(value=True)
    ).with_columns(period_start=pl.max_horizontal("_first", "_from"), period_end=pl.min_horizontal("_last", "_to"))
    judged = pl.concat([parts, _gaps(cases, parts, table)], how="diagonal").sort("_case", "period_start", "standard", nulls_last=True)
    binding = pl.col("plant_status").replace_strict(dict(BINDING_LEVELS), default=None, return_dtype=pl.Int8())
    judged = judged.with_columns(binding_level=pl.when("_ruled").then(binding)).with_columns(_printed=_of_binding_level())
    judged = _beside(_standing(judged, confirmations), benchmarks).drop("_case").with_columns(
        _limit=pl.col("_printed"), **{f"_of_limit_{language}": pl.lit(None, dtype=pl.String()) for language in LANGUAGES},
    )
    pieces = (piece.alias(f"_{name}_{language}") for language in LANGUAGES for name, piece in _said_of_case(language).items())
    return judged.with_columns(pieces).with_row_index("_at")


def _gaps(cases: pl.DataFrame, parts: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """A row for each run of days of a case on which no edition is in force, with the reason."""
    spans = parts.select("_case", "period_start", "period_end").sort("_case", "period_start")
    before = pl.col("period_end").cum_max().shift(1).over("_case")
    day = pl.duration(days=1)
    edges = cases.select("_case", "_first", "_last")
    inner = spans.with_columns(_before=before).join(edges, on="_case").select(
        "_case", period_start=pl.coalesce(pl.col("_before") + day, "_first"), period_end=pl.col("period_start") - day
    )
    ends = edges.join(spans.group_by("_case").agg(pl.col("period_end").max()), on="_case", how="left").select(
        "_case", period_start=pl.coalesce(pl.col("period_end") + day, "_first"), period_end="_last"
    )
    # A row whose period is empty has no days to judge; it is kept all the same.
    gaps = pl.concat([inner, ends]).filter((pl.col("period_start") <= pl.col("period_end")).fill_null(value=True)).unique(maintain_order=True)
    found = cases.join(gaps, on="_case", how="inner")
    keys = ["product", "indicator", "feedstock"]
    reasons = found.select(keys).unique(maintain_order=True)
    said = {language: [_why_no_rule(table, say, *key) for key in reasons.iter_rows()] for language, say in LANGUAGES.items()}
    reasons = reasons.with_columns(
        *(pl.Series(f"_reason_{language}", [reason for _, reason in each], dtype=pl.String()) for language, each in said.items()),
        _ambiguous=pl.Series([each for each, _ in said["en"]], dtype=pl.Boolean()),
    )
    return found.join(reasons, on=keys, how="left", nulls_equal=True)


def _why_no_rule(
    table: pl.DataFrame, say: Callable[[str], str], product: str | None, indicator: str | None, feedstock: str | None
) -> tuple[bool, str]:
    """Whether the question is ambiguous (not: unanswered by the law), and the reason."""
    rows = table.filter(pl.col("product").eq_missing(pl.lit(product, dtype=pl.String())))
    if rows.is_empty():
        return False, say("product {} is in no limit table").format(product)
    if indicator is None:
        return True, say("the indicator: {} has {}").format(product, ", ".join(rows["indicator"].unique().sort()))
    rows = rows.filter(pl.col("indicator") == indicator)
    if rows.is_empty():
        return False, say("{} has no indicator {}").format(product, indicator)
    same = rows.filter(pl.col("feedstock").eq_missing(pl.lit(feedstock, dtype=pl.String())))
    if same.is_empty():
        boundaries = ", ".join(rows["feedstock"].drop_nulls().unique().sort()) or say("no feedstock boundary")
        return feedstock is None, say("feedstock: the standard's rows of {} have {}").format(product, boundaries)
    spans = [
        say("{} from {}").format(standard, start) + (say(" to {}").format(end) if end else "") if start
        else say("{} without a date of effect").format(standard)
        for standard, start, end in same.sort("effective_from", nulls_last=True).select("standard", "effective_from", "effective_to").iter_rows()
    ]
    return False, say("no edition with rows of {} is in force on these days; the table has {}").format(product, say("; ").join(spans))


def _actual(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the figure that each row is judged by in the unit of its limit (`actual`, `uncorrected`), and what it was made of."""
    from_sum = ~_GIVEN & pl.col("energy").is_null() & pl.col("_e_found") & pl.col("_ruled")
    # What is used as raw material is in the sum; a limit without it is held against the rest. A fuel's two values are the same.
    raw_material = pl.when(pl.col("feedstock") == "excluded").then(pl.col("_e_feedstock_tce").fill_null(0.0)).otherwise(0.0)
    of_basis = pl.when(pl.col("basis") == "equivalent").then("_e_equivalent_tce").otherwise("_e_calorific_tce") - raw_material
    summed = pl.when(_ELECTRIC).then("_e_electricity_kwh").when(_TOTAL).then(of_basis)
    rows = rows.with_columns(
        energy=pl.when(from_sum).then(summed).otherwise("energy"),
        energy_unit=pl.when(from_sum).then(pl.when(_ELECTRIC).then(pl.lit("kWh")).when(_TOTAL).then(pl.lit("tce"))).otherwise("energy_unit"),
        covered_ratio=pl.coalesce("covered_ratio", pl.when(from_sum).then("_e_covered_ratio"), pl.lit(1.0)),
        estimated_ratio=pl.coalesce("estimated_ratio", pl.when(from_sum).then("_e_estimated_ratio"), pl.lit(0.0)),
        _from_sum=from_sum, _left_out=pl.when(from_sum & _TOTAL & (raw_material != 0)).then("_e_feedstock_tce"),
    )
    rows = rows.with_columns(
        _figure=pl.when(_GIVEN).then("value").when(_USABLE_OUTPUT).then(pl.col("energy") / pl.col("output")),
        _figure_unit=pl.when(_GIVEN).then("unit").otherwise(pl.concat_str("energy_unit", "output_unit", separator="/")),
    )
    pairs = rows.select("_figure_unit", "_limit_unit").unique().drop_nulls()
    factors = pairs.with_columns(_factor=pl.Series([unit_factor(unit, to) for unit, to in pairs.iter_rows()], dtype=pl.Float64()))
    rows = rows.join(factors, on=["_figure_unit", "_limit_unit"], how="left", maintain_order="left")
    without_energy = ((pl.col("_figure") == 0) & (pl.min_horizontal(LEVELS) > 0)).fill_null(value=False)
    actual = pl.when(pl.col("_figure").is_finite(), ~without_energy).then(pl.col("_figure") * pl.col("_factor"))
    return rows.with_columns(actual=actual, uncorrected=actual, _without_energy=without_energy)


def _lacking(language: str) -> pl.Expr:
    """Why a row has no figure that can be held against its limit."""
    say = LANGUAGES[language]
    no_unit = pl.when(_GIVEN).then(pl.lit(say("unit of the value"))).otherwise(pl.lit(say("units of energy and output")))
    no_energy = pl.col("_e_missing").fill_null(say("the sum has no value on this basis"))
    no_sum = ~_GIVEN & ~pl.col("_from_sum") & pl.col("energy").is_null()
    return (
        pl.when(pl.col("_reason_en").is_not_null()).then(f"_reason_{language}")
        .when(no_sum & pl.col("_e_other_period"))
        .then(pl.lit(say("energy of the product in this period: its sums stand for longer or shorter ones, sum them by the product's")))
        .when(no_sum).then(pl.lit(say("energy of the product in this period")))
        .when(~_GIVEN & ~_ELECTRIC & ~_TOTAL & pl.col("_from_sum"))
        .then(pl.format(say("a figure of its own for {}: the product's energy sum does not tell it"), "indicator"))
        .when(~_GIVEN & pl.col("energy").is_null()).then(pl.format(say("energy: {}"), no_energy))
        .when(~_GIVEN & pl.col("output").is_null()).then(pl.lit(say("output of the product in this period")))
        .when(~_GIVEN & ~_USABLE_OUTPUT).then(pl.format(say("an output above 0 (it is {})"), number("output")))
        .when(pl.col("_figure_unit").is_null()).then(no_unit)
        .when(pl.col("_factor").is_null())
        .then(pl.format(say("a figure in {}: {} cannot be turned into it by definition"), "_limit_unit", "_figure_unit"))
        .when(~pl.col("_figure").is_finite()).then(pl.lit(say("a finite figure")))
        .when("_without_energy").then(pl.lit(say("a figure above 0: nothing is made with no energy, and every level of the limit is above 0")))
    )


def _corrected(rows: pl.DataFrame, cases: pl.DataFrame, table: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """Apply the corrections of each limit row to the rows that are held against it; limit rows with the same ones are taken together."""
    of_law = {at: own for at, own in enumerate(table["corrections"].to_list()) if own} if "corrections" in table.columns else {}
    sets = list({str(own): own for own in of_law.values()}.values())
    set_of = {at: sets.index(own) for at, own in of_law.items()}
    held = rows.filter(pl.col("_law").is_in(list(of_law))).select("_order", "_row", "_at", "_law", "actual", "binding_level", *LEVELS)
    asked = list({each.name for own in sets for each in parameters(own)} & set(products.columns))
    held = held.hstack(products.select(pl.col(asked).gather(held["_row"]))).with_columns(
        _set=pl.col("_law").replace_strict(set_of, return_dtype=pl.UInt32()),
    )
    done = [corrected(part, sets[at]) for (at,), part in held.partition_by("_set", as_dict=True).items()]
    told = (pl.concat(done) if done else corrected(held, ())).with_columns(_limit=_of_binding_level(), _held=pl.lit(value=True))
    beside = cases.select("_at", *(name for name in cases.columns if name not in told.columns))
    told = told.join(beside, on="_at", how="left").with_columns(
        _said_of_case(language)["rule"].alias(f"_own_rule_{language}") for language in LANGUAGES
    )
    changed = ["actual", *LEVELS, "_limit"]
    texts = [f"_{name}_{language}" for name in ("lacks", "of_actual", "own_rule") for language in LANGUAGES]
    rows = rows.join(told.select("_order", "_held", *changed, *texts), on="_order", how="left", maintain_order="left", suffix="_new")
    rows = rows.with_columns(pl.when("_held").then(f"{name}_new").otherwise(name).alias(name) for name in changed)
    return rows.drop("_held", *(f"{name}_new" for name in changed))


def _of_binding_level() -> pl.Expr:
    return pl.coalesce(pl.when(pl.col("binding_level") == int(level[-1])).then(level) for level in LEVELS)


def _compared(rows: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """Add level, verdict, missing and excess."""
    compared = {"actual": "actual", "limit": "_limit", "covered": "covered_ratio", "estimated": "estimated_ratio"}
    rows = rows.with_columns(pl.col(name).round_sig_figs(SIGNIFICANT_DIGITS).alias(f"_{as_}_compared") for as_, name in compared.items())
    actual, bound, covered, estimated = (pl.col(f"_{as_}_compared") for as_ in compared)
    rows = rows.with_columns(
        _too_little=pl.col("_ruled") & (covered < MIN_COVERED_RATIO), _too_much=pl.col("_ruled") & (estimated > MAX_ESTIMATED_RATIO),
        _no_status=pl.col("_ruled") & pl.col("binding_level").is_null(), _no_level=pl.col("_ruled") & pl.col("_printed").is_null(),
        _same=actual == bound, _within=(actual <= bound).fill_null(value=False),
    )
    # Recoveries that were not measured would lower a figure: only a positive one is bounded from below by what was measured.
    measured = pl.col("actual") * (1 - pl.col("estimated_ratio"))
    measured_alone = (actual > 0) & (bound > 0) & ~(measured.round_sig_figs(SIGNIFICANT_DIGITS) <= bound).fill_null(value=False)
    rows = rows.with_columns(
        _open_data=(pl.col("_too_little") | pl.col("_too_much")).fill_null(value=False),
        _lacks=pl.any_horizontal(
            pl.col("uncorrected").is_null(), pl.col("_lacks_en").is_not_null(), "_no_status", "_no_level",
        ).fill_null(value=False),
    )
    verdict = (
        pl.when(pl.col("_ruled").is_null()).then(pl.when(pl.col("_ambiguous")).then(pl.lit("incomplete")).otherwise(pl.lit("no_rule")))
        .when(pl.col("_lacks")).then(pl.lit("incomplete"))
        .when(pl.col("_open_data") & measured_alone).then(pl.lit("exceeds_measured_alone"))
        .when(pl.col("_open_data")).then(pl.lit("incomplete"))
        .when("_within").then(pl.lit("complies"))
        .otherwise(pl.lit("exceeds"))
    )
    level = pl.lit("none")
    for each in reversed(LEVELS):
        level = pl.when((actual <= pl.col(each).round_sig_figs(SIGNIFICANT_DIGITS)).fill_null(value=False)).then(pl.lit(each[-1])).otherwise(level)
    excess = pl.when("_same").then(0.0).otherwise(pl.col("actual") - pl.col("_limit"))
    rows = rows.with_columns(verdict=verdict, excess=excess, uncertainty=pl.col("actual").abs() * pl.col("uncertainty_ratio")).with_columns(
        level=pl.when(pl.col("verdict").is_in(["complies", "exceeds"])).then(level), benchmark_position=_position(actual),
        excess_ratio=pl.when(bound != 0).then(pl.col("excess") / pl.col("_limit").abs()),
        within_uncertainty=pl.col("excess").abs() <= pl.col("uncertainty"),
        _measured_alone=pl.when(pl.col("verdict") == "exceeds_measured_alone").then(measured),
    )
    beside = cases.select("_at", "standard", *(f"_reason_{language}" for language in LANGUAGES))
    lacking = rows.filter(pl.col("_lacks") | pl.col("_open_data")).join(beside, on="_at", how="left").select(
        "_order", missing=_missing("en"), missing_zh=_missing("zh"),
    )
    return rows.join(lacking, on="_order", how="left", maintain_order="left")


def _missing(language: str) -> pl.Expr:
    """All that lacks for a verdict."""
    say = LANGUAGES[language]
    return pl.concat_str(
        _lacking(language),
        pl.when("_no_status").then(pl.format(say("plant_status existing or new (it is {})"), "plant_status"))
        .when("_no_level").then(pl.format(say("level {} of {}, which the table does not have"), "binding_level", "standard")),
        f"_lacks_{language}",
        pl.when("_too_little").then(pl.format(say("data: {} % covered, 90 % needed"), number(_percent("covered_ratio")))),
        pl.when("_too_much").then(pl.format(say("data: {} % estimated, 5 % allowed"), number(_percent("estimated_ratio")))),
        separator=say("; "), ignore_nulls=True,
    )


def _standing(rows: pl.DataFrame, confirmations: pl.DataFrame) -> pl.DataFrame:
    keys = ["product", "indicator", "standard"]
    named = schemas.conform(confirmations, schemas.CONFIRMATION).sort("confirmed_on", nulls_last=False).unique(keys, keep="last").select(
        *keys, _by="confirmed_by", _on="confirmed_on", _copy=pl.col("copy").fill_null("-")
    )
    rows = rows.join(named, on=keys, how="left", maintain_order="left")
    # A confirmation vouches for what the row says, not for a correction that it lacks.
    standing = (
        pl.when(pl.col("_ruled").is_null()).then(None)
        .when(~pl.col("_complete")).then(pl.lit("indicative"))
        .when(pl.col("_by").is_not_null()).then(pl.lit("binding"))
        .when(pl.col("confidence") == "low").then(pl.lit("indicative"))
        .otherwise(pl.lit("unconfirmed"))
    )
    return rows.with_columns(standing=standing)


def _beside(rows: pl.DataFrame, benchmarks: pl.DataFrame | None) -> pl.DataFrame:
    """Add benchmark and baseline in the unit of the limit."""
    keys = ["product", "indicator", "feedstock"]
    known = schemas.conform(schemas.empty(schemas.BENCHMARK) if benchmarks is None else benchmarks, schemas.BENCHMARK)
    known = rows.select(*keys, "_limit_unit").unique().join(known, on=keys, nulls_equal=True).drop_nulls(["unit", "_limit_unit"])
    scale = [unit_factor(unit, to) for unit, to in known.select("unit", "_limit_unit").iter_rows()]
    known = known.with_columns(_scale=pl.Series(scale, dtype=pl.Float64())).drop_nulls("_scale").select(
        *keys, "_limit_unit", benchmark=pl.col("benchmark") * pl.col("_scale"), baseline=pl.col("baseline") * pl.col("_scale"), _benchmarks="edition",
    )
    return rows.join(known, on=[*keys, "_limit_unit"], how="left", nulls_equal=True, maintain_order="left")


def _position(actual: pl.Expr) -> pl.Expr:
    """Where a figure that could be judged stands between benchmark and baseline."""
    benchmark, baseline = (pl.col(name).round_sig_figs(SIGNIFICANT_DIGITS) for name in ("benchmark", "baseline"))
    return (
        pl.when(~pl.col("verdict").is_in(["complies", "exceeds"])).then(pl.lit("unknown"))
        .when(actual <= benchmark).then(pl.lit("leading"))
        .when(actual > baseline).then(pl.lit("below_baseline"))
        .when(benchmark.is_not_null() & baseline.is_not_null()).then(pl.lit("between"))
        .otherwise(pl.lit("unknown"))
    )


def _said_of_case(language: str) -> dict[str, pl.Expr]:
    """Pieces of a derivation that the case alone tells: limit row, days, standing, benchmarks. Remarks of the table are quoted as they are."""
    say = LANGUAGES[language]
    bound, nothing = pl.col("_limit"), pl.lit("")
    place = pl.col("clause") if language == "zh" else pl.col("clause").str.replace_all("表", "table ").str.replace_all("附录", "annex ")
    clause = pl.when(pl.col("clause").fill_null("") != "").then(pl.format(" {}", place)).otherwise(nothing)
    by = pl.format(say(", confirmed by {} on {} against {}"), "_by", "_on", "_copy")
    divided = (pl.col("period_start") != pl.col("_first")) | (pl.col("period_end") != pl.col("_last"))
    return {
        "rule": pl.when("_ruled").then(pl.concat_str(
            pl.format(say("{}{}, level {} ({} plant)"), "standard", clause, "binding_level", _word("plant_status", say)),
            pl.when(bound.is_not_null()).then(pl.format(say(": {} {}"), number("_limit"), "_limit_unit"))
            .when(pl.col("_printed").is_not_null()).then(pl.lit(say(" is not known"))).otherwise(pl.lit(say(" is not in the table"))),
            pl.when(bound.is_not_null()).then(
                pl.format(say(", corrected from {} {} by {}"), number("_printed"), "_limit_unit", f"_of_limit_{language}")
            ).fill_null(""),
            pl.format(say(", {} basis, in force from {}"), _word("basis", say), "_from"),
        )),
        "divided": pl.when(pl.col("_ruled") & divided).then(pl.format(
            say("judged for {} to {} only, where this edition is in force; the figure is that of {} to {}"),
            "period_start", "period_end", "_first", "_last",
        )),
        "unfinished": pl.when(pl.col("_complete").not_()).then(pl.format(
            say("corrections of the standard are not all carried as data: {}"),
            pl.when(pl.col("_remark").fill_null("") == "").then(pl.lit(say("see its text"))).otherwise("_remark"),
        )),
        "stands": pl.when("_ruled").then(pl.concat_str(
            pl.format(say("{}, {} confidence"), _word("standing", say), _word("confidence", say)),
            pl.when(pl.col("_by").is_not_null()).then(by).otherwise(nothing),
        )),
        "beside": pl.when(pl.any_horizontal(pl.col("benchmark", "baseline").is_not_null())).then(pl.format(
            say("benchmark {}, baseline {} {} ({}), no legal finding: "), number("benchmark").fill_null("-"), number("baseline").fill_null("-"),
            "_limit_unit", "_benchmarks",
        )),
    }


def _with_derivations(rows: pl.DataFrame, reported: str | None) -> pl.DataFrame:
    return rows.with_columns(
        **{f"_{name}_": number(of) for name, of in _PRINTED.items()},
        **{f"_rule_{language}": pl.coalesce(f"_own_rule_{language}", f"_rule_{language}") for language in LANGUAGES},
    ).with_columns(unit="_limit_unit", derivation=_derivation("en", reported), derivation_zh=_derivation("zh", reported))


def _derivation(language: str, reported: str | None) -> pl.Expr:
    """The verdict as one readable line: formula, inputs, edition, level, clause, completeness, standing. Numbers stand printed as `_NAME_`."""
    say = LANGUAGES[language]
    by_energy = pl.concat_str(
        pl.format(say("energy {} {}"), "_energy_", "energy_unit"),
        pl.format(say(" ({} tce used as raw material left out)"), "_left_out_").fill_null(""),
        pl.format(say(" / output {} {}"), "_output_", "output_unit"),
    )
    as_given = pl.format(say("reported {} {}"), "_value_", "unit")
    if reported is not None:
        as_given = pl.when(reported).then(as_given).otherwise(pl.format("{} {}", "_value_", "unit"))
    formula = pl.when(_GIVEN).then(as_given).otherwise(by_energy)
    of_limit = pl.format(say(" ({} % of the limit's absolute value)"), "_excess_ratio_").fill_null(say(" (the limit is 0: no ratio)"))
    corrected_by = pl.format(say(", corrected by {}"), f"_of_actual_{language}").fill_null("")
    close = pl.when("within_uncertainty").then(pl.lit(say(": the limit lies inside it, to be verified before any case"))).otherwise(pl.lit(""))
    pieces = [
        pl.format("{} = {} {}{}", formula, "_uncorrected_", "_limit_unit", corrected_by),
        f"_rule_{language}",
        pl.concat_str(pl.format(say("actual - limit = {} {}"), "_excess_", "_limit_unit"), of_limit),
        f"_divided_{language}",
        pl.when("_ruled").then(pl.format(say("{} % covered, {} % estimated"), "_covered_", "_estimated_")),
        pl.format(say("the measured part alone, {} {}, is above the limit"), "_measured_alone_", "_limit_unit"),
        pl.format(say("missing: {}"), "missing" if language == "en" else "missing_zh"),
        f"_unfinished_{language}",
        pl.concat_str(pl.format(say("expanded uncertainty (k = 2) {} {}"), "_uncertainty_", "_limit_unit"), close),
        f"_stands_{language}",
        pl.concat_str(f"_beside_{language}", _word("benchmark_position", say)),
    ]
    return pl.concat_str(pieces, separator=say("; "), ignore_nulls=True)


def _word(column: str, say: Callable[[str], str]) -> pl.Expr:
    return pl.col(column).cast(pl.String()).replace({each: say(each) for each in _WORDS})


def _percent(of: str) -> pl.Expr:
    return (100 * pl.col(of)).round(2)


_PRINTED: Final[Mapping[str, pl.Expr]] = {  # numbers of a derivation
    **{name: pl.col(name) for name in ("value", "energy", "output", "uncorrected", "excess", "uncertainty")},
    "left_out": pl.col("_left_out"), "measured_alone": pl.col("_measured_alone"),
    "excess_ratio": _percent("excess_ratio"), "covered": _percent("covered_ratio"), "estimated": _percent("estimated_ratio"),
}
