"""The register: who is where, which meters they have, what their registers count and what that stands for.

Every row is a version: it is known from an instant until the one that replaced it. Nothing is updated but that end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import ColumnElement, Select, Table, bindparam, func, insert, or_, select, update
from sqlalchemy.orm import Session

from config.errors import BadInputError, Problem
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
from store import audit, models, sheets
from store.database import Database, frame_of
from store.register_change import Change, register_of
from store.register_shapes import DTYPES, KEY_REGISTER, NUMERIC, Key, shapes_of
from store.sheets import Sheet


@dataclass(frozen=True, slots=True)
class ImportCount:
    """What an import did: rows that were new, rows that got a new version, rows already so, rows taken back."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    withdrawn: int = 0

    def __str__(self) -> str:
        return f"{self.added} rows added, {self.changed} changed, {self.unchanged} unchanged, {self.withdrawn} withdrawn"


_OF_REGISTER: Final = ("register", "assignment", "event")


class RegisterStore:
    """The register of a site. `zone` is the place whose days the dates in files mean.

    Where a method takes `as_of`, the rows are those that were known at that instant, not the current ones.
    """

    def __init__(self, db: Database, *, zone: str = "Asia/Shanghai") -> None:
        self._db = db
        self._zone = ZoneInfo(zone)
        self._shapes = shapes_of(self._zone)

    def import_file(self, path: Path, *, by: str, known_from: datetime) -> ImportCount:
        """Take over a workbook (a sheet each table) or a folder of CSV files (named by table); rows that it lacks stay as they are.

        Raises:
            BadInputError: every problem with file, sheet, row and column; nothing was written.
        """
        if path.suffix.lower() == sheets.CSV and not path.is_dir():
            raise BadInputError([Problem(str(path), "is a single table", "Give the folder of the CSV files, or a workbook with all tables.")])
        return self._take(sheets.read_sheets(path, NUMERIC.__contains__), by, known_from, str(path.name))

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
        own = {**{name: dtype for name, dtype in ASSIGNMENT.items() if name != "key_register_key"}, **dict.fromkeys(KEY_REGISTER, pl.String())}
        rows = self._db.frame(_current(models.ASSIGNMENT, list(own), as_of), own)
        keys = self.names().rename({"register_key": "key_register_key", "meter": KEY_REGISTER[0], "register": KEY_REGISTER[1]})
        return rows.join(keys, on=["enterprise", *KEY_REGISTER], how="left").select(ASSIGNMENT.names()).sort(ASSIGNMENT.names())

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
        own = {name: DTYPES.get(name, pl.String()) for name in shape.fields if name != "withdrawn"}
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
        """Current parks: park, region, grid_region (of CO2 factors; null: the national one), name_zh, name_en."""
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
        columns = {name: INSTANT if name.startswith("known") else DTYPES.get(name, pl.String()) for name in names}
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
        columns = {column: DTYPES.get(column, pl.String()) for column in shape.fields if column != "withdrawn"}
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
            change = Change(self._shapes, self._current_rows(session), problems)
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

    def _write(self, session: Session, change: Change, by: str, known_from: datetime) -> ImportCount:
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
                    | ({"register_key": keys[register_of(row)]} if name in _OF_REGISTER else {})
                    for row in opened
                ])
            count = replace(
                count, added=count.added + len(change.added[name]), changed=count.changed + len(change.changed[name]),
                unchanged=count.unchanged + change.unchanged[name], withdrawn=count.withdrawn + len(change.withdrawn[name]),
            )
        return count

    def _register_keys(self, session: Session, change: Change) -> dict[Key, int]:
        table = models.REGISTER_KEY
        columns = [table.c[name] for name in ("enterprise", "meter", "register")]
        keys = {tuple(row[1:]): row[0] for row in session.execute(select(table.c.register_key, *columns))}
        last = session.execute(select(func.coalesce(func.max(table.c.register_key), 0))).scalar_one()
        # In the order of names, so that the same file gives the same keys everywhere.
        fresh = sorted({register_of(change.after["register"][key]) for key in change.added["register"]} - keys.keys())
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


def _key_text(key: Key) -> str:
    return "/".join("" if part is None else part.isoformat() if isinstance(part, datetime) else str(part) for part in key)


def _current(table: Table, columns: Iterable[str], as_of: datetime | None = None) -> Select[Any]:
    return select(*(table.c[name] for name in columns)).where(*_known(table, as_of))


def _known(table: Table, as_of: datetime | None) -> tuple[ColumnElement[bool], ...]:
    """The versions that are current, or were so at an instant (that at which one became known included)."""
    if as_of is None:
        return (table.c.known_to.is_(None),)
    return table.c.known_from <= as_of, or_(table.c.known_to.is_(None), table.c.known_to > as_of)
