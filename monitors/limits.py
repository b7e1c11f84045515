"""Unit consumption of products against the energy-consumption limits in force, with the derivation (decisions.md 1-7)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

import polars as pl

from config import schemas
from config.calendar import period_days
from config.names import near_it
from config.units import KGCE_PER_KGOE, factor
from monitors.corrections import LEVELS, Parameter, corrected, impossible, parameters
from monitors.numbers import SIGNIFICANT_DIGITS, number

MIN_COVERED_RATIO: Final = 0.9  # decisions.md 6
MAX_ESTIMATED_RATIO: Final = 0.05
BINDING_LEVELS: Final[Mapping[str, int]] = {"existing": 3, "new": 2}  # decisions.md 4
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
    "benchmark {}, baseline {} {} ({}), no legal finding: {}": "标杆 {}、基准 {} {}（{}），不作执法依据：{}",
    "product {} is in no limit table": "限额表中没有产品 {}", "the indicator: {} has {}": "指标：{} 有 {}",
    "{} has no indicator {}": "{} 没有指标 {}",
    "feedstock: the standard's rows of {} have {}": "原料口径（feedstock）：标准中 {} 有 {}", "no feedstock boundary": "无原料口径",
    "no edition with rows of {} is in force on these days; the table has {}": "这些日期没有 {} 的现行版本；表中有 {}",
    "{} from {}": "{} 自 {} 起", " to {}": "至 {}", "{} without a date of effect": "{} 无施行日期",
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
LANGUAGES: Final[Mapping[str, Callable[[str], str]]] = {"en": str, "zh": _ZH.__getitem__}


def limits(
    products: pl.DataFrame, table: pl.DataFrame, confirmations: pl.DataFrame, energy_sum: pl.DataFrame | None = None,
    *, benchmarks: pl.DataFrame | None = None,
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
    rows = pl.concat([schemas.conform(with_days(products), schemas.PRODUCT), products.select(further)], how="horizontal").with_row_index("_row")
    rows = _with_energy(rows, energy_sum).with_columns(
        indicator=pl.coalesce("indicator", pl.col("product").replace_strict(default_indicators(table), default=None, return_dtype=pl.String())),
        plant_status=pl.col("plant_status").fill_null("existing"),
        _first=pl.col("period_start"), _last=pl.col("period_end"),
    )
    law = _law(table).with_row_index("_law")
    keys = ["product", "indicator", "feedstock"]
    parts = rows.join(law, on=keys, how="inner", nulls_equal=True).filter(
        pl.col("_from") <= pl.col("_last"), (pl.col("_to") >= pl.col("_first")).fill_null(value=True)
    ).with_columns(period_start=pl.max_horizontal("_first", "_from"), period_end=pl.min_horizontal("_last", "_to"))
    judged = pl.concat([parts, _gaps(rows, parts, table)], how="diagonal").sort("_row", "period_start", "standard", nulls_last=True)
    judged = _corrected(_actual(judged), table["corrections"] if "corrections" in table.columns else None)
    judged = _beside(_standing(_compared(judged), confirmations), benchmarks)
    said = judged.with_columns(derivation=_derivation("en"), derivation_zh=_derivation("zh"))
    return said.select(*schemas.VERDICT, *further)


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


def misfits(products: pl.DataFrame, table: pl.DataFrame, *, with_energy: bool = False) -> list[tuple[int, str, str, str]]:
    """What cannot be meant: a product, indicator or feedstock that no row of the law has, or a unit of another kind.

    `limits` makes no verdict of such rows.

    Args:
        products: PRODUCT, where some columns may be left out.
        table: LIMIT.
        with_energy: whether an energy sum stands beside, so that a row needs its output only.

    Returns:
        Row (from 0), column, what is wrong, and what would be right.
    """
    law: dict[str, dict[str, list[tuple[str | None, str]]]] = {}
    for product, indicator, feedstock, unit in table.select("product", "indicator", "feedstock", "unit").iter_rows():
        law.setdefault(product, {}).setdefault(indicator, []).append((feedstock, unit))
    defaults = default_indicators(table)
    names = {name: code for code, *called in table.select("product", "product_zh", "product_en").iter_rows() for name in (code, *called) if name}
    keys = ["product", "indicator", "feedstock", "unit", "energy_unit", "output_unit"]
    told = [pl.when(pl.col(name).is_not_null()).then(pl.lit(value=True)).alias(name) for name in ("value", "energy")]
    alike = schemas.conform(products, schemas.PRODUCT).select(*keys, *told).with_row_index("_at").group_by(*keys, "value", "energy").agg("_at")
    found = ((row["_at"], _misfit(row, law, defaults, names, with_energy=with_energy)) for row in alike.iter_rows(named=True))
    return [*sorted((at, *misfit) for rows, misfit in found if misfit is not None for at in rows), *_parameter_misfits(products, table)]


def _parameter_misfits(products: pl.DataFrame, table: pl.DataFrame) -> Iterator[tuple[int, str, str, str]]:
    """Cells of parameters that are impossible for the product of their row."""
    for (product,), rows in products.with_row_index("_at").partition_by("product", as_dict=True).items():
        for parameter in parameter_columns(table.filter(pl.col("product") == product)):
            if parameter.name in rows.columns:
                wrong = rows.filter(impossible(rows[parameter.name], parameter)).select("_at", parameter.name)
                for at, cell in wrong.iter_rows():
                    yield at, parameter.name, f"{cell!r} is not possible ({parameter.en})", f"Write {parameter.told}."


def unfit_parameters(table: pl.DataFrame) -> Callable[[str | None, Mapping[str, float | str]], list[tuple[str, str, str]]]:
    """What is wrong with further columns of a product as parameters of its limit (LIMIT): column, what is wrong, and what would be right."""
    @cache
    def asked(product: str | None) -> dict[str, Parameter]:
        return {each.name: each for each in parameter_columns(table.filter(pl.col("product") == product))}

    def unfit(product: str | None, given: Mapping[str, float | str]) -> list[tuple[str, str, str]]:
        known = asked(product)
        right = f"It has {', '.join(known)}." if known else "Its limits ask for none."
        strange = [name for name in given if name not in known and name not in schemas.PRODUCT]
        return [(name, f"is no parameter of the limits of {product}", right) for name in strange] + [
            (name, f"{given[name]!r} is not possible ({each.en})", f"Write {each.told}.")
            for name, each in known.items() if name in given and impossible(pl.Series([given[name]]), each).any()
        ]

    return unfit


def _misfit(
    row: Mapping[str, Any], law: Mapping[str, Mapping[str, Sequence[tuple[str | None, str]]]], defaults: Mapping[str, str],
    names: Mapping[str, str], *, with_energy: bool,
) -> tuple[str, str, str] | None:
    product = row["product"]
    if product not in law:
        return "product", f"{product!r} is in no limit table", f"{near_it(str(product), names)}`tcewatch tables limits` lists the codes."
    indicator = str(row["indicator"] or defaults.get(product))
    if indicator not in law[product]:
        return "indicator", f"{product} has no indicator {row['indicator'] or '(empty)'}", f"Write one of {', '.join(law[product])}."
    boundaries = {feedstock for feedstock, _ in law[product][indicator]}
    if row["feedstock"] is not None and row["feedstock"] not in boundaries:
        known = ", ".join(sorted(each for each in boundaries if each)) or "no feedstock boundary: leave the cell empty"
        return "feedstock", f"{product} has no row with feedstock {row['feedstock']}", f"The standard has {known}."
    targets = sorted({unit for _, unit in law[product][indicator]})
    if row["value"] is not None:
        given, column = row["unit"], "unit"
    elif row["energy"] is not None:
        empty = next((name for name in ("energy_unit", "output_unit") if row[name] is None), None)
        given, column = f"{row['energy_unit']}/{row['output_unit']}", empty or "energy_unit"
        given = None if empty else given
    elif with_energy and row["output_unit"] is not None:
        numerator = "kWh" if indicator in ELECTRICITY_INDICATORS else "tce" if indicator in TOTAL_INDICATORS else targets[0].partition("/")[0]
        given, column = f"{numerator}/{row['output_unit']}", "output_unit"
    else:
        return None
    if given is None or all(unit_factor(given, target) is None for target in targets):
        what = "the unit is empty" if given is None else f"{given} cannot be held against {' or '.join(targets)}"
        return column, what, f"Give the figure in {' or '.join(targets)}, or in a unit that is a multiple of it by definition."
    return None


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
        return rows.with_columns(*(pl.lit(None, dtype=schemas.ENERGY_SUM[name]).alias(f"_e_{name}") for name in names), _e_found=pl.lit(value=False))
    keys = ["enterprise", "product", "period_start", "period_end"]
    sums = with_days(energy_sum)
    sums = schemas.conform(sums, pl.Schema({**{key: sums.schema[key] for key in keys}, **{name: schemas.ENERGY_SUM[name] for name in names}}))
    sums = sums.rename({name: f"_e_{name}" for name in names}).with_columns(_e_found=pl.lit(value=True))
    return rows.join(sums, on=keys, how="left", nulls_equal=True, maintain_order="left").with_columns(pl.col("_e_found").fill_null(value=False))


def _gaps(rows: pl.DataFrame, parts: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """A row for each run of days of a period on which no edition is in force, with the reason."""
    whole = parts.filter(pl.col("period_start") == pl.col("_first"), pl.col("period_end") == pl.col("_last")).select("_row").unique()
    rows, parts = rows.join(whole, on="_row", how="anti", maintain_order="left"), parts.join(whole, on="_row", how="anti", maintain_order="left")
    spans = parts.select("_row", "period_start", "period_end").sort("_row", "period_start")
    before = pl.col("period_end").cum_max().shift(1).over("_row")
    day = pl.duration(days=1)
    edges = rows.select("_row", "_first", "_last")
    inner = spans.with_columns(_before=before).join(edges, on="_row").select(
        "_row", period_start=pl.coalesce(pl.col("_before") + day, "_first"), period_end=pl.col("period_start") - day
    )
    ends = edges.join(spans.group_by("_row").agg(pl.col("period_end").max()), on="_row", how="left").select(
        "_row", period_start=pl.coalesce(pl.col("period_end") + day, "_first"), period_end="_last"
    )
    # A row whose period is empty has no days to judge; it is kept all the same.
    gaps = pl.concat([inner, ends]).filter((pl.col("period_start") <= pl.col("period_end")).fill_null(value=True)).unique(maintain_order=True)
    found = rows.drop("period_start", "period_end").join(gaps, on="_row", how="inner")
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
    rows = table.filter(pl.col("product") == product)
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


def _actual(judged: pl.DataFrame) -> pl.DataFrame:
    """Add `actual` in the limit's unit, and in both languages how it came about (`_formula`) and what it lacks (`_lacking`)."""
    from_sum = pl.col("value").is_null() & pl.col("energy").is_null() & pl.col("_e_found") & pl.col("_ruled")
    electric, total = pl.col("indicator").is_in(ELECTRICITY_INDICATORS), pl.col("indicator").is_in(TOTAL_INDICATORS)
    # What is used as raw material is in the sum; a limit without it is held against the rest. A fuel's two values are the same.
    raw_material = pl.when(pl.col("feedstock") == "excluded").then(pl.col("_e_feedstock_tce").fill_null(0.0)).otherwise(0.0)
    of_basis = pl.when(pl.col("basis") == "equivalent").then("_e_equivalent_tce").otherwise("_e_calorific_tce") - raw_material
    summed = pl.when(electric).then("_e_electricity_kwh").when(total).then(of_basis)
    rows = judged.with_columns(
        _from_sum=from_sum,
        energy=pl.when(from_sum).then(summed).otherwise("energy"),
        energy_unit=pl.when(from_sum).then(pl.when(electric).then(pl.lit("kWh")).when(total).then(pl.lit("tce"))).otherwise("energy_unit"),
        covered_ratio=pl.coalesce("covered_ratio", pl.when(from_sum).then("_e_covered_ratio"), pl.lit(1.0)),
        estimated_ratio=pl.coalesce("estimated_ratio", pl.when(from_sum).then("_e_estimated_ratio"), pl.lit(0.0)),
    )
    given = pl.col("value").is_not_null()
    usable_output = pl.col("output") > 0
    rows = rows.with_columns(
        _figure=pl.when(given).then("value").when(usable_output).then(pl.col("energy") / pl.col("output")),
        _figure_unit=pl.when(given).then("unit").otherwise(pl.concat_str("energy_unit", "output_unit", separator="/")),
    )
    pairs = rows.select("_figure_unit", "_limit_unit").unique().drop_nulls()
    factors = pairs.with_columns(_factor=pl.Series([unit_factor(unit, to) for unit, to in pairs.iter_rows()], dtype=pl.Float64()))
    rows = rows.join(factors, on=["_figure_unit", "_limit_unit"], how="left", maintain_order="left")
    no_sum = ~pl.col("_from_sum") & pl.col("energy").is_null()

    def lacking(language: str, say: Callable[[str], str]) -> pl.Expr:
        no_unit = pl.when(given).then(pl.lit(say("unit of the value"))).otherwise(pl.lit(say("units of energy and output")))
        no_energy = pl.col("_e_missing").fill_null(say("the sum has no value on this basis"))
        return (
            pl.when(pl.col("_reason_en").is_not_null()).then(f"_reason_{language}")
            .when(~given & no_sum).then(pl.lit(say("energy of the product in this period")))
            .when(~given & ~electric & ~total & pl.col("_from_sum"))
            .then(pl.format(say("a figure of its own for {}: the product's energy sum does not tell it"), "indicator"))
            .when(~given & pl.col("energy").is_null()).then(pl.format(say("energy: {}"), no_energy))
            .when(~given & pl.col("output").is_null()).then(pl.lit(say("output of the product in this period")))
            .when(~given & ~usable_output).then(pl.format(say("an output above 0 (it is {})"), number("output")))
            .when(pl.col("_figure_unit").is_null()).then(no_unit)
            .when(pl.col("_factor").is_null())
            .then(pl.format(say("a figure in {}: {} cannot be turned into it by definition"), "_limit_unit", "_figure_unit"))
            .when(~pl.col("_figure").is_finite()).then(pl.lit(say("a finite figure")))
            .when(pl.col("_figure") == 0, pl.min_horizontal(LEVELS) > 0)
            .then(pl.lit(say("a figure above 0: nothing is made with no energy, and every level of the limit is above 0")))
        ).alias(f"_lacking_{language}")

    left_out = pl.col("_from_sum") & total & (raw_material != 0)
    formulas = [_formula(say, left_out).alias(f"_formula_{language}") for language, say in LANGUAGES.items()]
    return rows.with_columns(*(lacking(language, say) for language, say in LANGUAGES.items()), *formulas).with_columns(
        actual=pl.when(pl.col("_lacking_en").is_null()).then(pl.col("_figure") * pl.col("_factor")), unit="_limit_unit",
    ).with_columns(uncorrected="actual")


def _corrected(rows: pl.DataFrame, corrections: pl.Series | None) -> pl.DataFrame:
    """Add `binding_level`; apply the corrections of each limit row to the rows that are held against it."""
    binding = pl.col("plant_status").replace_strict(dict(BINDING_LEVELS), default=None, return_dtype=pl.Int8())
    rows = rows.with_columns(binding_level=pl.when("_ruled").then(binding)).with_row_index("_order")
    rows = rows.with_columns(_printed=_of_binding_level())
    of_law = {} if corrections is None else {at: own for at, own in enumerate(corrections.to_list()) if own}
    parts = rows.with_columns(_part=pl.when(pl.col("_law").is_in(list(of_law))).then("_law")).partition_by("_part", as_dict=True, maintain_order=True)
    done = [corrected(part.drop("_part"), of_law.get(at, ())) for (at,), part in parts.items()]
    return pl.concat(done).sort("_order") if done else corrected(rows, ())


def _of_binding_level() -> pl.Expr:
    return pl.coalesce(pl.when(pl.col("binding_level") == int(level[-1])).then(level) for level in LEVELS)


def _compared(rows: pl.DataFrame) -> pl.DataFrame:
    """Add level, verdict, missing and excess."""
    binding = pl.col("binding_level")
    rows = rows.with_columns(_limit=_of_binding_level())

    def within(figure: pl.Expr, bound: pl.Expr) -> pl.Expr:
        return (figure.round_sig_figs(SIGNIFICANT_DIGITS) <= bound.round_sig_figs(SIGNIFICANT_DIGITS)).fill_null(value=False)

    actual, bound = pl.col("actual"), pl.col("_limit")
    covered, estimated = pl.col("covered_ratio").round_sig_figs(SIGNIFICANT_DIGITS), pl.col("estimated_ratio").round_sig_figs(SIGNIFICANT_DIGITS)
    too_little, too_much = pl.col("_ruled") & (covered < MIN_COVERED_RATIO), pl.col("_ruled") & (estimated > MAX_ESTIMATED_RATIO)
    no_status, no_level = pl.col("_ruled") & binding.is_null(), pl.col("_ruled") & pl.col("_printed").is_null()

    def missing(language: str, say: Callable[[str], str]) -> pl.Expr:
        return pl.concat_str(
            f"_lacking_{language}",
            pl.when(no_status).then(pl.format(say("plant_status existing or new (it is {})"), "plant_status"))
            .when(no_level).then(pl.format(say("level {} of {}, which the table does not have"), "binding_level", "standard")),
            f"_lacks_{language}",
            pl.when(too_little).then(pl.format(say("data: {} % covered, 90 % needed"), _percent("covered_ratio"))),
            pl.when(too_much).then(pl.format(say("data: {} % estimated, 5 % allowed"), _percent("estimated_ratio"))),
            separator=say("; "), ignore_nulls=True,
        )

    # Recoveries that were not measured would lower a figure: only a positive one is bounded from below by what was measured.
    measured_alone = (actual > 0) & (bound > 0) & ~within(actual * (1 - pl.col("estimated_ratio")), bound)
    open_data = (too_little | too_much).fill_null(value=False)
    lacks = pl.any_horizontal(pl.col("_lacking_en", "_lacks_en").is_not_null(), no_status, no_level).fill_null(value=False)
    verdict = (
        pl.when(pl.col("_ruled").is_null()).then(pl.when(pl.col("_ambiguous")).then(pl.lit("incomplete")).otherwise(pl.lit("no_rule")))
        .when(lacks).then(pl.lit("incomplete"))
        .when(open_data & measured_alone).then(pl.lit("exceeds_measured_alone"))
        .when(open_data).then(pl.lit("incomplete"))
        .when(within(actual, bound)).then(pl.lit("complies"))
        .otherwise(pl.lit("exceeds"))
    )
    texts = {language: pl.when(lacks | open_data).then(missing(language, say)) for language, say in LANGUAGES.items()}
    rows = rows.with_columns(verdict=verdict, missing=texts["en"], missing_zh=texts["zh"])
    compared = pl.col("verdict").is_in(["complies", "exceeds"])
    level = (
        pl.when(within(actual, pl.col("level_1"))).then(pl.lit("1")).when(within(actual, pl.col("level_2"))).then(pl.lit("2"))
        .when(within(actual, pl.col("level_3"))).then(pl.lit("3")).otherwise(pl.lit("none"))
    )
    same = actual.round_sig_figs(SIGNIFICANT_DIGITS) == bound.round_sig_figs(SIGNIFICANT_DIGITS)
    excess = pl.when(same).then(0.0).otherwise(actual - bound)
    return rows.with_columns(
        level=pl.when(compared).then(level), excess=excess, uncertainty=actual.abs() * pl.col("uncertainty_ratio"),
    ).with_columns(
        excess_ratio=pl.when(bound != 0).then(pl.col("excess") / bound.abs()), within_uncertainty=pl.col("excess").abs() <= pl.col("uncertainty"),
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
    """Add benchmark, baseline and where the figure stands between them, in the unit of the limit."""
    keys = ["product", "indicator", "feedstock"]
    known = schemas.conform(schemas.empty(schemas.BENCHMARK) if benchmarks is None else benchmarks, schemas.BENCHMARK)
    known = rows.select(*keys, "_limit_unit").unique().join(known, on=keys, nulls_equal=True).drop_nulls(["unit", "_limit_unit"])
    scale = [unit_factor(unit, to) for unit, to in known.select("unit", "_limit_unit").iter_rows()]
    known = known.with_columns(_scale=pl.Series(scale, dtype=pl.Float64())).drop_nulls("_scale").select(
        *keys, "_limit_unit", benchmark=pl.col("benchmark") * pl.col("_scale"), baseline=pl.col("baseline") * pl.col("_scale"), _benchmarks="edition",
    )
    rows = rows.join(known, on=[*keys, "_limit_unit"], how="left", nulls_equal=True, maintain_order="left")
    actual, benchmark, baseline = (pl.col(name).round_sig_figs(SIGNIFICANT_DIGITS) for name in ("actual", "benchmark", "baseline"))
    position = (
        pl.when(~pl.col("verdict").is_in(["complies", "exceeds"])).then(pl.lit("unknown"))
        .when(actual <= benchmark).then(pl.lit("leading"))
        .when(actual > baseline).then(pl.lit("below_baseline"))
        .when(benchmark.is_not_null() & baseline.is_not_null()).then(pl.lit("between"))
        .otherwise(pl.lit("unknown"))
    )
    return rows.with_columns(benchmark_position=position)


def _formula(say: Callable[[str], str], left_out: pl.Expr) -> pl.Expr:
    """How a figure came about."""
    raw_material = pl.format(say(" ({} tce used as raw material left out)"), number("_e_feedstock_tce"))
    return pl.when(pl.col("value").is_not_null()).then(pl.format(say("reported {} {}"), number("value"), "unit")).otherwise(pl.concat_str(
        pl.format(say("energy {} {}"), number("energy"), "energy_unit"),
        pl.when(left_out).then(raw_material).otherwise(pl.lit("")),
        pl.format(say(" / output {} {}"), number("output"), "output_unit"),
    ))


def _derivation(language: str) -> pl.Expr:
    """The verdict as one readable line: formula, inputs, edition, level, clause, completeness, standing.

    Remarks of the table are quoted as they are.
    """
    say = LANGUAGES[language]
    nothing = pl.lit("")
    of_limit, of_actual = (pl.col(f"_of_{what}_{language}") for what in ("limit", "actual"))

    def word(column: str) -> pl.Expr:
        return pl.col(column).cast(pl.String()).replace({each: say(each) for each in _WORDS})

    bound = pl.col("_limit")
    place = pl.col("clause") if language == "zh" else pl.col("clause").str.replace_all("表", "table ").str.replace_all("附录", "annex ")
    clause = pl.when(pl.col("clause").fill_null("") != "").then(pl.format(" {}", place)).otherwise(nothing)
    by = pl.format(say(", confirmed by {} on {} against {}"), "_by", "_on", "_copy")
    confirmed = pl.when(pl.col("_by").is_not_null()).then(by).otherwise(nothing)
    divided = (pl.col("period_start") != pl.col("_first")) | (pl.col("period_end") != pl.col("_last"))
    pieces = [
        pl.when(pl.col("uncorrected").is_not_null()).then(pl.concat_str(
            pl.format("{} = {} {}", f"_formula_{language}", number("uncorrected"), "unit"),
            pl.format(say(", corrected by {}"), of_actual).fill_null(""),
        )),
        pl.when("_ruled").then(pl.concat_str(
            pl.format(say("{}{}, level {} ({} plant)"), "standard", clause, "binding_level", word("plant_status")),
            pl.when(bound.is_not_null()).then(pl.format(say(": {} {}"), number("_limit"), "unit"))
            .when(pl.col("_printed").is_not_null()).then(pl.lit(say(" is not known"))).otherwise(pl.lit(say(" is not in the table"))),
            pl.when(bound.is_not_null()).then(
                pl.format(say(", corrected from {} {} by {}"), number("_printed"), "unit", of_limit)
            ).fill_null(""),
            pl.format(say(", {} basis, in force from {}"), word("basis"), "_from"),
        )),
        pl.when(pl.col("excess").is_not_null()).then(pl.concat_str(
            pl.format(say("actual - limit = {} {}"), number("excess"), "unit"),
            pl.when(pl.col("excess_ratio").is_not_null()).then(pl.format(say(" ({} % of the limit's absolute value)"), _percent("excess_ratio")))
            .otherwise(pl.lit(say(" (the limit is 0: no ratio)"))),
        )),
        pl.when(pl.col("_ruled") & divided).then(pl.format(
            say("judged for {} to {} only, where this edition is in force; the figure is that of {} to {}"),
            "period_start", "period_end", "_first", "_last",
        )),
        pl.when("_ruled").then(pl.format(say("{} % covered, {} % estimated"), _percent("covered_ratio"), _percent("estimated_ratio"))),
        pl.when(pl.col("verdict") == "exceeds_measured_alone").then(pl.format(
            say("the measured part alone, {} {}, is above the limit"), number(pl.col("actual") * (1 - pl.col("estimated_ratio"))), "unit"
        )),
        pl.format(say("missing: {}"), "missing" if language == "en" else "missing_zh"),
        pl.when(pl.col("_complete").not_()).then(pl.format(
            say("corrections of the standard are not all carried as data: {}"),
            pl.when(pl.col("_remark").fill_null("") == "").then(pl.lit(say("see its text"))).otherwise("_remark"),
        )),
        pl.when(pl.col("uncertainty").is_not_null()).then(pl.concat_str(
            pl.format(say("expanded uncertainty (k = 2) {} {}"), number("uncertainty"), "unit"),
            pl.when("within_uncertainty").then(pl.lit(say(": the limit lies inside it, to be verified before any case"))).otherwise(nothing),
        )),
        pl.when("_ruled").then(pl.concat_str(pl.format(say("{}, {} confidence"), word("standing"), word("confidence")), confirmed)),
        pl.when(pl.any_horizontal(pl.col("benchmark", "baseline").is_not_null())).then(pl.format(
            say("benchmark {}, baseline {} {} ({}), no legal finding: {}"), number("benchmark").fill_null("-"), number("baseline").fill_null("-"),
            "unit", "_benchmarks", word("benchmark_position"),
        )),
    ]
    return pl.concat_str(pieces, separator=say("; "), ignore_nulls=True)


def _percent(of: str) -> pl.Expr:
    return number((100 * pl.col(of)).round(2))
