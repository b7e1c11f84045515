"""Papers of an enterprise as workbooks, filled from register, accounts and reported figures; a sheet `sources` says where each cell comes from.

Meter fitting table (GB 17167), yearly energy utilisation report (Energy Conservation Law, art. 53), and the statistical form of energy purchase,
consumption and stock. A cell that is not known is empty, and the sheet `sources` says why.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import polars as pl

from config import calendar, schemas
from config.errors import Problem
from config.phrases import chinese
from config.units import dimension, factor
from monitors.coefficients import WATER
from monitors.energy import CONSUMED, figures
from monitors.limits import MIN_COVERED_RATIO
from monitors.metering import fitting
from monitors.numbers import SIGNIFICANT_DIGITS, whole_sum
from pipeline import quality
from pipeline.site import Site
from portal.i18n import term
from store import sheets

Kind = Literal["fitting", "utilisation", "stock"]
KINDS: Final[tuple[Kind, ...]] = ("fitting", "utilisation", "stock")
SOURCES: Final = "来源 sources"
_SHEETS: Final[Mapping[str, str]] = {
    "fitting": "配备情况 fitting", "meters": "计量器具 meters", "unit": "用能单位 unit", "consumption": "能源消费 consumption",
    "efficiency": "能效 efficiency", "goals": "目标 goals", "measures": "措施 measures", "stock": "购进消费库存 stock",
}
TOTAL_CODE: Final = "40"  # statistical form 205: total of energy
_FORM_UNITS: Final[Mapping[str, str]] = {
    "mass": "t", "volume": "10^4 m3", "volume at 0 degC": "10^4 Nm3", "volume at 20 degC": "10^4 Sm3",
}
_TITLES: Final[Mapping[str, str]] = {
    "level": "级别 level", "medium": "介质 medium", "needed": "应配备数 needed", "fitted": "实配备数 fitted", "fitting_ratio": "配备率 fitting_ratio",
    "fitting_at_least_ratio": "配备率要求 required ratio", "class_at_most": "准确度等级要求 required class",
    "class_known": "已登记等级数 classes entered", "class_met": "等级达标数 classes met", "lacking": "缺表点 points without meter",
    "point": "计量点 point", "name": "名称 name", "meter": "表计 meter",
    "accuracy_class": "准确度等级 accuracy class", "calibrated_on": "检定日期 verified on", "due_on": "有效期至 valid until",
    "verification": "检定状态 verification", "item": "项目 item", "value": "内容 value", "unit": "单位 unit", "carrier": "能源 carrier",
    "flow": "流向 flow", "inside": "范围 extent",
    "use": "用途 use", "quantity": "实物量 quantity", "calorific_kgce_per_unit": "当量折标系数 calorific kgce per unit",
    "calorific_tce": "当量值 calorific tce", "equivalent_kgce_per_unit": "等价折标系数 equivalent kgce per unit",
    "equivalent_tce": "等价值 equivalent tce", "covered_ratio": "数据覆盖率 covered", "estimated_ratio": "估算占比 estimated",
    "product": "产品 product", "indicator": "指标 indicator", "actual": "实际值 actual", "level_1": "1级 level 1", "level_2": "2级 level 2",
    "level_3": "3级 level 3", "binding_level": "适用等级 binding level", "verdict": "判定 verdict", "standing": "效力 standing",
    "standard": "标准 standard", "period": "期间 period", "target": "目标 target",
    "goal_kind": "目标类型 kind of goal", "gap_ratio": "差距 gap ratio", "description": "说明 description", "saving": "节能量 saving tce",
    "code": "代码 code", "opening_stock": "年初库存量 opening stock", "purchased": "购进量 purchased", "consumed": "消费量合计 consumed",
    "converted_out": "加工转换产出 conversion output", "sold": "外供 sold or passed on",
    "feedstock": "用于原材料 as feedstock", "non_industrial": "非工业生产消费 non-industrial", "closing_stock": "期末库存量 closing stock",
    "coefficient": "采用折标系数 coefficient tce/unit", "tce": "折标准煤 tce",
}
_INTENSITIES: Final = (
    ("calorific_tce_per_10k_cny", "单位增加值能耗（当量值）energy per value added, calorific", "tce/10^4 CNY"),
    ("equivalent_tce_per_10k_cny", "单位增加值能耗（等价值）energy per value added, equivalent", "tce/10^4 CNY"),
    ("water_m3_per_10k_cny", "单位增加值新水量 fresh water per value added", "m3/10^4 CNY"),
)
_PERIOD_SUM: Final = pl.Schema({"enterprise": pl.String(), "period": pl.String(), **schemas.ENERGY_SUM})
_BROUGHT: Final[Mapping[str, int]] = {  # what came in, was made and left: what remains was used
    "purchased": 1, "own_primary": 1, "opening_stock": 1, "converted_out": 1, "closing_stock": -1, "sold": -1, "recovered": -1,
}
_YES_NO: Final = {True: "是 yes", False: "否 no"}
_NO_CODE: Final = "统计代码未知 no statistical code is known"
_NO_LINK: Final = "单位之间无定义换算 no definition links the units"
_NOT_STORED: Final = "不储存 it is not stored"
_NOTHING_EVALUATED: Final = "尚无核算结果 nothing is evaluated yet for the year"


class Cell(NamedTuple):
    """A value with its source, or nothing with the reason."""

    value: Any = None
    source: str = ""
    missing: str = ""


@dataclass
class Sheet:
    """One table of a paper."""

    columns: Sequence[str]  # of _TITLES
    rows: list[Mapping[str, Cell]] = field(default_factory=list)


Paper = dict[str, Sheet]


def paper(site: Site, kind: Kind, enterprise: str, year: int, now: datetime) -> Paper:
    """One of KINDS for an enterprise of the register and a year.

    Args:
        site: the adapters.
        kind: which.
        enterprise: its credit code; it is in the register.
        year: calendar year; what is judged as of a day is judged as of its last one, or of today in the running year.
        now: the present instant.
    """
    today = calendar.local_day(now, site.settings.site.zone)
    makers: Mapping[Kind, Callable[[Site, str, int, date], Paper]] = {"fitting": _fitting, "utilisation": _utilisation, "stock": _stock}
    return makers[kind](site, enterprise, year, today)


def problems(site: Site, enterprise: str, year: int, now: datetime) -> list[Problem]:
    """What speaks against a paper for an enterprise and a year."""
    found = []
    if site.register.enterprises().filter(enterprise=enterprise).is_empty():
        found.append(Problem("enterprise", f"{enterprise!r} is not in the register", "`tcewatch register export FILE` lists the enterprises."))
    running = calendar.local_day(now, site.settings.site.zone).year
    if not 1990 <= year <= running:
        found.append(Problem("year", f"{year} is no year with data", f"Write a year up to {running}."))
    return found


def title(site: Site, kind: Kind, enterprise: str, year: int) -> str:
    """What stands above each printed page of a paper: which it is, whose, of which year."""
    row = site.register.enterprises().filter(enterprise=enterprise).row(0, named=True)
    return f"{_both('paper', kind)} · {_text(row['name_zh'], row['name_en']) or enterprise} · {year}"


def write(one: Paper, file: Path | BytesIO, title: str = "") -> None:
    """Write a paper as a workbook: its sheets, then `sources`: for each cell under the head its value, source, or why it is empty."""
    tables: dict[str, tuple[Sequence[str], list[list[Any]]]] = {
        _SHEETS[name]: (
            [_TITLES[column] for column in sheet.columns], [[_digits(row[column].value) for column in sheet.columns] for row in sheet.rows],
        )
        for name, sheet in one.items()
    }
    rows = [
        [_SHEETS[name], f"{_letter(column)}{number}", _TITLES[title], _digits(cell.value), cell.source or None, cell.missing or None]
        for name, sheet in one.items() for number, row in enumerate(sheet.rows, start=2)
        for column, title in enumerate(sheet.columns) for cell in [row[title]] if cell != Cell()  # such a cell is not asked for
    ]
    tables[SOURCES] = (["工作表 sheet", "单元格 cell", "栏目 column", "内容 value", "来源 source", "空白原因 why it is empty"], rows)
    sheets.write_workbook(file, tables, title)


def table(one: Paper) -> pl.DataFrame:
    """A paper as one table: sheet, row, column, value (as text), source, missing."""
    rows = [
        (name, number, title, None if cell.value is None else str(_digits(cell.value)), cell.source, cell.missing)
        for name, sheet in one.items() for number, row in enumerate(sheet.rows, start=1) for title, cell in row.items() if cell != Cell()
    ]
    shape = {"sheet": pl.String(), "row": pl.UInt32(), "column": pl.String(), "value": pl.String(), "source": pl.String(), "missing": pl.String()}
    return pl.DataFrame(rows, shape, orient="row")


# --- meters ---

def _fitting(site: Site, enterprise: str, year: int, today: date) -> Paper:
    on = min(date(year, 12, 31), today)
    points = site.register.metering_points().filter(enterprise=enterprise)
    meters = site.register.meters().filter(enterprise=enterprise)
    found = fitting(points, meters, site.metering_requirements(), on)
    summary = Sheet((
        "level", "medium", "needed", "fitted", "fitting_ratio", "fitting_at_least_ratio", "class_at_most", "class_known", "class_met", "lacking",
    ))
    for row in found.to_dicts():
        law = row["source"] or ""
        declared = "登记 register: metering_point"
        why = "要求中没有 the requirement names none" if law else _text(row["missing_zh"], row["missing"]) or ""
        asked = {name: _known(row[name], law, why) for name in ("fitting_at_least_ratio", "class_at_most", "class_met")}
        summary.rows.append({
            "level": Cell(_both("level-of-meter", row["level"]), declared), "medium": Cell(_both("medium", row["medium"]), declared),
            **{name: Cell(row[name], declared) for name in ("needed", "fitted", "fitting_ratio")}, **asked,
            "class_known": Cell(row["class_known"], "登记 register: meter"),
            "lacking": _known("; ".join(row["lacking"]) or None, declared, "无 none"),
        })
    if not summary.rows:
        why = "未登记计量点，无从计算配备率 no metering point is declared: what is needed is not known"
        summary.rows.append(dict.fromkeys(summary.columns, Cell(missing=why)))
    verified = quality.verifications(site, on).filter(enterprise=enterprise)
    listed = points.join(meters.select("meter"), on="meter", how="full", coalesce=True).join(
        meters.select("meter", "accuracy_class", meter_medium="medium", zh="name_zh", en="name_en"), on="meter", how="left",
    ).join(verified.select("meter", "calibrated_on", "due_on", "state"), on="meter", how="left")
    order = pl.col("level").replace_strict({"unit": 0, "sub_unit": 1, "equipment": 2}, default=3, return_dtype=pl.Int8())
    return {"fitting": summary, "meters": _meters(listed.sort(order, "medium", "point", "meter", nulls_last=True))}


def _meters(listed: pl.DataFrame) -> Sheet:
    sheet = Sheet(("point", "name", "level", "medium", "meter", "accuracy_class", "calibrated_on", "due_on", "verification"))
    no_point, no_meter = "该表计未登记计量点 no metering point names this meter", "该点无表 no meter is there"
    for row in listed.to_dicts():
        of_meter = no_meter if row["meter"] is None else ""
        medium = row["medium"] or row["meter_medium"]
        not_entered = of_meter or "未登记 it is not entered"
        sheet.rows.append({
            "point": _known(row["point"], "登记 register: metering_point", no_point),
            "name": _known(_text(row["name_zh"] or row["zh"], row["name_en"] or row["en"]), "登记 register", "未登记 it is not entered"),
            "level": _known(_both("level-of-meter", row["level"]), "登记 register: metering_point", no_point),
            "medium": _known(_both("medium", medium), "登记 register", ""), "meter": _known(row["meter"], "登记 register: meter", no_meter),
            "accuracy_class": _known(row["accuracy_class"], "登记 register: meter", not_entered),
            "calibrated_on": _known(row["calibrated_on"], "登记 register: meter", not_entered),
            "due_on": _known(row["due_on"], "登记 register: meter", not_entered),
            "verification": _known(_both("verification", row["state"]), "登记 register: meter", of_meter),
        })
    return sheet


# --- yearly energy utilisation report ---

def _utilisation(site: Site, enterprise: str, year: int, today: date) -> Paper:
    return {
        "unit": _unit(site, enterprise, year), "consumption": _consumption(site, enterprise, year, today),
        "efficiency": _efficiency(site, enterprise, year), "goals": _goals(site, enterprise, year), "measures": _measures(),
    }


def _unit(site: Site, enterprise: str, year: int) -> Sheet:
    row = site.register.enterprises().filter(enterprise=enterprise).row(0, named=True)
    parks = {one["park"]: _text(one["name_zh"], one["name_en"]) for one in site.register.parks().to_dicts()}
    said = {
        "报告年度 year of the report": year, "统一社会信用代码 credit code": enterprise, "名称 name": _text(row["name_zh"], row["name_en"]),
        "行业 industry": row["industry"], "园区 park": _text(parks.get(row["park"]), row["park"]),
        "装置状态 plant status": _both("plant", row["plant_status"]),
        "重点用能单位 key energy user": _YES_NO.get(row["key_unit"]),
    }
    items = [{"item": Cell(item), "value": _known(value, "登记 register: enterprise", "未登记 it is not entered")} for item, value in said.items()]
    return Sheet(("item", "value"), list(items))


def _consumption(site: Site, enterprise: str, year: int, today: date) -> Sheet:
    columns = ("carrier", "flow", "inside", "use", "unit", "quantity", "calorific_kgce_per_unit", "calorific_tce", "equivalent_kgce_per_unit",
               "equivalent_tce", "covered_ratio", "estimated_ratio")
    sheet = Sheet(columns)
    for row in _carriers(site, enterprise, year).to_dicts():
        why = _incomplete(row, year, today)
        named = ("carrier", "flow") if row["carrier"] in WATER else ("carrier", "flow", "use")
        inside = "内部工序与产品 processes and products" if row["inside"] else "全单位 whole unit"
        cells = {"use": Cell(), "unit": Cell(row["unit"]), "inside": Cell(inside, "登记 register: assignment")}
        cells |= {name: Cell(_both(name, row[name])) for name in named}
        cells["quantity"] = _known(None if why else row["quantity"], "核算 accounts", why)
        for basis in ("calorific", "equivalent"):
            lacks = row["missing"] or ("水不计入能耗 water carries no energy" if row["carrier"] in WATER else "无系数 no coefficient")
            source = row[f"{basis}_source"] or ""
            cells[f"{basis}_kgce_per_unit"] = _known(row[f"{basis}_kgce_per_unit"], source, lacks)
            cells[f"{basis}_tce"] = _known(None if why else row[f"{basis}_tce"], source, why or lacks)
        shares = {name: _known(row[name], "核算 accounts", "填报值 a reported figure") for name in ("covered_ratio", "estimated_ratio")}
        sheet.rows.append(cells | shares)
    total = _total(site, enterprise, year)
    why = _NOTHING_EVALUATED if total is None else _incomplete(total, year, today)
    empty = dict.fromkeys(columns, Cell())
    if total is None:
        sheet.rows.append(empty | {"carrier": Cell("综合能耗 gross"), "calorific_tce": Cell(missing=why), "equivalent_tce": Cell(missing=why)})
        return sheet
    rules = site.energy_figures()
    named_figures = figures(pl.DataFrame([total], schema=_PERIOD_SUM), rules).row(0, named=True)
    for rule in rules.unique("figure", keep="last", maintain_order=True).to_dicts():
        code = rule["figure"]
        lacks = why or "; ".join(text for text in (total["missing"], named_figures["figures_missing"]) if text)
        sheet.rows.append(empty | {"carrier": Cell(_text(rule["name_zh"], rule["name_en"]), rule["source"])} | {
            name: _known(None if why else named_figures[f"{code}_{name}"], named_figures[f"{code}_source"] or "", lacks)
            for name in ("calorific_tce", "equivalent_tce")
        } | {name: _known(total[name], "核算 accounts", "") for name in ("covered_ratio", "estimated_ratio")})
    return sheet


def _efficiency(site: Site, enterprise: str, year: int) -> Sheet:
    levels = ("level_1", "level_2", "level_3", "binding_level")
    columns = ("product", "indicator", "period", "actual", "unit", *levels, "verdict", "standing", "standard")
    sheet = Sheet(columns)
    verdicts = site.derived.result("verdicts", schemas.VERDICT).filter(enterprise=enterprise).filter(pl.col("period_start").dt.year() == year)
    limits = site.limits()
    names, indicators = (
        {row[kind]: _text(row[f"{kind}_zh"], row[f"{kind}_en"]) for row in limits.unique(kind, keep="last").to_dicts()}
        for kind in ("product", "indicator")
    )
    for row in verdicts.to_dicts():
        why = row["missing"] or "无现行限额 no limit in force"
        law = " ".join(part for part in (row["standard"], row["clause"], row["source"]) if part)
        numbers = {name: _known(row[name], law, f"表中无此级 the table has no such level; {why}") for name in levels}
        sheet.rows.append({
            "product": Cell(names.get(row["product"], row["product"])), "indicator": Cell(indicators.get(row["indicator"], row["indicator"])),
            "period": Cell(f"{row['period_start']}/{row['period_end']}"), "actual": _known(row["actual"], row["derivation_zh"] or "", why),
            "unit": _known(row["unit"], law, why), **numbers, "verdict": Cell(_both("verdict", row["verdict"]), law),
            "standing": _known(_both("standing", row["standing"]), law, why), "standard": _known(row["standard"], law, why),
        })
    intensities = site.derived.result("intensity", pl.Schema({"enterprise": pl.String(), **schemas.INTENSITY}))
    for row in intensities.filter(enterprise=enterprise, period=str(year)).to_dicts():
        for name, title, unit in _INTENSITIES:
            sheet.rows.append(dict.fromkeys(columns, Cell()) | {
                "indicator": Cell(title), "period": Cell(str(year)), "unit": Cell(unit),
                "actual": _known(row[name], "核算与已核对的填报值 accounts, by reported and checked figures", row["missing"] or ""),
            })
    if not sheet.rows:
        why = "无已核对的产量或增加值 no checked output or value added for the year"
        sheet.rows.append(dict.fromkeys(columns, Cell(missing=why)))
    return sheet


def _goals(site: Site, enterprise: str, year: int) -> Sheet:
    """The enterprise's budgets of the year and what was used of them."""
    sheet = Sheet(("item", "goal_kind", "period", "target", "actual", "gap_ratio"))
    own = (pl.col("level") == "enterprise") & (pl.col("subject") == enterprise) & pl.col("period").str.starts_with(str(year))
    for row in site.derived.result("budgets", schemas.WARNING).filter(own).to_dicts():
        why = row["missing"] or "未知 not known"
        sheet.rows.append({
            "item": Cell(_both("measure", row["measure"])), "goal_kind": Cell(_both("goal", row["kind"])), "period": Cell(row["period"]),
            "target": _known(row["target"], row["source"] or "", why), "actual": _known(row["actual"], f"核算 accounts, {row['through'] or ''}", why),
            "gap_ratio": _known(row["gap_ratio"], row["source"] or "", why),
        })
    if not sheet.rows:
        why = "未登记该单位的预算 no budget of the enterprise is entered for the year: to be filled in by the unit (Energy Conservation Law art. 53)"
        sheet.rows.append(dict.fromkeys(sheet.columns, Cell(missing=why)))
    return sheet


def _measures() -> Sheet:
    why = "由用能单位填写：节能效益分析与节能措施 to be filled in by the unit: benefits and measures (Energy Conservation Law art. 53)"
    return Sheet(("item", "description", "saving"), [dict.fromkeys(("item", "description", "saving"), Cell(missing=why))])


# --- energy purchase, consumption and stock ---

def _stock(site: Site, enterprise: str, year: int, today: date) -> Paper:
    columns = (
        "code", "name", "carrier", "unit", "opening_stock", "purchased", "consumed", "feedstock", "non_industrial", "closing_stock",
        "converted_out", "sold", "coefficient", "tce",
    )
    sheet = Sheet(columns)
    codes = {row["carrier"]: row for row in site.statistical_codes().to_dicts()}
    carriers = _carriers(site, enterprise, year)
    own = (pl.col("enterprise") == enterprise) & pl.col("period").str.starts_with(str(year))
    reported = site.derived.result("reconciliation", schemas.RECONCILIATION).filter(own)
    stocks = site.derived.result("stock_balance", schemas.STOCK_BALANCE).filter(own)
    known = pl.concat([one["carrier"] for one in (carriers, reported, stocks)]).unique()
    for carrier in sorted(known, key=lambda one: (codes.get(one, {}).get("code", "99"), one)):
        if carrier not in WATER:
            rows = carriers.filter(carrier=carrier)
            sheet.rows.append(_line(carrier, codes.get(carrier), rows, reported.filter(carrier=carrier), stocks.filter(carrier=carrier), year, today))
    total = _total(site, enterprise, year)
    why = _NOTHING_EVALUATED if total is None else _incomplete(total, year, today)
    tce = None if total is None or why else total["calorific_tce"]
    missing = why or (str(total["missing"] or "") if total else "")
    sheet.rows.append(dict.fromkeys(columns, Cell()) | {
        "code": Cell(TOTAL_CODE, "statistical codes of form 205, recalled, text not seen"), "name": Cell("能源合计 total of energy"),
        "tce": _known(tce, "GB/T 2589-2020，当量值 calorific basis; 核算 accounts", missing), "unit": Cell("tce"),
    })
    return {"stock": sheet}


def _line(
    carrier: str, code: Mapping[str, Any] | None, rows: pl.DataFrame, reported: pl.DataFrame, stocks: pl.DataFrame, year: int, today: date,
) -> dict[str, Cell]:
    unit = next(iter([*rows["unit"], *reported["unit"], *stocks["unit"]]), "")
    form = _form_unit(carrier, unit)
    scale = factor(unit, form)
    used, signs = _used(rows)
    stored = carrier not in ("electricity", "heat")

    def summed(part: pl.DataFrame, nothing: str, signs: Mapping[str, int] = MappingProxyType({})) -> Cell:
        if part.is_empty():
            return Cell(missing=nothing or "消费量未知 what is consumed is not known")
        why = next((text for text in (_incomplete(row, year, today) for row in part.to_dicts()) if text), "")
        if not why and (part["unit"].n_unique() > 1 or scale is None):
            why = _NO_LINK
        if why or scale is None:
            return Cell(missing=why)
        sign = part["flow"].replace_strict(signs, default=1, return_dtype=pl.Int8())
        flows = " ".join(f"{'-' if signs.get(flow, 1) < 0 else '+'} {flow}" for flow in part["flow"].unique(maintain_order=True))
        return Cell(float((part["quantity"] * sign).sum()) * scale, f"核算 accounts: {flows.removeprefix('+ ')}")

    def stock(period: str, column: str) -> Cell:
        found = stocks.filter(period=period).to_dicts()
        if not found or found[0][column] is None:
            return Cell(missing=_NOT_STORED if not stored else "未填报盘存 no stock-taking is reported")
        by = factor(found[0]["unit"], form)
        source = f"库存平衡 stock balance {period}: {found[0][column.replace('stock', 'source')]}"
        return _known(None if by is None else found[0][column] * by, source, _NO_LINK)

    consumed = summed(used, "无消费计量 no consumption is measured or reported", signs)
    bought = rows.filter(flow="purchased")
    purchased = summed(bought, "") if bought.height else _purchased(reported.filter(flow="purchased"), form, year)
    kgce = used["calorific_kgce_per_unit"].drop_nulls().unique()
    one_kgce = kgce.item() if kgce.len() == 1 and scale is not None else None
    tce = used["calorific_tce"] * used["flow"].replace_strict(signs, default=1, return_dtype=pl.Int8())
    known = not consumed.missing and tce.len() > 0 and tce.null_count() == 0
    sources = "; ".join(used["calorific_source"].drop_nulls().unique(maintain_order=True))
    lacks = consumed.missing or next(iter(used["missing"].drop_nulls()), "无系数 no coefficient")
    several = "年内有多个系数 several coefficients in the year" if kgce.len() > 1 else "无系数 no coefficient"
    feedstock = used.filter(use="feedstock")
    made, sold = (rows.filter(flow=flow) for flow in ("converted_out", "sold"))
    none = "登记中无此项 none is assigned"
    return {
        "code": Cell(code["code"], code["source"]) if code else Cell(missing=_NO_CODE),
        "name": Cell(_text(code["name_zh"], code["name_en"]), code["source"]) if code else Cell(missing=_NO_CODE),
        "carrier": Cell(_both("carrier", carrier)), "unit": Cell(form), "opening_stock": stock(f"{year}-01", "opening_stock"), "purchased": purchased,
        "consumed": consumed,
        "feedstock": summed(feedstock, "") if feedstock.height or consumed.missing else Cell(0.0, "登记 register: none is assigned as feedstock"),
        "non_industrial": Cell(missing="未区分 accounts do not tell it apart"), "closing_stock": stock(f"{year}-12", "closing_stock"),
        "converted_out": summed(made, none), "sold": summed(sold, none),
        "coefficient": _known(None if one_kgce is None or scale is None else one_kgce / 1000 / scale, sources, several),
        "tce": _known(tce.sum() if known else None, sources, lacks),
    }


def _used(rows: pl.DataFrame) -> tuple[pl.DataFrame, Mapping[str, int]]:
    """The rows that say what was used of a carrier, and the signs of their flows.

    What is measured of the whole unit comes first; else what came in, was made and left; else what its processes and products used.
    """
    consumed = rows.filter(pl.col("flow").is_in(CONSUMED))
    whole = consumed.filter(~pl.col("inside"))
    if whole.filter(flow="consumed").height:
        return whole, {}
    if rows.filter(~pl.col("inside"), pl.col("flow").is_in(["purchased", "own_primary"])).height:
        return rows.filter(pl.col("flow").is_in(list(_BROUGHT))), _BROUGHT
    return consumed, {}


def _purchased(reported: pl.DataFrame, form: str, year: int) -> Cell:
    """What reports of purchases add up to, where each month of the year has one."""
    months = reported.unique("period", keep="last").filter(pl.col("counted_quantity").is_not_null()).sort("period")
    lacking = [name for name in (f"{year}-{month:02d}" for month in range(1, 13)) if name not in months["period"].to_list()]
    if months.is_empty():
        return Cell(missing="无购进计量或填报 no purchase is measured or reported")
    if lacking:
        return Cell(missing=f"缺少月份，未购进请填 0 months without a figure, enter 0 where nothing came: {', '.join(lacking)}")
    by = [factor(unit, form) for unit in months["unit"]]
    if any(one is None for one in by):
        return Cell(missing=_NO_LINK)
    documents = "; ".join(months["documents"].drop_nulls().unique(maintain_order=True))
    quantity = sum(value * (one or 0.0) for value, one in zip(months["counted_quantity"], by, strict=True))
    kinds = ", ".join(months["counts"].drop_nulls().unique(maintain_order=True))
    return Cell(quantity, f"已核对的填报 reported and checked: {kinds}{' ' + documents if documents else ''}")


# --- what the papers are filled from ---

def _carriers(site: Site, enterprise: str, year: int) -> pl.DataFrame:
    """The year's ENERGY of the enterprise by carrier, flow, use, unit and coefficients; `inside`: of a process or a product."""
    rows = site.derived.result("carriers", schemas.ENERGY).filter(enterprise=enterprise, period=str(year))
    rows = rows.with_columns(
        pl.col("flow").fill_null("consumed"), pl.col("use").fill_null("fuel"),
        inside=pl.col("process").is_not_null() | pl.col("product").is_not_null(),
    )
    keys = ["carrier", "flow", "inside", "use", "unit", "calorific_kgce_per_unit", "equivalent_kgce_per_unit"]
    return rows.group_by(keys, maintain_order=True).agg(
        pl.col("covered_ratio").min(), pl.col("estimated_ratio").max(),
        pl.col("calorific_source", "equivalent_source", "missing").drop_nulls().first(),
        *(whole_sum(name) for name in ("quantity", "calorific_tce", "equivalent_tce")),
    ).sort("carrier", "inside", "flow", "use")


def _total(site: Site, enterprise: str, year: int) -> dict[str, Any] | None:
    rows = site.derived.result("energy", _PERIOD_SUM).filter(enterprise=enterprise, period=str(year))
    return rows.row(0, named=True) if rows.height else None


def _incomplete(row: Mapping[str, Any], year: int, today: date) -> str:
    """Why a figure of the year is not known whole; "" where it is (decisions.md 6)."""
    if today.year <= year:
        return "年度未结束 the year is not over"
    if "quantity" in row and row["quantity"] is None:
        return str(row["missing"] or "没有计量到数量 nothing was measured")
    covered = row["covered_ratio"]
    if covered is not None and covered < MIN_COVERED_RATIO:
        return f"数据仅覆盖 {covered:.1%}，低于 {MIN_COVERED_RATIO:.0%} only {covered:.1%} is covered"
    return ""


def _form_unit(carrier: str, unit: str) -> str:
    """The unit of the statistical form: t, 10^4 m3 (at the condition that is measured), 10^4 kWh, GJ; others stay."""
    if carrier == "electricity":
        return "10^4 kWh"
    of = dimension(unit)
    return "GJ" if of == "energy" else _FORM_UNITS.get(of or "", unit)


def _known(value: Any, source: str, missing: str) -> Cell:
    return Cell(missing=_told(missing) or "未知 not known") if value is None else Cell(value, source)


def _told(reason: str) -> str:
    """A reason of the accounts in both languages; one that has Chinese in it stays."""
    return reason if not reason.isascii() else str(_text(chinese(reason), reason) or "")


def _both(kind: str, code: str | None) -> str | None:
    return None if code is None else _text(term("zh", kind, code), term("en", kind, code))


def _text(zh: str | None, en: str | None) -> str | None:
    return " ".join(dict.fromkeys(part for part in (zh, en) if part)) or None


def _digits(value: Any) -> Any:
    """A number at the digits that mean something: what floating point adds beyond them is no figure."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def _letter(column: int) -> str:
    return chr(ord("A") + column)
