"""The tables of the register: their columns, what names a row, and which rows of other tables they speak of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import Table
from stdnum.cn import uscc
from stdnum.exceptions import InvalidChecksum, ValidationError

from config import data_rules, formulas
from config.papers import LEVELS
from config.schemas import INSTANT
from config.units import MEDIA, known_units
from store import models, sheets
from store.sheets import Field, WrongError

KINDS: Final = ("cumulative", "interval", "rate", "state", "derived")
STAMPS: Final = ("start", "end")
EVENTS: Final = ("change", "reset", "rollover", "multiplier")
FLOWS: Final = ("consumed", "purchased", "own_primary", "opening_stock", "closing_stock", "sold", "converted_out", "recovered")
PRODUCED: Final = "produced"  # of an assignment: the register counts the output of a product and no energy
USES: Final = ("fuel", "feedstock", "medium")
SEVERITIES: Final = ("info", "warning", "error")
BALANCES: Final = ("tariff", "sub_meter", "output")
ALLOCATIONS: Final = ("output", "register")  # keys by which what is shared is divided
KEY_REGISTER: Final = ("key_meter", "key_register")  # of an assignment by registers: whose quantity is the key
PLANT_STATUSES: Final = ("existing", "new")
FEEDSTOCK: Final = ("included", "excluded")
QUOTA_KINDS: Final = ("granted", "used", "reclaimed")
Key = tuple[Any, ...]
Values = Mapping[str, Any]

DTYPES: Final[Mapping[str, pl.DataType]] = {  # of the columns that are no texts
    **dict.fromkeys((
        "modulus", "range_low", "range_high", "max_rate_per_h", "multiplier", "resolution", "share_ratio", "closing_value", "opening_value",
        "low", "high", "design_value", "approved_calorific_tce", "approved_equivalent_tce", "calorific_tce",
    ), pl.Float64()),
    **dict.fromkeys(("valid_from", "valid_to", "at"), INSTANT), **dict.fromkeys(("net", "key_unit", "enabled"), pl.Boolean()),
    **dict.fromkeys((
        "calibrated_on", "calibration_due", "approved_on", "start_by", "started_on", "planned_operation_on", "operating_from", "ended_on", "day",
    ), pl.Date()),
}
NUMERIC: Final = frozenset(name for name, dtype in DTYPES.items() if dtype == pl.Float64())


@dataclass(frozen=True, slots=True)
class Shape:
    """A table of the register: its columns, what names a row, and which rows of other tables it speaks of."""

    table: Table
    fields: Mapping[str, Field]
    key: tuple[str, ...]
    refers: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = ()  # (table, its key columns, our columns)

    def key_of(self, values: Values) -> Key:
        return tuple(values[name] for name in self.key)


def credit_code(cell: Any) -> str:
    """A unified social credit code (GB 32100-2015) with the right check character."""
    written = sheets.text(64)(cell).upper()
    try:
        return str(uscc.validate(written))
    except InvalidChecksum:
        right = f"After the others it would be {uscc.calc_check_digit(written[:-1])}; compare the licence."
        raise WrongError(f"{written!r} is no credit code: its last character does not fit", right) from None
    except ValidationError:
        raise WrongError(f"{written!r} is no credit code", "Write the 18 characters of the unified social credit code.") from None


def _region(cell: Any) -> str:
    written = sheets.identifier(cell)
    if len(written) != 6 or not written.isdigit():
        raise WrongError(f"{written!r} is no region", "Write the 6 digits of the administrative code, for example 150400.")
    return written


def _error_values(cell: Any) -> str:
    """What a device shows in place of a value that it does not have, as `65535;-1`."""
    value = sheets.number()
    return ";".join(f"{value(part):.15g}" for part in sheets.text()(cell).split(";"))


def _parameters(cell: Any) -> str:
    """Parameters of a limit, as `clinker_ratio=0.72;altitude_m=1300`."""
    given: dict[str, str] = {}
    for part in sheets.text(2000)(cell).split(";"):
        name, sign, value = (each.strip() for each in part.partition("="))
        if not (name and sign and value) or name in given:
            raise WrongError(f"{part.strip()!r} gives no parameter", "Write each once, as clinker_ratio=0.72;altitude_m=1300.")
        given[name] = value
    return ";".join(f"{name}={value}" for name, value in given.items())


def shapes_of(zone: ZoneInfo) -> dict[str, Shape]:
    """The tables by name, those first that others refer to; `zone` is the place whose days the dates in files mean."""
    instant, text, name = sheets.instant(zone), sheets.text(), sheets.identifier
    names = {"name_zh": Field(text), "name_en": Field(text)}
    withdrawn = {"withdrawn": Field(sheets.boolean, default=False)}
    enterprise = {"enterprise": Field(credit_code, required=True)}
    of_register = {**enterprise, "meter": Field(name, required=True), "register": Field(name, required=True)}
    validity = {"valid_from": Field(instant), "valid_to": Field(instant)}
    free, positive = sheets.number(), sheets.number(above=0)
    owner = ("enterprise", ("enterprise",), ("enterprise",))
    return {
        "region": Shape(models.REGION, {"region": Field(_region, required=True), **names, **withdrawn}, ("region",)),
        "park": Shape(
            models.PARK,
            {"park": Field(name, required=True), "region": Field(_region, required=True), "grid_region": Field(name), **names, **withdrawn},
            ("park",),
            (("region", ("region",), ("region",)),),
        ),
        "enterprise": Shape(
            models.ENTERPRISE,
            {
                **enterprise, "name_zh": Field(text, required=True), "name_en": Field(text), "park": Field(name, required=True),
                "industry": Field(text), "plant_status": Field(sheets.choice(*PLANT_STATUSES)), "key_unit": Field(sheets.boolean), **withdrawn,
            },
            ("enterprise",), (("park", ("park",), ("park",)),),
        ),
        "site": Shape(
            models.SITE, {**enterprise, "site": Field(name, required=True), "park": Field(name, required=True), **names, **withdrawn},
            ("enterprise", "site"), (owner, ("park", ("park",), ("park",))),
        ),
        "block": Shape(
            models.BLOCK, {"park": Field(name, required=True), "block": Field(name, required=True), **names, **withdrawn}, ("park", "block"),
            (("park", ("park",), ("park",)),),
        ),
        "holding": Shape(  # from a day on: whose the site is, and in which park and block it lies
            models.HOLDING,
            {
                **enterprise, "site": Field(name, required=True), "owner": Field(credit_code, required=True), "park": Field(name, required=True),
                "block": Field(name), **validity, **withdrawn,
            },
            ("enterprise", "site", "valid_from"),
            (("site", ("enterprise", "site"), ("enterprise", "site")), ("enterprise", ("enterprise",), ("owner",)), ("park", ("park",), ("park",)),
             ("block", ("park", "block"), ("park", "block"))),
        ),
        "gateway": Shape(
            models.GATEWAY,
            {
                **enterprise, "gateway": Field(name, required=True), "region": Field(_region, required=True), **names,
                "software": Field(text), **withdrawn,
            },
            ("enterprise", "gateway"), (owner, ("region", ("region",), ("region",))),
        ),
        "meter": Shape(
            models.METER,
            {
                **enterprise, "meter": Field(name, required=True), "gateway": Field(name),
                "medium": Field(sheets.choice(*MEDIA), required=True), **names, "site": Field(name), "accuracy_class": Field(sheets.text(20)),
                "calibrated_on": Field(sheets.day), "calibration_due": Field(sheets.day), **withdrawn,
            },
            ("enterprise", "meter"),
            (owner, ("gateway", ("enterprise", "gateway"), ("enterprise", "gateway")), ("site", ("enterprise", "site"), ("enterprise", "site"))),
        ),
        "register": Shape(
            models.REGISTER,
            {
                **of_register, "unit": Field(sheets.choice(*known_units()), required=True), "kind": Field(sheets.choice(*KINDS), required=True),
                "stamp": Field(sheets.choice(*STAMPS), default="start"), "modulus": Field(positive),
                "range_low": Field(free), "range_high": Field(free), "max_rate_per_h": Field(positive),
                "multiplier": Field(positive, default=1.0), "resolution": Field(positive), "net": Field(sheets.boolean, default=False),
                **validity, "error_values": Field(_error_values), "formula": Field(sheets.text(formulas.LONGEST)), **withdrawn,
            },
            ("enterprise", "meter", "register", "valid_from"), (("meter", ("enterprise", "meter"), ("enterprise", "meter")),),
        ),
        "assignment": Shape(
            models.ASSIGNMENT,
            {
                **of_register, "carrier": Field(name, required=True), "flow": Field(sheets.choice(*FLOWS, PRODUCED), default="consumed"),
                "use": Field(sheets.choice(*USES)), "site": Field(name), "process": Field(name), "product": Field(name),
                "share_ratio": Field(sheets.number(above=0, at_most=1), default=1.0), **validity,
                "allocation": Field(sheets.choice(*ALLOCATIONS)), "key_meter": Field(name), "key_register": Field(name), **withdrawn,
            },
            ("enterprise", "meter", "register", "carrier", "flow", "use", "site", "process", "product", "valid_from"),
            (("register", ("enterprise", "meter", "register"), ("enterprise", "meter", "register")),
             ("site", ("enterprise", "site"), ("enterprise", "site")),
             ("register", ("enterprise", "meter", "register"), ("enterprise", "key_meter", "key_register"))),
        ),
        "event": Shape(
            models.EVENT,
            {
                **of_register, "at": Field(instant, required=True), "event": Field(sheets.choice(*EVENTS), required=True),
                "closing_value": Field(free), "opening_value": Field(free), "multiplier": Field(positive), **withdrawn,
            },
            ("enterprise", "meter", "register", "at", "event"),
            (("register", ("enterprise", "meter", "register"), ("enterprise", "meter", "register")),),
        ),
        "rule": Shape(  # without meter or register: for all of the enterprise or of the meter
            models.RULE,
            {
                **enterprise, "meter": Field(name), "register": Field(name), "rule": Field(sheets.choice(*_rule_names()), required=True),
                "low": Field(free), "high": Field(free), "severity": Field(sheets.choice(*SEVERITIES)), "enabled": Field(sheets.boolean),
                **validity, **withdrawn,
            },
            ("enterprise", "meter", "register", "rule", "valid_from"),
            (owner, ("meter", ("enterprise", "meter"), ("enterprise", "meter")),
             ("register", ("enterprise", "meter", "register"), ("enterprise", "meter", "register"))),
        ),
        "balance": Shape(
            models.BALANCE,
            {
                **enterprise, **{f"{side}_{one}": Field(name, required=True) for side in ("total", "part") for one in ("meter", "register")},
                "kind": Field(sheets.choice(*BALANCES), required=True), **validity, **withdrawn,
            },
            ("enterprise", "total_meter", "total_register", "part_meter", "part_register", "kind", "valid_from"),
            tuple(
                ("register", ("enterprise", "meter", "register"), ("enterprise", f"{side}_meter", f"{side}_register")) for side in ("total", "part")
            ),
        ),
        "designation": Shape(
            models.DESIGNATION,
            {**enterprise, "authority": Field(text, required=True), "document": Field(text), **validity, **withdrawn},
            ("enterprise", "valid_from"), (owner,),
        ),
        "medium_use": Shape(  # without site: at all of them
            models.MEDIUM_USE,
            {
                **enterprise, "site": Field(name), "medium": Field(sheets.choice(*MEDIA), required=True),
                "source": Field(sheets.text(500), required=True), **validity, **withdrawn,
            },
            ("enterprise", "site", "medium", "valid_from"), (owner, ("site", ("enterprise", "site"), ("enterprise", "site"))),
        ),
        "project": Shape(
            models.PROJECT,
            {
                "project": Field(name, required=True), **enterprise, "park": Field(name, required=True), **names,
                "product": Field(text), "indicator": Field(text), "feedstock": Field(sheets.choice(*FEEDSTOCK)),
                "design_value": Field(free), "design_unit": Field(sheets.text(64)), "parameters": Field(_parameters),
                "approved_on": Field(sheets.day), "approval": Field(text),
                "approved_calorific_tce": Field(positive), "approved_equivalent_tce": Field(positive),
                **dict.fromkeys(("start_by", "started_on", "planned_operation_on", "operating_from", "ended_on"), Field(sheets.day)),
                "source": Field(sheets.text(500)), **withdrawn,
            },
            ("project",), (owner, ("park", ("park",), ("park",))),
        ),
        "quota": Shape(
            models.QUOTA,
            {
                "project": Field(name, required=True), "day": Field(sheets.day, required=True),
                "kind": Field(sheets.choice(*QUOTA_KINDS), required=True), "document": Field(text, required=True),
                "calorific_tce": Field(positive, required=True), **withdrawn,
            },
            ("project", "day", "kind", "document"), (("project", ("project",), ("project",)),),
        ),
        "stop": Shape(  # without process: all of the enterprise
            models.STOP, {**enterprise, "process": Field(name), "document": Field(text), **validity, **withdrawn},
            ("enterprise", "process", "valid_from"), (owner,),
        ),
        "metering_point": Shape(
            models.METERING_POINT,
            {
                **enterprise, "point": Field(name, required=True), "level": Field(sheets.choice(*LEVELS), required=True),
                "medium": Field(sheets.choice(*MEDIA), required=True), "meter": Field(name), **names, **withdrawn,
            },
            ("enterprise", "point"), (owner, ("meter", ("enterprise", "meter"), ("enterprise", "meter"))),
        ),
    }


def _rule_names() -> list[str]:
    return sorted({row.rule for row in data_rules.vee_rule_rows()[0]})
