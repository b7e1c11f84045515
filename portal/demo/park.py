"""The demo park as tables: register, reported figures, confirmations, example coefficient. All of it is invented, and says so.

What the gateways measure stands in `data/registers.csv`; `base_per_h` is the mean of what a register adds in an hour of full
work. What a product takes for a tonne is therefore the quotient of two rows: 51,170 kWh by 17 t/h at the carbide furnace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, Final

import polars as pl

from config.units import FIVE_MEDIA
from portal.demo import model

SEED: Final = model.SEED
NAME_ZH: Final = "示例工业园区"
NAME_EN: Final = "Example industrial park"
REGION: Final = "159901"  # no real place has this code
PARK: Final = "demo-park"
MAKER: Final = "示例填报员"
CHECKER: Final = "示例审核员"
KPM_TOPIC: Final = "MQTT_ENY_NOW"
KPM_GATEWAY: Final = "KPM-01"
KPM_METERS: Final = ("33B1225950027", "33B1225950028", "33B1225950029", "33B1225950030")
KPM_REGISTERS: Final = (
    *((f"active_{way}{tariff}", "kWh") for way in ("import", "export") for tariff in ("", "_sharp", "_peak", "_flat", "_valley", "_deep_valley")),
    ("reactive_import", "kvarh"), ("reactive_export", "kvarh"), ("apparent", "kVAh"),
)


@dataclass(frozen=True, slots=True)
class Enterprise:
    """One enterprise of the demo park and what it reports."""

    code: str  # a credit code whose check character is right and whose body says EXAMP
    name_zh: str
    name_en: str
    industry: str
    key_unit: bool
    value_added_10k_cny: float  # of a year at full work
    measured_by: tuple[str, float]  # meter that stands for its output, and what that meter adds for one tonne of it
    product: tuple[str, str] | None = None  # product and indicator of its limit
    parameters: Mapping[str, float | str] = field(default_factory=dict)  # what the corrections of its limit ask for


ENTERPRISES: Final[Mapping[str, Enterprise]] = {
    "steel": Enterprise(
        "91159901MA0EXAMP1D", "示例一号钢铁有限公司", "Example Steel No. 1 Co.", "炼铁", True, 105_000.0,
        ("C-101", 0.372), ("blast_furnace", "process_energy"),
        {"rare_earth_ore_ratio": 0.0, "vanadium_titanium_ore_ratio": 0.0, "laterite_nickel_ore_ratio": 0.0, "feed_grade_ratio": 0.61},
    ),
    "coking": Enterprise(
        "91159901MA0EXAMP2G", "示例二号焦化有限公司", "Example Coking No. 2 Co.", "炼焦", True, 21_000.0,
        ("C-202", 1.0), ("coke_top_charged", "comprehensive_energy"),
        {"mixed_gas_ratio": 0.0, "volatile_matter_ratio": 0.24, "coal_moisture_ratio": 0.105, "wet_quenching": "no", "oven_age_years": 12.0},
    ),
    "cement": Enterprise(
        "91159901MA0EXAMP3K", "示例三号水泥有限公司", "Example Cement No. 3 Co.", "水泥制造", True, 18_000.0,
        ("C-301", 0.138), ("clinker", "comprehensive_energy"), {"altitude_m": 1040.0},
    ),
    "carbide": Enterprise(
        "91159901MA0EXAMP4N", "示例四号电石有限公司", "Example Calcium Carbide No. 4 Co.", "电石制造", True, 16_400.0,
        ("C-401", 0.6), ("calcium_carbide", "comprehensive_energy"),
    ),
    "ferroalloy": Enterprise(
        "91159901MA0EXAMP5R", "示例五号铁合金有限公司", "Example Ferroalloy No. 5 Co.", "铁合金冶炼", True, 10_500.0,
        ("C-501", 0.83), ("ferrosilicon", "comprehensive_energy"),
    ),
    "washing": Enterprise(
        "91159901MA0EXAMP6W", "示例六号选煤有限公司", "Example Coal Washing No. 6 Co.", "煤炭洗选", True, 12_000.0,
        ("C-601", 1.0), ("coal_washing_coking", "electricity"), {"washing_process": "jig_flotation"},
    ),
    "machine": Enterprise("91159901MA0EXAMP70", "示例七号机械厂", "Example Machine Works No. 7", "机械加工", False, 35_000.0, ("E-701", 1.0)),
}
_PARAMETERS: Final = tuple(dict.fromkeys(name for one in ENTERPRISES.values() for name in one.parameters))
CONFIRMED: Final = (  # the others stay unconfirmed, so that both standings are seen
    ("calcium_carbide", "comprehensive_energy", "GB 21343-2023"),
    ("ferrosilicon", "comprehensive_energy", "GB 21341-2022"),
    ("blast_furnace", "process_energy", "GB 21256-2013"),
)
_CLASSES: Final = {"electricity": "0.5S", "water": "2", "gas": "1.5", "coal": "0.5", "oil": "0.5"}
_FIXED_SHARE: Final = 0.3  # part of the value added that does not move with the output
_HOURS_PER_YEAR: Final = 8760
_EXAMPLE_YEARS: Final = range(2024, 2041)


@cache
def meters() -> pl.DataFrame:
    """The rows of `data/registers.csv` with the credit code in `enterprise`, and `shop` for the short name."""
    text = resources.files("portal.demo").joinpath("data/registers.csv").read_bytes()
    texts = dict.fromkeys(("enterprise", "carrier", "flow", "process", "product"), pl.String)
    numbers = dict.fromkeys(("multiplier", "resolution", "modulus", "base_per_h"), pl.Float64)
    codes = {shop: enterprise.code for shop, enterprise in ENTERPRISES.items()}
    return pl.read_csv(text, schema_overrides={**texts, **numbers}).rename({"enterprise": "shop"}).with_columns(
        enterprise=pl.col("shop").replace_strict(codes, return_dtype=pl.String)
    )


def history_start(today: date) -> date:
    """The first day of the demo's readings: that of the last closed calendar year."""
    return date(today.year - 1, 1, 1)


def register_tables() -> dict[str, pl.DataFrame]:
    """The register of the park, table by table, in the shape that RegisterStore.apply takes."""
    own = meters()
    machine = ENTERPRISES["machine"]
    kpm_meters = pl.DataFrame({"enterprise": machine.code, "gateway": KPM_GATEWAY, "meter": list(KPM_METERS), "medium": "electricity"}).with_columns(
        name_zh="车间分表 " + pl.col("meter").str.tail(3), name_en="workshop sub-meter " + pl.col("meter").str.tail(3)
    )
    kpm_registers = kpm_meters.select("enterprise", "meter").join(
        pl.DataFrame(KPM_REGISTERS, schema=["register", "unit"], orient="row"), how="cross"
    ).with_columns(kind=pl.lit("cumulative"), multiplier=pl.lit(1.0), resolution=pl.lit(0.001), modulus=pl.lit(None, pl.Float64))
    registers = pl.concat([own.select(kpm_registers.columns), kpm_registers])
    gateways = pl.concat([own.select("enterprise", "gateway"), kpm_meters.select("enterprise", "gateway")]).unique(maintain_order=True)
    return {
        "region": pl.DataFrame({"region": [REGION], "name_zh": ["示例市"], "name_en": ["Example city"]}),
        "park": pl.DataFrame({"park": [PARK], "region": [REGION], "name_zh": [NAME_ZH], "name_en": [NAME_EN]}),
        "enterprise": pl.DataFrame([
            {
                "enterprise": one.code, "name_zh": one.name_zh, "name_en": one.name_en, "park": PARK, "industry": one.industry,
                "plant_status": "existing", "key_unit": one.key_unit,
            }
            for one in ENTERPRISES.values()
        ]),
        "gateway": gateways.with_columns(
            region=pl.lit(REGION), name_zh="示例网关 " + pl.col("gateway"), name_en="example gateway " + pl.col("gateway")
        ),
        "meter": pl.concat([own.select(kpm_meters.columns), kpm_meters]).with_columns(
            accuracy_class=pl.col("medium").replace_strict(_CLASSES), calibrated_on=pl.lit(date(2024, 6, 1))
        ),
        "register": registers.with_columns(stamp=pl.lit("end"), net=pl.lit(value=False)),
        "assignment": own.filter(pl.col("carrier").is_not_null()).select(
            "enterprise", "meter", "register", "carrier", "flow", "process", "product", share_ratio=pl.lit(1.0)
        ),
        "medium_use": own.filter(pl.col("medium").is_in(FIVE_MEDIA)).select("enterprise", "medium", source=pl.lit("示例清单 example list")).unique(
            maintain_order=True
        ),
        "metering_point": _points(own),
        **_project(),
    }


def _points(own: pl.DataFrame) -> pl.DataFrame:
    """A metering point of the whole plant for each meter, and one of an equipment that has none."""
    fitted = own.select("enterprise", "meter", "medium", "name_zh", "name_en").unique("meter", maintain_order=True).with_columns(
        point="P-" + pl.col("meter"), level=pl.lit("unit")
    )
    lacking = {"enterprise": ENTERPRISES["carbide"].code, "point": "P-409", "level": "equipment", "medium": "electricity",
               "name_zh": "空压机", "name_en": "air compressor"}
    return pl.concat([fitted, pl.DataFrame([lacking])], how="diagonal")


def _project() -> dict[str, pl.DataFrame]:
    """A second carbide furnace that was approved and has not begun in time."""
    tce, approved = 26_000.0, date(2025, 3, 3)
    return {
        "project": pl.DataFrame([{
            "project": "furnace-2", "enterprise": ENTERPRISES["carbide"].code, "park": PARK,
            "name_zh": "示例二期电石炉", "name_en": "Example second furnace",
            "product": "calcium_carbide", "indicator": "comprehensive_energy", "design_value": 800.0, "design_unit": "kgce/t",
            "approved_on": approved, "approval": "示例批复 example approval", "approved_calorific_tce": tce,
            "start_by": date(2026, 6, 30), "planned_operation_on": date(2027, 7, 1),
        }]),
        "quota": pl.DataFrame([{
            "project": "furnace-2", "day": approved, "kind": "granted", "document": "示例批复 example approval", "calorific_tce": tce,
        }]),
    }


def figures(today: date, *, seed: int = SEED) -> list[tuple[str, str, pl.DataFrame]]:
    """What the enterprises report for the months and the year that are over, as (maker, checker, rows of `figures import`).

    Outputs follow the measured quantities, so that the intensities come out as intended: calcium carbide above its limit,
    ferrosilicon near it, the others below.
    """
    first = history_start(today)
    months = _monthly(first, today, seed)
    by_month = pl.concat(months)
    by_year = (
        by_month.filter(pl.col("period").str.starts_with(str(first.year)))
        .group_by("enterprise", "figure", "unit", "product", "indicator", "plant_status", *_PARAMETERS, maintain_order=True)
        .agg(pl.col("value").sum().round(2))
        .with_columns(period=pl.lit(str(first.year)))
    )
    shape = by_month.columns
    return [(MAKER, CHECKER, pl.concat([by_month, by_year.select(shape)]).with_columns(park=pl.lit(PARK), source=pl.lit("示例数据 example data")))]


def budgets(today: date) -> pl.DataFrame:
    """Goals of the year for the park and its carbide works, as rows of `figures import`: one of each kind and colour."""
    carbide = ENTERPRISES["carbide"].code
    goals = (
        ("park", PARK, "calorific_tce", "ceiling", 850_000.0), ("park", PARK, "equivalent_tce", "reduction_ratio", 0.03),
        ("park", PARK, "calorific_tce_per_10k_cny", "reduction_ratio", 0.035), ("park", PARK, "fresh_water_m3", "ceiling", 4_500_000.0),
        ("enterprise", carbide, "electricity_kwh", "ceiling", 480e6), ("enterprise", carbide, "coal_tce", "ceiling", 100_000.0),
        ("region", REGION, "carbon_tco2", "ceiling", 2_000_000.0),
    )
    return pl.DataFrame([
        {level: subject, "measure": measure, "kind": kind, "period": str(today.year), "target": target, "source": "示例目标 example goal"}
        for level, subject, measure, kind, target in goals
    ])


def confirmations() -> list[dict[str, Any]]:
    """The limit rows that the demo confirms as an example, as arguments of Confirmations.add."""
    return [
        {
            "product": product, "indicator": indicator, "standard": standard, "by": "示例确认人", "on": date(2026, 11, 1),
            "copy": "示例：未与标准原文核对", "remark": "Example confirmation of the demo: nobody has compared this row with the standard's text.",
        }
        for product, indicator, standard in CONFIRMED
    ]


def routes() -> list[dict[str, str]]:
    """The route of the real KPM33B capture, as RouteSettings."""
    return [{
        "topic": KPM_TOPIC, "enterprise": ENTERPRISES["machine"].code, "gateway": KPM_GATEWAY, "profile": "kpm33b", "zone": "Europe/Vienna",
    }]


def example_tables() -> dict[str, str]:
    """File name -> text of the site's own tables: an equivalent electricity coefficient for each year, marked as an example value."""
    header = "carrier,role,name_zh,name_en,medium,unit,kgce_per_unit,basis,valid_from,valid_to,source,confidence,remark\n"
    rows = [
        f"electricity,secondary,电力（等价值）示例值,\"electricity, equivalent value, example\",electricity,kWh,{0.3 - 0.001 * (year - 2026):.3f},"
        f"equivalent,{year}-01-01,{year + 1}-01-01,示例值 example value of the demo: not a published coal rate,low,示例值 example\n"
        for year in _EXAMPLE_YEARS
    ]
    return {"coal_equivalent_example.csv": header + "".join(rows)}


def _monthly(first: date, today: date, seed: int) -> Sequence[pl.DataFrame]:
    """Rows of `figures import`, by enterprise and figure, for the months that are over."""
    quantities = model.monthly(meters(), first, today, seed)
    frames = []
    for shop, enterprise in ENTERPRISES.items():
        meter, per_tonne = enterprise.measured_by
        nominal = meters().filter(pl.col("shop") == shop, pl.col("meter") == meter)["base_per_h"].item() * _HOURS_PER_YEAR / 12
        measured = quantities.filter(pl.col("enterprise") == enterprise.code, pl.col("meter") == meter)
        value_added = (enterprise.value_added_10k_cny / 12 * (_FIXED_SHARE + (1 - _FIXED_SHARE) * pl.col("quantity") / nominal)).round(2)
        product, indicator = enterprise.product or (None, None)
        named = [
            ("value_added_10k_cny", value_added, "10^4 CNY", None, None, None),
            ("output_value_10k_cny", (value_added * 3.5).round(2), "10^4 CNY", None, None, None),
            *([("output", (pl.col("quantity") / per_tonne).round(2), "t", product, indicator, "existing")] if product else []),
        ]
        frames += [
            measured.select(
                "enterprise", "period", figure=pl.lit(figure), value=value, unit=pl.lit(unit), product=pl.lit(of, pl.String),
                indicator=pl.lit(by, pl.String), plant_status=pl.lit(status, pl.String),
                **{name: pl.lit(str(enterprise.parameters[name]) if of and name in enterprise.parameters else None, pl.String)
                   for name in _PARAMETERS},
            )
            for figure, value, unit, of, by, status in named
        ]
    return frames
