"""The register: who is where, which meters they have, what their registers count and what that stands for.

Every row is a version: it is known from an instant until the one that replaced it. Nothing is updated but that end.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import ColumnElement, Select, Table, bindparam, func, insert, or_, select, update
from sqlalchemy.orm import Session
from stdnum.cn import uscc
from stdnum.exceptions import InvalidChecksum, ValidationError

from config import data_rules, events, formulas
from config.errors import BadInputError, Problem
from config.papers import LEVELS
from config.schemas import (
    ASSIGNMENT,
    BALANCE,
    DESIGNATION,
    EVENT,
    HOLDING,
    INSTANT,
    MEDIUM_USE,
    METERING_POINT,
    PROJECT,
    QUOTA,
    REGISTER,
    STOP,
    VEE_RULE,
    conform,
)
from config.units import MEDIA, known_units, units_of
from store import audit, models, sheets
from store.database import Database, frame_of
from store.sheets import Field, Row, Sheet, WrongError

KINDS: Final = ("cumulative", "interval", "rate", "state", "derived")
STAMPS: Final = ("start", "end")
EVENTS: Final = ("change", "reset", "rollover", "multiplier")
FLOWS: Final = ("consumed", "purchased", "own_primary", "opening_stock", "closing_stock", "sold", "converted_out", "recovered")
PRODUCED: Final = "produced"  # of an assignment: the register counts the output of a product and no energy
USES: Final = ("fuel", "feedstock", "medium")
SEVERITIES: Final = ("info", "warning", "error")
BALANCES: Final = ("tariff", "sub_meter", "output")
ALLOCATIONS: Final = ("output", "register")  # keys by which what is shared is divided
PLANT_STATUSES: Final = ("existing", "new")
FEEDSTOCK: Final = ("included", "excluded")
QUOTA_KINDS: Final = ("granted", "used", "reclaimed")
_RATE_UNITS: Final = units_of("rate")
_STATE_UNITS: Final = units_of("state")
_NO_START, _NO_END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_SHARE_TOLERANCE: Final = 1e-9

Key = tuple[Any, ...]
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ImportCount:
    """What an import did: rows that were new, rows that got a new version, rows already so, rows taken back."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    withdrawn: int = 0

    def __str__(self) -> str:
        return f"{self.added} rows added, {self.changed} changed, {self.unchanged} unchanged, {self.withdrawn} withdrawn"


@dataclass(frozen=True, slots=True)
class _Shape:
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


def _shapes(zone: ZoneInfo) -> dict[str, _Shape]:
    instant, text, name = sheets.instant(zone), sheets.text(), sheets.identifier
    names = {"name_zh": Field(text), "name_en": Field(text)}
    withdrawn = {"withdrawn": Field(sheets.boolean, default=False)}
    enterprise = {"enterprise": Field(credit_code, required=True)}
    of_register = {**enterprise, "meter": Field(name, required=True), "register": Field(name, required=True)}
    validity = {"valid_from": Field(instant), "valid_to": Field(instant)}
    free, positive = sheets.number(), sheets.number(above=0)
    owner = ("enterprise", ("enterprise",), ("enterprise",))
    return {
        "region": _Shape(models.REGION, {"region": Field(_region, required=True), **names, **withdrawn}, ("region",)),
        "park": _Shape(
            models.PARK, {"park": Field(name, required=True), "region": Field(_region, required=True), **names, **withdrawn}, ("park",),
            (("region", ("region",), ("region",)),),
        ),
        "enterprise": _Shape(
            models.ENTERPRISE,
            {
                **enterprise, "name_zh": Field(text, required=True), "name_en": Field(text), "park": Field(name, required=True),
                "industry": Field(text), "plant_status": Field(sheets.choice(*PLANT_STATUSES)), "key_unit": Field(sheets.boolean), **withdrawn,
            },
            ("enterprise",), (("park", ("park",), ("park",)),),
        ),
        "site": _Shape(
            models.SITE, {**enterprise, "site": Field(name, required=True), "park": Field(name, required=True), **names, **withdrawn},
            ("enterprise", "site"), (owner, ("park", ("park",), ("park",))),
        ),
        "block": _Shape(
            models.BLOCK, {"park": Field(name, required=True), "block": Field(name, required=True), **names, **withdrawn}, ("park", "block"),
            (("park", ("park",), ("park",)),),
        ),
        "holding": _Shape(  # from a day on: whose the site is, and in which park and block it lies
            models.HOLDING,
            {
                **enterprise, "site": Field(name, required=True), "owner": Field(credit_code, required=True), "park": Field(name, required=True),
                "block": Field(name), **validity, **withdrawn,
            },
            ("enterprise", "site", "valid_from"),
            (("site", ("enterprise", "site"), ("enterprise", "site")), ("enterprise", ("enterprise",), ("owner",)), ("park", ("park",), ("park",)),
             ("block", ("park", "block"), ("park", "block"))),
        ),
        "gateway": _Shape(
            models.GATEWAY,
            {
                **enterprise, "gateway": Field(name, required=True), "region": Field(_region, required=True), **names,
                "software": Field(text), **withdrawn,
            },
            ("enterprise", "gateway"), (owner, ("region", ("region",), ("region",))),
        ),
        "meter": _Shape(
            models.METER,
            {
                **enterprise, "meter": Field(name, required=True), "gateway": Field(name),
                "medium": Field(sheets.choice(*MEDIA), required=True), **names, "site": Field(name), "accuracy_class": Field(sheets.text(20)),
                "calibrated_on": Field(sheets.day), "calibration_due": Field(sheets.day), **withdrawn,
            },
            ("enterprise", "meter"),
            (owner, ("gateway", ("enterprise", "gateway"), ("enterprise", "gateway")), ("site", ("enterprise", "site"), ("enterprise", "site"))),
        ),
        "register": _Shape(
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
        "assignment": _Shape(
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
        "event": _Shape(
            models.EVENT,
            {
                **of_register, "at": Field(instant, required=True), "event": Field(sheets.choice(*EVENTS), required=True),
                "closing_value": Field(free), "opening_value": Field(free), "multiplier": Field(positive), **withdrawn,
            },
            ("enterprise", "meter", "register", "at", "event"),
            (("register", ("enterprise", "meter", "register"), ("enterprise", "meter", "register")),),
        ),
        "rule": _Shape(  # without meter or register: for all of the enterprise or of the meter
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
        "balance": _Shape(
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
        "designation": _Shape(
            models.DESIGNATION,
            {**enterprise, "authority": Field(text, required=True), "document": Field(text), **validity, **withdrawn},
            ("enterprise", "valid_from"), (owner,),
        ),
        "medium_use": _Shape(  # without site: at all of them
            models.MEDIUM_USE,
            {
                **enterprise, "site": Field(name), "medium": Field(sheets.choice(*MEDIA), required=True),
                "source": Field(sheets.text(500), required=True), **validity, **withdrawn,
            },
            ("enterprise", "site", "medium", "valid_from"), (owner, ("site", ("enterprise", "site"), ("enterprise", "site"))),
        ),
        "project": _Shape(
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
        "quota": _Shape(
            models.QUOTA,
            {
                "project": Field(name, required=True), "day": Field(sheets.day, required=True),
                "kind": Field(sheets.choice(*QUOTA_KINDS), required=True), "document": Field(text, required=True),
                "calorific_tce": Field(positive, required=True), **withdrawn,
            },
            ("project", "day", "kind", "document"), (("project", ("project",), ("project",)),),
        ),
        "stop": _Shape(  # without process: all of the enterprise
            models.STOP, {**enterprise, "process": Field(name), "document": Field(text), **validity, **withdrawn},
            ("enterprise", "process", "valid_from"), (owner,),
        ),
        "metering_point": _Shape(
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


_NUMERIC: Final = frozenset({
    "modulus", "range_low", "range_high", "max_rate_per_h", "multiplier", "resolution", "share_ratio", "closing_value", "opening_value",
    "low", "high", "design_value", "approved_calorific_tce", "approved_equivalent_tce", "calorific_tce",
})
_KEY_REGISTER: Final = ("key_meter", "key_register")
_OF_REGISTER: Final = ("register", "assignment", "event")
_CELLS: Final[Mapping[str, pl.DataType]] = {
    **dict.fromkeys(_NUMERIC, pl.Float64()), **dict.fromkeys(("valid_from", "valid_to", "at"), INSTANT),
    **dict.fromkeys(("net", "key_unit", "enabled"), pl.Boolean()),
}


class RegisterStore:
    """The register of a site. `zone` is the place whose days the dates in files mean.

    Where a method takes `as_of`, the rows are those that were known at that instant, not the current ones.
    """

    def __init__(self, db: Database, *, zone: str = "Asia/Shanghai") -> None:
        self._db = db
        self._zone = ZoneInfo(zone)
        self._shapes = _shapes(self._zone)

    def import_file(self, path: Path, *, by: str, known_from: datetime) -> ImportCount:
        """Take over a workbook (a sheet each table) or a folder of CSV files (named by table); rows that it lacks stay as they are.

        Raises:
            BadInputError: every problem with file, sheet, row and column; nothing was written.
        """
        if path.suffix.lower() == sheets.CSV and not path.is_dir():
            raise BadInputError([Problem(str(path), "is a single table", "Give the folder of the CSV files, or a workbook with all tables.")])
        return self._take(sheets.read_sheets(path, _NUMERIC.__contains__), by, known_from, str(path.name))

    def apply(self, tables: Mapping[str, pl.DataFrame], *, by: str, known_from: datetime) -> ImportCount:
        """Take over tables in memory, by the same rules.

        Args:
            tables: by name as sheets are: region, park, enterprise, meter ...; only some will do.
            by: who answers for it.
            known_from: from when on it is known.

        Raises:
            BadInputError: every problem with table, row and column; nothing was written.
        """
        return self._take({name: sheets.sheet_of(name, frame) for name, frame in tables.items()}, by, known_from, "tables")

    def export_file(self, path: Path) -> None:
        """Write the current rows as a workbook (.xlsx) or a folder of CSV files; importing that changes nothing."""
        tables = {}
        with self._db.reading() as session:
            for name, shape in self._shapes.items():
                columns = [column for column in shape.fields if column != "withdrawn"]
                query = _current(shape.table, columns).order_by(shape.table.c.key)
                tables[name] = (columns, [[self._shown(cell) for cell in row] for row in session.execute(query)])
        if path.suffix.lower() == sheets.XLSX:
            beside = path.with_name(f".{path.name}.new")
            sheets.write_workbook(beside, tables)
            beside.replace(path)
            return
        path.mkdir(parents=True, exist_ok=True)
        for name, (columns, rows) in tables.items():
            sheets.write_csv(path / f"{name}{sheets.CSV}", columns, rows)

    def registers(self, *, history: bool = False, as_of: datetime | None = None) -> pl.DataFrame:
        """REGISTER: the current rows, or those known at an instant; with `history` all versions, each with the span in which it was known."""
        own = [name for name in REGISTER if name not in {"gateway", "medium"}]
        register, meter = models.REGISTER, models.METER
        queries = [select(*(register.c[name] for name in own)), select(*(meter.c[name] for name in _METER))]
        if not history:
            queries = [queries[0].where(*_known(register, as_of)), queries[1].where(*_known(meter, as_of))]
        with self._db.reading() as session:
            rows = frame_of(session, queries[0], {name: REGISTER[name] for name in own})
            meters = frame_of(session, queries[1], _METER)
        joined = rows.join(meters, on=["enterprise", "meter"], how="left", suffix="_meter")
        if history:  # a version of both: known from the later beginning to the earlier end
            joined = joined.with_columns(
                known_from=pl.max_horizontal("known_from", "known_from_meter"), known_to=pl.min_horizontal("known_to", "known_to_meter"),
            ).filter(pl.col("known_to").is_null() | (pl.col("known_from") < pl.col("known_to")))
        return joined.select(REGISTER.names()).sort("register_key", "valid_from", "known_from")

    def assignments(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """ASSIGNMENT: the current rows, or those known at an instant."""
        own = {**{name: dtype for name, dtype in ASSIGNMENT.items() if name != "key_register_key"}, **dict.fromkeys(_KEY_REGISTER, pl.String())}
        rows = self._db.frame(_current(models.ASSIGNMENT, list(own), as_of), own)
        keys = self.names().rename({"register_key": "key_register_key", "meter": _KEY_REGISTER[0], "register": _KEY_REGISTER[1]})
        return rows.join(keys, on=["enterprise", *_KEY_REGISTER], how="left").select(ASSIGNMENT.names()).sort(ASSIGNMENT.names())

    def holdings(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """HOLDING: the current rows, or those known at an instant."""
        return self._db.frame(_current(models.HOLDING, HOLDING.names(), as_of), HOLDING).sort(HOLDING.names())

    def events(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """EVENT: the current rows, or those known at an instant."""
        return self._db.frame(_current(models.EVENT, EVENT.names(), as_of), EVENT).sort("register_key", "at", "event")

    def rules(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """VEE_RULE: the current rows of this register's own validation rules, or those known at an instant; the shipped ones are not among them."""
        own = [name for name in VEE_RULE if name not in {"medium", "kind", "source"}]
        rows = self._db.frame(_current(models.RULE, own, as_of), {name: VEE_RULE[name] for name in own})
        return conform(rows.with_columns(source=pl.lit("register")), VEE_RULE).sort("enterprise", "meter", "register", "rule", "valid_from")

    def balances(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """BALANCE: the current rows, or those known at an instant."""
        own = ["enterprise", "total_meter", "total_register", "part_meter", "part_register", "kind", "valid_from", "valid_to"]
        rows = self._db.frame(_current(models.BALANCE, own, as_of), {name: BALANCE.get(name, pl.String()) for name in own})
        keys = self.names()
        for side in ("total", "part"):
            named = keys.rename({"register_key": f"{side}_key", "meter": f"{side}_meter", "register": f"{side}_register"})
            rows = rows.join(named, on=["enterprise", f"{side}_meter", f"{side}_register"])
        return rows.select(BALANCE.names()).sort(BALANCE.names())

    def designations(self) -> pl.DataFrame:
        """DESIGNATION: the current rows, with local days."""
        return conform(self._by_days("designation"), DESIGNATION).sort("enterprise", "valid_from")

    def media_used(self) -> pl.DataFrame:
        """MEDIUM_USE: the current rows of the declared lists, with local days."""
        return conform(self._by_days("medium_use"), MEDIUM_USE).sort("enterprise", "site", "medium", "valid_from")

    def projects(self) -> pl.DataFrame:
        """PROJECT: the current rows."""
        return conform(self._rows("project"), PROJECT)

    def quotas(self) -> pl.DataFrame:
        """QUOTA: the current rows."""
        return conform(self._rows("quota"), QUOTA)

    def _by_days(self, name: str) -> pl.DataFrame:
        days = [pl.col(column).dt.convert_time_zone(self._zone.key).dt.date() for column in ("valid_from", "valid_to")]
        return self._rows(name).with_columns(days)

    def stops(self) -> pl.DataFrame:
        """STOP: days on which enterprises or processes stand by their own report."""
        rows = self._db.frame(_current(models.STOP, ["enterprise", "process", "document", "valid_from", "valid_to"]), {
            "enterprise": pl.String(), "process": pl.String(), "document": pl.String(), "first_day": INSTANT, "last_day": INSTANT,
        })
        day = (pl.col("first_day"), pl.col("last_day") - pl.duration(microseconds=1))  # until then, not included
        local = [one.dt.convert_time_zone(self._zone.key).dt.date() for one in day]
        return conform(rows.with_columns(local), STOP).sort(STOP.names())

    def metering_points(self) -> pl.DataFrame:
        """METERING_POINT: where enterprises need a meter, and the meter that is there."""
        return conform(self._rows("metering_point"), METERING_POINT)

    def versions(self, table: str, after: datetime, until: datetime) -> pl.DataFrame:
        """Versions that became known, or were replaced or withdrawn, after one instant and up to another.

        Args:
            table: register, assignment, event, enterprise, ... as a sheet of the register is named.
            after: not included.
            until: included.

        Returns:
            The table's own columns (with register_key where it has one), known_from, known_to and recorded_by, by known_from.
        """
        shape = self._shapes[table]
        own = {name: _CELLS.get(name, pl.String()) for name in shape.fields if name != "withdrawn"}
        keyed = {"register_key": pl.UInt32()} if table in _OF_REGISTER else {}
        columns = {**keyed, **own, "known_from": INSTANT, "known_to": INSTANT, "recorded_by": pl.String()}
        begun, ended = ((column > after) & (column <= until) for column in (shape.table.c.known_from, shape.table.c.known_to))
        query = select(*(shape.table.c[name] for name in columns)).where(or_(begun, ended))
        return self._db.frame(query, columns).sort("known_from", *own, nulls_last=False)

    def names(self) -> pl.DataFrame:
        """Every register_key that was ever given: register_key, enterprise, meter, register."""
        shape = {"register_key": pl.UInt32(), "enterprise": pl.String(), "meter": pl.String(), "register": pl.String()}
        table = models.REGISTER_KEY
        return self._db.frame(select(*(table.c[name] for name in shape)).order_by(table.c.register_key), shape)

    def regions(self) -> pl.DataFrame:
        """Current regions: region (6 digits), name_zh, name_en."""
        return self._rows("region")

    def parks(self) -> pl.DataFrame:
        """Current parks: park, region, name_zh, name_en."""
        return self._rows("park")

    def enterprises(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """Current enterprises: enterprise (credit code), names, park (where it is counted), industry, plant_status, key_unit, site (its first)."""
        first = self.sites(as_of=as_of).group_by("enterprise").agg(pl.col("site").first())
        return self._rows("enterprise", as_of).join(first, on="enterprise", how="left").sort("enterprise")

    def enterprise_parks(self) -> pl.DataFrame:
        """Every park in which an enterprise is counted, has a site or ever held one: enterprise, park."""
        columns = ["enterprise", "park"]
        held = self.holdings().select(enterprise="owner", park="park")
        return pl.concat([self._rows("enterprise").select(columns), self.sites().select(columns), held]).unique().sort(columns)

    def sites(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """Current sites: enterprise, site, park, name_zh, name_en."""
        return self._rows("site", as_of)

    def blocks(self) -> pl.DataFrame:
        """Current blocks of parks: park, block, name_zh, name_en."""
        return self._rows("block")

    def gateways(self) -> pl.DataFrame:
        """Current gateways: enterprise, gateway, region, name_zh, name_en, software."""
        return self._rows("gateway")

    def region_of(self, enterprise: str, gateway: str) -> str | None:
        """The region of a current gateway; None where there is none."""
        table = models.GATEWAY.c
        query = _current(models.GATEWAY, ["region"]).where(table.enterprise == enterprise, table.gateway == gateway)
        with self._db.reading() as session:
            return session.execute(query).scalar_one_or_none()

    def meters(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """Current meters: enterprise, meter, gateway, medium, name_zh, name_en, site, accuracy_class, calibrated_on, calibration_due."""
        return self._rows("meter", as_of)

    def meter_history(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """All versions of the rows of meters, or those known at an instant, when nobody knew of a later one (`known_to` is null).

        Columns: enterprise, meter, medium, accuracy_class, calibrated_on, calibration_due, known_from, known_to.
        """
        names = ("enterprise", "meter", "medium", "accuracy_class", "calibrated_on", "calibration_due", "known_from", "known_to")
        columns = {name: INSTANT if name.startswith("known") else _DTYPES.get(name, pl.String()) for name in names}
        rows = self._db.frame(select(*(models.METER.c[name] for name in names)).order_by(models.METER.c.id), columns)
        if as_of is None:
            return rows
        return rows.filter(pl.col("known_from") <= as_of).with_columns(known_to=pl.when(pl.col("known_to") <= as_of).then("known_to"))

    def exchange_entries(self) -> pl.DataFrame:
        """Exchanges of meters that stand in the register, with when each was first entered: enterprise, meter, register, at, entered_at."""
        table, names = models.EVENT.c, ("enterprise", "meter", "register", "at")
        current = select(table.key).where(table.known_to.is_(None), table.event == "change")
        query = select(*(func.min(table[name]) for name in names), func.min(table.known_from)).where(table.key.in_(current)).group_by(table.key)
        shape = {name: INSTANT if name == "at" else pl.String() for name in names}
        return self._db.frame(query, {**shape, "entered_at": INSTANT}).sort(names)

    def version(self) -> str:
        """Changes whenever anything in the register changes."""
        with self._db.reading() as session:
            return str(session.execute(select(models.REGISTER_VERSION.c.version)).scalar_one())

    def _rows(self, name: str, as_of: datetime | None = None) -> pl.DataFrame:
        shape = self._shapes[name]
        columns = {column: _DTYPES.get(column, pl.String()) for column in shape.fields if column != "withdrawn"}
        return self._db.frame(_current(shape.table, list(columns), as_of), columns).sort(shape.key)

    def _take(self, given: Mapping[str, Sheet], by: str, known_from: datetime, source: str) -> ImportCount:
        problems: list[Problem] = []
        listed = ", ".join(self._shapes)
        problems += [Problem(sheet.where, f"{name!r} is no table of the register", f"Tables are: {listed}.") for name, sheet in given.items()
                     if name not in self._shapes]
        rows = {name: sheets.parse_rows(given[name], shape.fields, problems) for name, shape in self._shapes.items() if name in given}
        with self._db.session() as session:
            # Imports take turns: keys stay dense and checks see what they check.
            session.execute(select(models.REGISTER_VERSION).with_for_update())
            change = _Change(self._shapes, self._current_rows(session), problems)
            for name, written in rows.items():
                change.take(name, given[name], written)
            change.check(known_from)
            if problems:
                raise BadInputError(problems)
            count = self._write(session, change, by, known_from)
            if count.added or count.changed or count.withdrawn:
                session.execute(update(models.REGISTER_VERSION).values(version=models.REGISTER_VERSION.c.version + 1))
                details = {"added": count.added, "changed": count.changed, "withdrawn": count.withdrawn, "known_from": known_from}
                audit.append(session, by=by, action="register.import", subject=source, details=details)
            return count

    def _current_rows(self, session: Session) -> dict[str, dict[Key, dict[str, Any]]]:
        current: dict[str, dict[Key, dict[str, Any]]] = {}
        for name, shape in self._shapes.items():
            columns = ["id", "known_from", *(column for column in shape.fields if column != "withdrawn")]
            found = (dict(zip(columns, row, strict=True)) for row in session.execute(_current(shape.table, columns)))
            current[name] = {shape.key_of(row): row for row in found}
        return current

    def _write(self, session: Session, change: "_Change", by: str, known_from: datetime) -> ImportCount:
        keys = self._register_keys(session, change)
        count = ImportCount()
        for name, shape in self._shapes.items():
            closed = [change.before[name][key]["id"] for key in (*change.changed[name], *change.withdrawn[name])]
            opened = [change.after[name][key] for key in (*change.added[name], *change.changed[name])]
            if closed:
                table = shape.table
                session.connection().execute(
                    update(table).where(table.c.id == bindparam("row")).values(known_to=bindparam("until")),
                    [{"row": row, "until": known_from} for row in closed],
                )
            if opened:
                session.execute(insert(shape.table), [
                    {column: value for column, value in row.items() if column not in {"id", "withdrawn"}}
                    | {"key": _key_text(shape.key_of(row)), "known_from": known_from, "known_to": None, "recorded_by": by}
                    | ({"register_key": keys[_register_of(row)]} if name in _OF_REGISTER else {})
                    for row in opened
                ])
            count = replace(
                count, added=count.added + len(change.added[name]), changed=count.changed + len(change.changed[name]),
                unchanged=count.unchanged + change.unchanged[name], withdrawn=count.withdrawn + len(change.withdrawn[name]),
            )
        return count

    def _register_keys(self, session: Session, change: "_Change") -> dict[Key, int]:
        table = models.REGISTER_KEY
        columns = [table.c[name] for name in ("enterprise", "meter", "register")]
        keys = {tuple(row[1:]): row[0] for row in session.execute(select(table.c.register_key, *columns))}
        last = session.execute(select(func.coalesce(func.max(table.c.register_key), 0))).scalar_one()
        # In the order of names, so that the same file gives the same keys everywhere.
        fresh = sorted({_register_of(change.after["register"][key]) for key in change.added["register"]} - keys.keys())
        given = {name: last + position for position, name in enumerate(fresh, start=1)}
        if given:
            session.execute(insert(table), [
                {"register_key": key, "enterprise": name[0], "meter": name[1], "register": name[2]} for name, key in given.items()
            ])
        return keys | given

    def _shown(self, cell: Any) -> Any:
        if isinstance(cell, datetime):
            return cell.astimezone(self._zone).isoformat()
        return cell.isoformat() if isinstance(cell, date) else ("true" if cell else "false") if isinstance(cell, bool) else cell


_METER: Final = pl.Schema({
    "enterprise": pl.String(), "meter": pl.String(), "gateway": pl.String(), "medium": pl.String(), "known_from": INSTANT, "known_to": INSTANT,
})
_DTYPES: Final[Mapping[str, pl.DataType]] = {
    "key_unit": pl.Boolean(), **dict.fromkeys(("valid_from", "valid_to"), INSTANT),
    **dict.fromkeys((
        "calibrated_on", "calibration_due", "approved_on", "start_by", "started_on", "planned_operation_on", "operating_from", "ended_on", "day",
    ), pl.Date()),
    **dict.fromkeys(("design_value", "approved_calorific_tce", "approved_equivalent_tce", "calorific_tce"), pl.Float64()),
}


class _Change:
    """The register before and after an import, and what stands against it."""

    def __init__(self, shapes: Mapping[str, _Shape], before: Mapping[str, dict[Key, dict[str, Any]]], problems: list[Problem]) -> None:
        self._shapes, self.before, self._problems = shapes, before, problems
        self.after = {name: dict(rows) for name, rows in before.items()}
        self.added: dict[str, list[Key]] = {name: [] for name in shapes}
        self.changed: dict[str, list[Key]] = {name: [] for name in shapes}
        self.withdrawn: dict[str, list[Key]] = {name: [] for name in shapes}
        self.unchanged = dict.fromkeys(shapes, 0)
        self._rows: dict[str, dict[Key, Row]] = {name: {} for name in shapes}
        self._sheets: dict[str, Sheet] = {}

    def take(self, name: str, sheet: Sheet, written: Iterable[tuple[Row, dict[str, Any]]]) -> None:
        """Sort the rows of one table into added, changed, unchanged and withdrawn."""
        shape, seen = self._shapes[name], self._rows[name]
        self._sheets[name] = sheet
        unspoken = [column for column in shape.fields if column not in sheet.columns and column != "withdrawn"]
        for row, values in written:
            key = shape.key_of(values)
            if key in seen:
                self._tell(row.where, f"names the same {name} as {seen[key].where}", "Keep one of the two rows.")
                continue
            seen[key] = row
            before = self.before[name].get(key)
            if before is not None:
                values |= {column: before[column] for column in unspoken}  # a column that a file lacks changes nothing
            if values.pop("withdrawn"):
                if before is not None:
                    self.withdrawn[name].append(key)
                self.after[name].pop(key, None)
            elif before is None:
                self.added[name].append(key)
                self.after[name][key] = values
            elif any(before[column] != value for column, value in values.items()):
                self.changed[name].append(key)
                self.after[name][key] = values
            else:
                self.unchanged[name] += 1

    def check(self, known_from: datetime) -> None:
        """What the tables must be together: rows they refer to, dates in order, spans that do not overlap, shares up to a whole."""
        for name, shape in self._shapes.items():
            for table, columns, ours in shape.refers:
                self._check_reference(name, table, columns, ours)
            for key in (*self.changed[name], *self.withdrawn[name]):
                if (begin := self.before[name][key]["known_from"]) > known_from:
                    what = f"is known since {begin.isoformat()}, after {known_from.isoformat()}"
                    self._tell(self._where(name, key), what, "Give a later instant of knowledge.")
        for name, low, high in _IN_ORDER:
            for key, row in self.after[name].items():
                if row[low] is not None and row[high] is not None and row[low] >= row[high]:
                    self._tell(f"{self._where(name, key)} column {high}", f"{row[high]} is not after {low} ({row[low]})", f"Mend {low} or {high}.")
        for key, row in self.after["register"].items():
            if (row["kind"] == "rate") != (row["unit"] in _RATE_UNITS):
                right = f"A rate has one of {', '.join(_RATE_UNITS)}; other registers have none of them."
                self._tell(f"{self._where('register', key)} column unit", f"{row['unit']} does not go with kind {row['kind']}", right)
            elif (row["kind"] == "state") != (row["unit"] in _STATE_UNITS):
                right = f"A state has one of {', '.join(_STATE_UNITS)}; other registers have none of them."
                self._tell(f"{self._where('register', key)} column unit", f"{row['unit']} does not go with kind {row['kind']}", right)
        self._check_one_kind()
        self._check_formulas()
        self._check_events(known_from)
        self._check_overlaps("register", ("enterprise", "meter", "register"))
        for name in ("assignment", "rule", "balance", "holding", "designation", "medium_use"):
            self._check_overlaps(name, self._shapes[name].key[:-1])
        self._check_rules()
        self._check_keys()
        self._check_shares()

    def _check_one_kind(self) -> None:
        """A register's consumption is one series: of one kind and stamp, in one unit, whatever else its rows change."""
        remedy = "A meter that shows another unit has the old one and a multiplier (kWh, 1000 for MWh); another kind is another register."
        for rows in _grouped(self.after["register"], ("enterprise", "meter", "register")).values():
            (_, first), *others = sorted(rows, key=lambda pair: pair[1]["valid_from"] or _NO_START)
            for key, row in others:
                for column in ("kind", "unit", *(("stamp",) if row["kind"] == "interval" else ())):
                    if row[column] != first[column]:
                        self._tell(f"{self._where('register', key)} column {column}", f"{row[column]} was {first[column]} before", remedy)

    def _check_events(self, known_from: datetime) -> None:
        rows = _grouped(self.after["register"], ("enterprise", "meter", "register"))
        for key, row in self.after["event"].items():
            where, own = self._where("event", key), [register for _, register in rows.get(_register_of(row), [])]
            if own and all(register["kind"] == "derived" for register in own):
                self._tell(f"{where} column register", "a derived register has no events", "It follows from the registers that its formula names.")
            for fault in events.faults(row["at"], row["closing_value"], row["opening_value"], **_loosest(own), valid=_spans(own)):
                self._tell(f"{where} column {fault.column}", fault.what, f"{fault.remedy}.")
            if row["at"] > known_from:
                what = f"{row['at'].isoformat()} is still to come"
                self._tell(f"{where} column at", what, "Enter an event once it has happened: its values count as readings.")
            if row["event"] == "multiplier" and row["multiplier"] is None:
                self._tell(f"{where} column multiplier", "is empty", "Give the multiplier that holds from then on.")

    def _check_formulas(self) -> None:
        rows = list(self.after["register"].items())
        for fault in formulas.terms([row for _, row in rows])[1]:
            self._tell(f"{self._where('register', rows[fault.row][0])} column {fault.column}", fault.what, f"{fault.remedy}.")

    def _check_reference(self, name: str, table: str, columns: Sequence[str], ours: Sequence[str]) -> None:
        known = {tuple(row[column] for column in columns) for row in self.after[table].values()}
        if table in self._sheets:  # a row that is wrong itself is told once, not again for each that refers to it
            taken = {row.where for row in self._rows[table].values()}
            failed = [row for row in self._sheets[table].rows if row.where not in taken]
            known |= {tuple(str(row.cells.get(column) or "").strip() for column in columns) for row in failed}
        for key, row in self.after[name].items():
            spoken = tuple(row[column] for column in ours)
            if spoken[-1] is not None and spoken not in known:
                shown = "/".join(part or "" for part in spoken)
                where = f"{self._where(name, key)} column {ours[-1]}"
                self._tell(where, f"there is no {table} {shown}", f"Add it to table {table}, or mend the name.")

    def _check_overlaps(self, name: str, group: Sequence[str]) -> None:
        for rows in _grouped(self.after[name], group).values():
            spans = sorted(rows, key=lambda pair: pair[1]["valid_from"] or _NO_START)
            for (first, before), (second, after) in pairwise(spans):
                if (before["valid_to"] or _NO_END) > (after["valid_from"] or _NO_START):
                    at, other = (second, first) if second in self._rows[name] else (first, second)
                    self._tell(
                        f"{self._where(name, at)} column valid_from", f"its validity overlaps {self._where(name, other)}",
                        "End the earlier row (valid_to) where the later one begins.",
                    )

    def _check_rules(self) -> None:
        for key, row in self.after["rule"].items():
            where = self._where("rule", key)
            if row["register"] is not None and row["meter"] is None:
                self._tell(f"{where} column meter", "is empty", "Name the register's meter too, or leave the register empty.")
            if row["rule"] in data_rules.VEE_BANDS and row["low"] is not None and row["high"] is not None and row["low"] > row["high"]:
                self._tell(f"{where} column high", f"{row['high']} is below low ({row['low']})", "Mend low or high.")
            if row["rule"] in data_rules.VEE_ALWAYS and row["enabled"] is False:
                what = "this rule decides which readings count and cannot be switched off"
                self._tell(f"{where} column enabled", what, "Leave it empty; an edit of kind replace or confirm is the way to correct a reading.")
        for key, row in self.after["project"].items():
            if (row["design_value"] is None) != (row["design_unit"] is None):
                column = "design_unit" if row["design_unit"] is None else "design_value"
                self._tell(f"{self._where('project', key)} column {column}", "is empty", "A design consumption has value and unit, as 800 kgce/t.")
            if row["approved_calorific_tce"] is not None and row["approved_on"] is None:
                self._tell(f"{self._where('project', key)} column approved_on", "is empty", "Write the day of the approval.")
        for key, row in self.after["stop"].items():
            if row["valid_from"] is None:
                self._tell(f"{self._where('stop', key)} column valid_from", "is empty", "Write the first day on which it stands.")
        for key, row in self.after["metering_point"].items():
            meter = self.after["meter"].get((row["enterprise"], row["meter"]))
            if meter is not None and meter["medium"] != row["medium"]:
                what = f"meter {row['meter']} measures {meter['medium']}, the point needs {row['medium']}"
                self._tell(f"{self._where('metering_point', key)} column meter", what, "Mend the medium, or name the meter that is there.")
        for key, row in self.after["balance"].items():
            if (row["total_meter"], row["total_register"]) == (row["part_meter"], row["part_register"]):
                self._tell(f"{self._where('balance', key)} column part_register", "is the total itself", "Name the register that is a part of it.")

    def _check_keys(self) -> None:
        """How a shared register is divided: by output the product must be named, by registers the register of each part."""
        for key, row in self.after["assignment"].items():
            where, given = self._where("assignment", key), [name for name in _KEY_REGISTER if row[name] is not None]
            if row["flow"] == PRODUCED and row["product"] is None:
                self._tell(f"{where} column product", "is empty", "Name the product that the register counts.")
            if row["allocation"] == "output" and row["product"] is None:
                self._tell(f"{where} column product", "is empty", "Name the product whose output is the key.")
            if row["allocation"] == "register" and len(given) < len(_KEY_REGISTER):
                self._tell(f"{where} column key_register", "is empty", "Name key_meter and key_register, whose quantity is the key.")
            if row["allocation"] != "register" and given:
                self._tell(f"{where} column {given[0]}", "is not used", "Write allocation register, or leave it empty.")

    def _check_shares(self) -> None:
        for rows in _grouped(self.after["assignment"], ("enterprise", "meter", "register", "carrier", "flow")).values():
            if len(rows) == 1:
                continue
            for key, row in rows:
                begin = row["valid_from"] or _NO_START
                then = [one for _, one in rows if (one["valid_from"] or _NO_START) <= begin < (one["valid_to"] or _NO_END)]
                keyed = {one["allocation"]: one["share_ratio"] for one in then if one["allocation"]}  # divided among all that have the key
                together = sum(one["share_ratio"] for one in then if not one["allocation"]) + sum(keyed.values())
                if row["allocation"] and row["share_ratio"] != keyed[row["allocation"]]:
                    where = f"{self._where('assignment', key)} column share_ratio"
                    self._tell(where, "differs among rows that divide the register by one key", "Give each of them what the key divides.")
                    break
                if together > 1 + _SHARE_TOLERANCE:
                    where = f"{self._where('assignment', key)} column share_ratio"
                    self._tell(where, f"the shares of this register, carrier and flow add up to {together:.6g}", "They may add up to 1 at most.")
                    break

    def _where(self, name: str, key: Key) -> str:
        row = self._rows[name].get(key)
        return row.where if row else f"the register's table {name} row {'/'.join(str(part) for part in key if part is not None)}"

    def _tell(self, where: str, what: str, remedy: str) -> None:
        self._problems.append(Problem(where, what, remedy))


_IN_ORDER: Final = (
    ("register", "valid_from", "valid_to"), ("assignment", "valid_from", "valid_to"), ("register", "range_low", "range_high"),
    ("meter", "calibrated_on", "calibration_due"), ("holding", "valid_from", "valid_to"), ("rule", "valid_from", "valid_to"),
    ("balance", "valid_from", "valid_to"),
    ("stop", "valid_from", "valid_to"), ("designation", "valid_from", "valid_to"), ("medium_use", "valid_from", "valid_to"),
)


def _grouped(rows: Mapping[Key, dict[str, Any]], columns: Sequence[str]) -> dict[Key, list[tuple[Key, dict[str, Any]]]]:
    groups: dict[Key, list[tuple[Key, dict[str, Any]]]] = defaultdict(list)
    for key, row in rows.items():
        groups[tuple(row[column] for column in columns)].append((key, row))
    return groups


def _loosest(rows: Sequence[Values]) -> dict[str, float | None]:
    """The bounds of what a register can show, of all its rows together; None where one has none."""
    given = {name: [row[name] for row in rows] for name in ("modulus", "range_low", "range_high")}
    return {
        name: None if not values or None in values else min(values) if name == "range_low" else max(values) for name, values in given.items()
    }


def _spans(rows: Sequence[Values]) -> list[tuple[datetime | None, datetime | None]]:
    """From when to when the rows hold; a register without any is told elsewhere."""
    return [(row["valid_from"], row["valid_to"]) for row in rows] or [(None, None)]


def _register_of(row: Values) -> Key:
    return (row["enterprise"], row["meter"], row["register"])


def _key_text(key: Key) -> str:
    return "/".join("" if part is None else part.isoformat() if isinstance(part, datetime) else str(part) for part in key)


def _current(table: Table, columns: Iterable[str], as_of: datetime | None = None) -> Select[Any]:
    return select(*(table.c[name] for name in columns)).where(*_known(table, as_of))


def _known(table: Table, as_of: datetime | None) -> tuple[ColumnElement[bool], ...]:
    """The versions that are current, or were so at an instant (that at which one became known included)."""
    if as_of is None:
        return (table.c.known_to.is_(None),)
    return table.c.known_from <= as_of, or_(table.c.known_to.is_(None), table.c.known_to > as_of)
