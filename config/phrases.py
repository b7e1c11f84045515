"""Why a figure is empty, in Chinese: the sentences of results are made in English, and this is the one place that knows the other language."""

import re
from functools import lru_cache
from typing import Final

import polars as pl

SEPARATOR: Final = "; "
_PHRASES: Final = {  # {} is a name, a number or another of these sentences
    "calorific": "当量值", "equivalent": "等价值", "feedstock": "原料用能", "new_renewable": "新增可再生能源",
    # energy and its sums
    "carrier {} is in no coefficient table": "折标系数表中没有能源品种 {}",
    "{} is no unit of {} ({})": "{} 不是 {} 的计量单位（应为 {}）",
    "lhv_unit {} does not fit {} in {}": "热值单位 {0} 与以 {2} 计量的 {1} 不符",
    "{} is no period": "{} 不是统计期",
    "the coefficient of {} is for {}, the quantity is in {}: between conditions of a gas there is no fixed factor; give lhv in kJ/{}, "
    "or a coefficient for {}": "{} 的系数以 {} 计，而数量以 {} 计：气体不同状态之间没有固定换算；请给出 kJ/{} 的热值，或以 {} 计的系数",
    "the coefficient of {} that is in force is for {}, the quantity is in {}: give both in one unit, or a measured heating value":
        "{} 的现行系数以 {} 计，而数量以 {} 计：请用同一单位，或给出实测热值",
    "the {} coefficient of {} starts or ends within {} ({}): give the quantity by months or days":
        "{1} 的{0}系数在 {2} 期间变更（{3}）：请按月或按日给出数量",
    "no {} coefficient of {} is in force in {}, only {}": "{2} 期间没有 {1} 的现行{0}系数，仅有 {3}",
    "{} to before further notice": "{} 起", "{} to before {}": "{} 起至 {} 前",
    "{} is a consumed medium: it enters a figure only by a coefficient list that the standard or the site names":
        "{} 是耗能工质：只有标准或本站指定的系数表列出时才计入",
    "{} has no default coefficient: give its measured heating value as lhv and lhv_unit": "{} 没有缺省系数：请给出实测热值（lhv、lhv_unit）",
    "{} has no fixed {} coefficient: bring in the one that is valid for {}, with its source": "{} 没有固定的{}系数：请引入 {} 有效的系数及其来源",
    "no quantity in {}": "{} 没有数量",
    "no heating value on {} ({})": "{} 没有热值（{}）", "no heating value on {}": "{} 没有热值",
    "the coefficient is taken for these days": "这些日按系数计算",
    "no energy carrier in this group": "该组没有能源品种",
    "consumed stands beside purchased, own primary or stock rows, which counts it twice; keep one of the two":
        "消费量与购入、自产一次能源或库存并列，重复计算；请只保留一种",
    "{} and {} more": "{} 等另 {} 项", "and {} more": "另有 {} 项",
    "it is not said how much is {} ({}_ratio)": "未说明{}占多少（{}_ratio）",
    "no rule of this figure is in force in all of {}": "{} 期间没有始终有效的口径规则",
    "{} tce less than the supply: the sum takes off what own conversion made and no meter saw used, or what was sold of it besides":
        "比供应量少 {} tce：合计扣除了自加工转换产出而无计量用量的部分，或另行外供的部分",
    # key energy users
    "no threshold in force on {}-12-31, the first begins on {}": "{} 年末没有现行门槛，最早自 {} 起",
    "{} is not over": "{} 年尚未结束", "no energy on the basis of the threshold": "没有按门槛口径的能耗",
    "no energy on the other basis": "没有另一口径的能耗", "{} % of the energy covered, {} % estimated": "能耗覆盖 {} %，估算 {} %",
    # price
    "{} is no scheme": "没有加价方案 {}",
    "{} has no date and is never in force: bring the edition of the place with its date": "{} 没有日期，从未施行：请引入当地注明日期的版本",
    "the editions of {} begin on {}, and which one holds depends on it": "{} 各版本分别自 {} 起施行，适用哪一版取决于此",
    "the edition of {} changes within the period ({}): bill its parts": "{} 的版本在计费周期内变更（{}）：请分段计费",
    "no edition of {} is in force from {} to {} ({})": "{1} 至 {2} 期间没有 {0} 的现行版本（{3}）",
    "{} in force from {}": "{} 自 {} 起施行", "{} in force from {} to before {}": "{} 自 {} 起施行至 {} 前",
    "the verdict is {}": "判定结果为 {}",
    "no class follows from an excess over a limit of {}, at or below zero": "限额为 {}，不大于零，超出不对应加价档次",
    "the scheme is for {}, not {}": "该方案适用于 {}，不适用于 {}", "actual in {}": "以 {} 计的实际值", "a finite figure": "有限的数值",
    "{} states no add-on for step {}: bring the notice that does": "{} 未给出 {} 档的加价标准：请引入载明标准的文件",
    "the province's incentive value for renewable power of the year before": "上一年度本省可再生能源电力消纳激励值",
    # CO2
    "no CO2 factor of {} is in the table: name the kind of fuel as `tcewatch tables carbon_factors` lists it, "
    "or bring its factor (`tcewatch tables add`)":
        "排放因子表（carbon_factors）中没有{}：请按表中所列写明燃料种类，或引入其因子",
    "no CO2 factor of {} is published for {} or before; the first is of {}": "{1} 年及以前没有公布{0}的排放因子；最早为 {2} 年",
    "the table has no number for the CO2 of {} ({})": "排放因子表中{}没有数值（{}）",
    "the CO2 factor of {} is for one {}, the quantity is in {}: give lhv and lhv_unit":
        "{}的排放因子以 {} 计，而数量以 {} 计：请给出热值（lhv、lhv_unit）",
    "{} used as raw material has no combustion factor: give its emission in process_t": "{}用作原料没有燃烧排放因子：请在 process_t 中给出其排放量",
    "no carrier of {}": "{} 年没有能源品种", "no quantities of the enterprise": "该企业没有实物量",
    "value added of {} of 12 months only": "增加值仅有 12 个月中的 {} 个月", "value added of different price bases": "增加值的价格口径不同",
    "no sector: no grade": "未填行业，不评等", "the mean of the sector is {}: no grade": "行业均值为 {}，不评等",
    # intensity
    "no value added of {}": "缺少 {} 的增加值", "no value added": "没有增加值",
    "figures of different price bases cannot be added": "不同价格口径的数值不能相加",
    "value added is {}: no intensity": "增加值为 {}，无强度", "in several parks, so in none: {}": "属于多个园区，均不计入：{}",
    "energy by {}, value added by {}: sum the energy by the period of the value added ({})":
        "能耗按 {}，增加值按 {}：请按增加值的统计期汇总能耗（{}）",
    "energy by {}, value added by {}: sum the energy by the period of the value added": "能耗按 {}，增加值按 {}：请按增加值的统计期汇总能耗",
    "the measured part only of {}": "{} 仅为有计量的部分",
    "the measured part only, {} % covered": "仅为有计量的部分，覆盖率 {} %",
    "the measured part only, {} % covered ({})": "仅为有计量的部分，覆盖率 {} %（{}）",
    "calorific energy": "当量值能耗", "equivalent energy": "等价值能耗", "fresh water": "新水量", "water": "水量",
    **{f"no {said}": f"没有{zh}" for said, zh in (
        ("calorific energy", "当量值能耗"), ("equivalent energy", "等价值能耗"), ("fresh water", "新水量"), ("water", "水量"),
    )},
    "no calorific energy ({})": "没有当量值能耗（{}）", "no equivalent energy ({})": "没有等价值能耗（{}）",
    "day": "日", "month": "月", "year": "年",
    "no {} of {} ({} % of value added)": "缺少 {1} 的{0}（占增加值 {2} %）",
    **{f"no {said} of {{}}": f"缺少 {{}} 的{zh}" for said, zh in (
        ("calorific energy", "当量值能耗"), ("equivalent energy", "等价值能耗"), ("fresh water", "新水量"), ("water", "水量"),
    )},
    # access
    "no declared list of the media used": "没有申报使用介质清单", "no meter": "无计量表",
    "no such enterprise uses it": "没有使用该介质的此类企业",
    "of {} enterprises it is not known whether they are key energy users": "有 {} 家企业是否为重点用能单位不明",
    "{} enterprises have no declared list of the media used": "有 {} 家企业没有申报使用介质清单", "no goal in force": "没有现行目标",
    # projects
    "no grant of quota is entered": "未录入用能指标的授予", "used and reclaimed are {} tce above what was granted": "已用与收回之和超出授予 {} tce",
    "no day by which it must begin": "没有最迟开工日期", "no approved energy": "没有批准的能源消费量",
    "no planned start of operation": "没有计划投产日期",
    "no product named": "未指明产品", "no design consumption": "没有设计单耗", "the standard has no level 1": "该标准没有 1 级",
    "{} is in no limit table": "限额表中没有 {}", "{} cannot be held against {}": "{} 不能与 {} 比较", "the unit is empty": "单位为空",
    "{} has no indicator {}": "{} 没有指标 {}", "{} has no row with feedstock {}": "{} 没有原料口径为 {} 的行",
    "no approved energy on the equivalent basis": "没有批准的等价值能源消费量",
    "{}, spread evenly over the days of operation (assumption of tcewatch)": "{}，按投产后天数均摊（tcewatch 的假定）",
    # budgets
    "{} is no grid region of the CO2 factors": "CO2 排放因子表没有电网区域 {}",
    "CO2 of grid electricity by the factor of {} ({})": "网电二氧化碳按 {} 因子（{}）",
    "renewable electricity of {} kWh is stated, and {} kWh were bought: it is not taken": "申报可再生电力 {} kWh，而购入 {} kWh：不予采用",
    "the period begins on {}": "统计期自 {} 开始", "the goal has no number yet": "目标尚无数值",
    "parts of {} cannot be added: give the figure of {}, or what it is divided by": "{} 的各部分不能相加：请给出 {} 的数值或其除数",
    "the base of the reduction": "降低率的基数", "a base above 0 (it is {})": "大于 0 的基数（现为 {}）",
    "data: {} % covered, 90 % needed": "数据覆盖率 {} %，须达 90 %",
    "no figure of {} in {}": "{1} 没有 {0} 的数值", "no figure of {} ({})": "{} 没有数值（{}）", "no figure of {}": "{} 没有数值",
    "figures for {} of the {} days to {} only": "至 {2} 的 {1} 天中仅有 {0} 天的数值",
    "a rule of the colours in force on {} ({})": "{} 没有现行的预警颜色规则（{}）", "the first begins on {}": "最早自 {} 起",
}


def _pattern(phrase: str) -> re.Pattern[str]:
    """In brackets may stand several sentences, elsewhere not."""
    parts = re.escape(phrase).replace(re.escape("({})"), r"\((.+)\)")
    return re.compile(parts.replace(re.escape("{}"), "((?:(?!: )[^;])+?)"))


# What says more is asked first, so that no sentence is taken for the inside of another.
_KNOWN: Final = [(_pattern(said), zh) for said, zh in sorted(_PHRASES.items(), key=lambda pair: -len(pair[0].replace("{}", "")))]


def with_chinese(rows: pl.DataFrame, column: str = "missing") -> pl.DataFrame:
    """Add the reasons in a column in Chinese, as COLUMN_zh; names, numbers and sentences that are not known stay as they are.

    >>> with_chinese(pl.DataFrame({"missing": ["coal: no meter; no goal in force", None]}))["missing_zh"].to_list()
    ['coal：无计量表；没有现行目标', None]
    """
    said = {reason: chinese(reason) for reason in rows[column].drop_nulls().unique()}
    return rows.with_columns(pl.col(column).replace_strict(said, default=None, return_dtype=pl.String()).alias(f"{column}_zh"))


@lru_cache(maxsize=4096)
def chinese(reasons: str) -> str:
    """Reasons with "; " between them, in Chinese.

    >>> chinese("electricity: no quantity in 2025-03")
    'electricity：2025-03 没有数量'
    """
    pieces, said, at = reasons.split(SEPARATOR), [], 0
    while at < len(pieces):
        spans = (SEPARATOR.join(pieces[at:end]) for end in range(at + 1, len(pieces) + 1))
        known = ((span, _sentence(span)) for span in spans if span.count("(") == span.count(")"))
        span, zh = next(((span, zh) for span, zh in known if zh is not None), (pieces[at], pieces[at]))
        said.append(zh)
        at += span.count(SEPARATOR) + 1
    return "；".join(said)


def _inside(text: str) -> str:
    """What stands in a sentence: sentences or names with commas between them, or another one that has a comma itself."""
    parts, whole = text.split(", "), chinese(text)
    each = [chinese(part) for part in parts]
    return whole if whole != text and any(part == said for part, said in zip(parts, each, strict=True)) else ", ".join(each)


def _sentence(text: str) -> str | None:
    for pattern, zh in _KNOWN:
        if fits := pattern.fullmatch(text):
            return zh.format(*map(_inside, fits.groups()))
    head, colon, rest = text.partition(": ")
    told = _sentence(rest) if colon else None
    return None if told is None else f"{chinese(head)}：{told}"
