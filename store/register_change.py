"""What an import would make of the register, and what stands against it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from config import data_rules, events, formulas
from config.errors import Problem
from config.units import units_of
from store.register_shapes import KEY_REGISTER, PRODUCED, Key, Shape, Values
from store.sheets import Row, Sheet

_RATE_UNITS: Final = units_of("rate")
_STATE_UNITS: Final = units_of("state")
_NO_START, _NO_END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_SHARE_TOLERANCE: Final = 1e-9
_IN_ORDER: Final = (
    ("register", "valid_from", "valid_to"), ("assignment", "valid_from", "valid_to"), ("register", "range_low", "range_high"),
    ("meter", "calibrated_on", "calibration_due"), ("holding", "valid_from", "valid_to"), ("rule", "valid_from", "valid_to"),
    ("balance", "valid_from", "valid_to"),
    ("stop", "valid_from", "valid_to"), ("designation", "valid_from", "valid_to"), ("medium_use", "valid_from", "valid_to"),
)


class Change:
    """The register before and after an import, and what stands against it."""

    def __init__(self, shapes: Mapping[str, Shape], before: Mapping[str, dict[Key, dict[str, Any]]], problems: list[Problem]) -> None:
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
            where, own = self._where("event", key), [register for _, register in rows.get(register_of(row), [])]
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
            where, given = self._where("assignment", key), [name for name in KEY_REGISTER if row[name] is not None]
            if row["flow"] == PRODUCED and row["product"] is None:
                self._tell(f"{where} column product", "is empty", "Name the product that the register counts.")
            if row["allocation"] == "output" and row["product"] is None:
                self._tell(f"{where} column product", "is empty", "Name the product whose output is the key.")
            if row["allocation"] == "register" and len(given) < len(KEY_REGISTER):
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


def register_of(row: Values) -> Key:
    """Enterprise, meter and register of a row."""
    return (row["enterprise"], row["meter"], row["register"])
