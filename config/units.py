"""Units and the conversions between them that are definitions, never a coefficient that a document sets."""

from typing import Final

KG_PER_T: Final = 1000.0
KJ_PER_KGCE: Final = 29_307.6  # GB/T 2589-2020: 1 kgce = 29,307.6 kJ
KGCE_PER_KGOE: Final = 1.4286  # decisions.md 8

MEDIA: Final = ("coal", "water", "oil", "gas", "electricity", "heat", "other")
FIVE_MEDIA: Final = ("coal", "water", "oil", "gas", "electricity")

STATE_DIMENSIONS: Final = ("absolute pressure", "gauge pressure", "temperature")  # what a register of kind state shows
RATE_DIMENSIONS: Final = (  # what a register of kind rate shows
    "power", "mass flow", "volume flow", "volume flow at 0 degC", "volume flow at 20 degC", "volume flow at line conditions",
)

# unit -> (dimension, factor to the dimension's base unit). A pressure says whether it counts from vacuum (abs) or from the air
# around the meter (gauge): going from one to the other needs the air's pressure. A bare m3 of gas, Nm3 and Sm3 are three dimensions: going
# from one to another needs a condition, not a definition (decisions.md 13).
_UNITS: Final[dict[str, tuple[str, float]]] = {
    "Wh": ("energy", 3.6), "kWh": ("energy", 3600.0), "MWh": ("energy", 3.6e6), "GWh": ("energy", 3.6e9), "10^4 kWh": ("energy", 3.6e7),
    "kJ": ("energy", 1.0), "MJ": ("energy", 1e3), "GJ": ("energy", 1e6), "10^6 kJ": ("energy", 1e6), "TJ": ("energy", 1e9),
    "kcal": ("energy", 4.1868),  # that of GB/T 2589: 7,000 kcal = 29,307.6 kJ = 1 kgce
    "g": ("mass", 1e-3), "kg": ("mass", 1.0), "t": ("mass", 1e3), "kt": ("mass", 1e6), "10^4 t": ("mass", 1e7),
    "L": ("volume", 1e-3), "m3": ("volume", 1.0), "10^4 m3": ("volume", 1e4),
    "Nm3": ("volume at 0 degC", 1.0), "10^4 Nm3": ("volume at 0 degC", 1e4),
    "Sm3": ("volume at 20 degC", 1.0), "10^4 Sm3": ("volume at 20 degC", 1e4),
    "m3_actual": ("volume at line conditions", 1.0),
    "kW": ("power", 1.0), "MW": ("power", 1e3), "m3/h": ("volume flow", 1.0), "t/h": ("mass flow", 1e3), "kg/h": ("mass flow", 1.0),
    "Nm3/h": ("volume flow at 0 degC", 1.0), "Sm3/h": ("volume flow at 20 degC", 1.0), "m3_actual/h": ("volume flow at line conditions", 1.0),
    "kPa_abs": ("absolute pressure", 1.0), "MPa_abs": ("absolute pressure", 1e3), "bar_abs": ("absolute pressure", 100.0),
    "kPa_gauge": ("gauge pressure", 1.0), "MPa_gauge": ("gauge pressure", 1e3), "bar_gauge": ("gauge pressure", 100.0),
    "degC": ("temperature", 1.0),
    "kvarh": ("reactive energy", 1.0), "kVAh": ("apparent energy", 1.0),
    "kgce": ("coal equivalent", 1.0), "tce": ("coal equivalent", 1e3), "gce": ("coal equivalent", 1e-3),
}


_ZH: Final = {
    "千瓦时": "kWh", "度": "kWh", "千焦": "kJ", "兆焦": "MJ", "吉焦": "GJ", "百万千焦": "10^6 kJ", "千克": "kg", "公斤": "kg", "吨": "t",
    "升": "L", "立方米": "m3", "m³": "m3", "Nm³": "Nm3", "标立方米": "Nm3", "吨标准煤": "tce", "吨标煤": "tce", "千克标准煤": "kgce",
}


def unit_meant(text: str) -> str | None:
    """The code of a unit that is written in Chinese, or with 万 before it; None where it is none.

    >>> unit_meant("万kWh"), unit_meant("万吨"), unit_meant("百万千焦"), unit_meant("桶")
    ('10^4 kWh', '10^4 t', '10^6 kJ', None)
    """
    name = text.strip().removeprefix("万").strip()
    code = _ZH.get(name, name)
    code = f"10^4 {code}" if text.strip().startswith("万") else code
    return code if code in _UNITS else None


def known_units() -> tuple[str, ...]:
    """All unit codes, in the order of the table."""
    return tuple(_UNITS)


def dimension(unit: str) -> str | None:
    """What a unit measures: "energy", "mass", "volume at 0 degC"; None for a unit that is not known.

    >>> dimension("GJ"), dimension("kPa_gauge")
    ('energy', 'gauge pressure')
    """
    return _UNITS[unit][0] if unit in _UNITS else None


def to_base(unit: str) -> float:
    """By what a value in a known unit is multiplied to be in its dimension's base unit: kJ, kg, m3, kPa."""
    return _UNITS[unit][1]


def factor(unit: str, to: str) -> float | None:
    """By what a value in `unit` is multiplied to be in `to`, or None where no definition links the two.

    >>> factor("MWh", "kWh")
    1000.0
    >>> factor("Nm3", "Sm3") is None
    True
    """
    if unit == to:
        return 1.0
    if unit not in _UNITS or to not in _UNITS:
        return None
    (dimension, scale), (target, target_scale) = _UNITS[unit], _UNITS[to]
    return scale / target_scale if dimension == target else None


def units_of(kind: str) -> tuple[str, ...]:
    """The units that a register of a kind may have: those of flows, those of pressures and temperatures, or all others.

    >>> "kW" in units_of("rate"), "kW" in units_of("cumulative"), units_of("state")[-1]
    (True, False, 'degC')
    """
    special = {"rate": RATE_DIMENSIONS, "state": STATE_DIMENSIONS}
    if kind in special:
        return tuple(unit for unit, (what, _) in _UNITS.items() if what in special[kind])
    return tuple(unit for unit, (what, _) in _UNITS.items() if what not in (*RATE_DIMENSIONS, *STATE_DIMENSIONS))


def quantity_unit(kind: str, unit: str) -> str | None:
    """The unit of a register's quantities: its own, or for a rate that of the rate times an hour; None where that has no name.

    >>> quantity_unit("rate", "kW"), quantity_unit("rate", "m3/h"), quantity_unit("cumulative", "kWh")
    ('kWh', 'm3', 'kWh')
    """
    if kind != "rate":
        return unit
    return unit.removesuffix("/h") if unit.endswith("/h") else {"W": "Wh", "kW": "kWh", "MW": "MWh", "GW": "GWh"}.get(unit)


def heating_value_in(unit: str) -> tuple[float, str] | None:
    """By what a heating value in `unit` is multiplied to be in kJ for one kg, m3, Nm3 ..., and that unit; None where it is no such unit.

    >>> heating_value_in("MJ/t")
    (1.0, 'kJ/kg')
    """
    energy, _, amount = unit.partition("/")
    to_kj = factor(energy, "kJ")
    for base in ("kg", "m3", "Nm3", "Sm3", "m3_actual"):
        scale = factor(amount, base)
        if to_kj is not None and scale is not None:
            return to_kj / scale, f"kJ/{base}"
    return None
