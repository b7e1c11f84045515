"""Formulas of derived registers: what may be written in one, and what it comes to. Numbers, registers and six functions, nothing else.

    steam_heat(M1.flow, M1.pressure, M1.temperature)          energy of superheated steam
    steam_heat(M1.flow, M1.pressure, dryness=0.97)            energy of saturated steam
    gas_standard(M2.volume, M2.pressure, M2.temperature, z=0.998)
    mass(M3.volume, density_kg_per_l=0.84)
    dry(M4.coke, moisture_ratio=0.045)
    sum(A.main, B.main, 0.5 * C.main)
    difference(A.main, B.main, C.main)                        the first less all others

A register is `meter.register` of the same enterprise; a name with other characters stands in double quotes. Arguments may be formulas
themselves, and a formula may name a derived register, but not in a circle. `*` and `/` scale by a number. Units are converted; what a
unit cannot become is refused. A parameter that changes with time (a density, a moisture) is a new row of the register, with its dates.

Every formula comes to a sum of terms: number x consumption of a register [x a factor of the steam's or gas's state].
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from config.units import dimension, quantity_unit, to_base

Key = tuple[str | None, str, str]  # enterprise, meter, register

LONGEST: Final = 500  # characters of a formula
DEEPEST: Final = 10  # brackets in brackets
LEAST_NUMBER: Final = 1e-12
GREATEST_NUMBER: Final = 1e12
ATMOSPHERE_KPA: Final = 101.325  # ISO 2533: pressure of the standard atmosphere at sea level
FEEDWATER_KJ_PER_KG: Final = 83.74  # decisions.md 13: water of 20 degC
T_0_K: Final = 273.15
STANDARD_K: Final = {"volume at 0 degC": T_0_K, "volume at 20 degC": T_0_K + 20}
ABSENT: Final = ("modulus", "range_low", "range_high", "max_rate_per_h", "resolution", "error_values")  # these concern readings


class Fault(NamedTuple):
    """What is wrong with a row of the registers; `row` is its place among the rows given."""

    row: int
    column: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a formula: `factor` x consumption of `register` in its own unit [x the factor of its state]."""

    row: int  # place of the definition among the rows given
    factor: float  # to the definition's unit
    register: Key
    function: str | None = None  # steam_heat, gas_standard
    pressure: Key | None = None
    pressure_to_kpa: float = 1.0
    pressure_base_kpa: float = 0.0  # to be added: the air's pressure, for a gauge pressure
    temperature: Key | None = None
    dryness: float | None = None
    less_kj_per_kg: float = 0.0  # enthalpy of the feedwater
    z: float = 1.0
    standard_k: float = T_0_K


class _Parameter(NamedTuple):
    least: float
    most: float
    default: float | None = None  # None: must be given, or may be absent where `optional`
    optional: bool = False


@dataclass(frozen=True, slots=True)
class _Function:
    arguments: tuple[str, ...]
    needed: int
    parameters: Mapping[str, _Parameter] = field(default_factory=dict)
    any_number: bool = False


_AIR: Final = _Parameter(30.0, 120.0, ATMOSPHERE_KPA)
FUNCTIONS: Final[Mapping[str, _Function]] = {
    "steam_heat": _Function(("flow", "pressure", "temperature"), 2, {
        "dryness": _Parameter(0.0, 1.0, optional=True), "feedwater_kj_per_kg": _Parameter(0.0, 2000.0, FEEDWATER_KJ_PER_KG), "atmosphere_kpa": _AIR,
    }),
    "gas_standard": _Function(("volume", "pressure", "temperature"), 3, {"z": _Parameter(0.1, 3.0, 1.0), "atmosphere_kpa": _AIR}),
    "mass": _Function(("volume",), 1, {"density_kg_per_l": _Parameter(0.01, 25.0)}),
    "dry": _Function(("mass",), 1, {"moisture_ratio": _Parameter(0.0, 0.99)}),
    "sum": _Function(("part",), 1, any_number=True),
    "difference": _Function(("whole", "part"), 2, any_number=True),
}


# --- the text ---------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class _Number:
    value: float


@dataclass(frozen=True, slots=True)
class _Name:
    text: str


@dataclass(frozen=True, slots=True)
class _Scaled:
    factor: float
    of: "_Node"


@dataclass(frozen=True, slots=True)
class _Call:
    function: str
    arguments: tuple["_Node", ...]
    parameters: tuple[tuple[str, "_Node"], ...]


_Node = _Number | _Name | _Scaled | _Call
_TOKEN: Final = re.compile(r'\s*(?:(?P<mark>[()=,*/])|(?P<word>[^\s()=,*/"]+)|"(?P<quoted>[^"]+)")')
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


class _WrongError(Exception):
    """One thing that is wrong with a formula: what, and what would be right."""


class _Reader:
    """Reads one formula by recursive descent; nothing of it is ever run."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise _WrongError(f"it has more than {LONGEST} characters", "Give a part of it to a derived register of its own")
        self._tokens = list(self._cut(text))
        self._at = 0

    @staticmethod
    def _cut(text: str) -> Iterator[tuple[str, str]]:
        at, text = 0, text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise _WrongError(f"the quotation mark at character {at + 1} is not closed", 'Write a name as "meter.register"')
            at = found.end()
            yield str(found.lastgroup), str(found[str(found.lastgroup)])
        yield "end", "the end"

    def whole(self) -> _Node:
        node = self._product(0)
        if self._tokens[self._at][0] != "end":
            raise self._unexpected("the end")
        return node

    def _unexpected(self, instead_of: str) -> _WrongError:
        return _WrongError(f"{self._tokens[self._at][1]!r} stands where {instead_of} is expected", "Write for example sum(M1.main, M2.main)")

    def _takes(self, mark: str) -> bool:
        taken = self._tokens[self._at] == ("mark", mark)
        self._at += taken
        return taken

    def _product(self, depth: int) -> _Node:
        node = self._single(depth)
        while (times := self._takes("*")) or self._takes("/"):
            other = self._single(depth)
            if isinstance(node, _Number) and isinstance(other, _Number):
                raise _WrongError("two numbers are multiplied or divided", "Write the one number that they come to")
            if isinstance(other, _Number) and (times or other.value):
                node = _Scaled(other.value if times else 1 / other.value, node)
            elif isinstance(node, _Number) and times:
                node = _Scaled(node.value, other)
            else:
                raise _WrongError("only a number may scale, and none may divide by 0", "Write for example 0.5 * M1.main or M1.main / 2")
        return node

    def _single(self, depth: int) -> _Node:
        if depth > DEEPEST:
            raise _WrongError(f"more than {DEEPEST} brackets stand in each other", "Give a part of it to a derived register of its own")
        group, text = self._tokens[self._at]
        if group not in {"word", "quoted"}:
            raise self._unexpected("a register, a number or a function")
        self._at += 1
        if group == "quoted":
            return _Name(text)
        if self._takes("("):
            return self._call(text, depth + 1)
        if not _NUMBER.fullmatch(text):
            return _Name(text)
        if not LEAST_NUMBER <= abs(float(text)) <= GREATEST_NUMBER and float(text):
            raise _WrongError(f"the number {text} is too large or too small", f"Write one from {LEAST_NUMBER:g} to {GREATEST_NUMBER:g}, or 0")
        return _Number(float(text))

    def _call(self, function: str, depth: int) -> _Call:
        arguments: list[_Node] = []
        parameters: list[tuple[str, _Node]] = []
        while True:
            name = self._tokens[self._at]
            if name[0] == "word" and self._tokens[self._at + 1] == ("mark", "="):
                self._at += 2
                parameters.append((name[1], self._product(depth)))
            elif parameters:
                raise self._unexpected("a parameter such as z=0.998")
            else:
                arguments.append(self._product(depth))
            if self._takes(")"):
                return _Call(function, tuple(arguments), tuple(parameters))
            if not self._takes(","):
                raise self._unexpected("a comma or a closing bracket")


# --- the meaning ------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class _Known:
    """A register as formulas see it."""

    kind: str
    unit: str | None  # of its quantities, or of its state
    changes: bool = False  # its rows differ in that


class _Meaning:
    """The terms of one definition, and everything that is wrong with it."""

    def __init__(self, row: int, enterprise: str | None, known: Mapping[Key, _Known]) -> None:
        self._row, self._enterprise, self._known = row, enterprise, known
        self.wrong: list[tuple[str, str]] = []

    def of(self, node: _Node, wanted: str) -> list[Term]:
        """The terms of a node whose result is wanted in the base unit of a dimension."""
        match node:
            case _Number():
                self._tell("a number stands where a consumption is expected", "Name a register, or scale one by the number")
            case _Scaled():
                return _times(self.of(node.of, wanted), node.factor)
            case _Name():
                found = self._find(node.text)
                if found is None:
                    return []
                key, register = found
                measures = dimension(register.unit) if register.unit else None
                if register.kind == "state":
                    self._tell(f"{node.text} is a state ({register.unit}), no consumption", "Name a register that counts")
                elif measures != wanted:
                    self._tell(f"{node.text} measures {measures or 'nothing with a unit'}, but {wanted} is needed here", self._right_for(wanted))
                else:
                    return [Term(self._row, to_base(str(register.unit)), key)]
            case _Call():
                return self._call(node, wanted)
        return []

    def _call(self, node: _Call, wanted: str) -> list[Term]:
        function = FUNCTIONS.get(node.function)
        if function is None:
            self._tell(f"{node.function!r} is no function", f"Use one of {', '.join(FUNCTIONS)}")
            return []
        arguments, given = list(node.arguments), dict(node.parameters)
        if len(given) < len(node.parameters):
            self._tell(f"a parameter of {node.function} is given twice", "Give it once")
        least, most = function.needed, None if function.any_number else len(function.arguments)
        positional = [name for name, parameter in function.parameters.items() if name not in given and not parameter.optional]
        while most is not None and len(arguments) > least and isinstance(arguments[-1], _Number) and positional:
            given[positional.pop(0)] = arguments.pop()  # mass(M3.volume, 0.84)
        if len(arguments) < least or (most is not None and len(arguments) > most):
            self._tell(f"{node.function} has {len(arguments)} arguments", f"Write {_signature(node.function, function)}")
            return []
        values = self._parameters(node.function, function, given)
        match node.function:
            case "sum":
                return [term for part in arguments for term in self.of(part, wanted)]
            case "difference":
                first, *others = arguments
                return self.of(first, wanted) + [term for part in others for term in _times(self.of(part, wanted), -1.0)]
            case "mass":
                self._gives("mass", "mass", wanted)
                return _times(self.of(arguments[0], "volume"), 1000.0 * (values["density_kg_per_l"] or 1.0))
            case "dry":
                self._gives("dry", "mass", wanted)
                return _times(self.of(arguments[0], "mass"), 1.0 - (values["moisture_ratio"] or 0.0))
            case "steam_heat":
                self._gives("steam_heat", "energy", wanted)
                return self._steam(arguments, values)
            case _:
                if wanted not in STANDARD_K:
                    self._tell(f"gas_standard gives Nm3 (0 degC) or Sm3 (20 degC), but {wanted} is needed here", "Give the register unit Nm3 or Sm3")
                state = self._state(arguments[1:], values)
                basis = [replace(term, z=values["z"] or 1.0, standard_k=STANDARD_K.get(wanted, T_0_K)) for term in state]
                return [replace(term, row=self._row, factor=term.factor * part.factor, register=part.register, function="gas_standard")
                        for part in self.of(arguments[0], "volume at line conditions") for term in basis]

    def _steam(self, arguments: Sequence[_Node], values: Mapping[str, float | None]) -> list[Term]:
        dryness = values["dryness"]
        if (len(arguments) == 2) == (dryness is None):
            self._tell(
                "steam_heat has " + ("neither a temperature nor" if dryness is None else "both a temperature and") + " a dryness",
                "Superheated steam has a temperature, saturated steam a dryness (1 less its wetness): steam_heat(flow, pressure, dryness=0.97)",
            )
            return []
        state = self._state(arguments[1:], values)
        return [
            replace(term, factor=part.factor, register=part.register, function="steam_heat", dryness=dryness,
                    less_kj_per_kg=FEEDWATER_KJ_PER_KG if values["feedwater_kj_per_kg"] is None else values["feedwater_kj_per_kg"])
            for part in self.of(arguments[0], "mass") for term in state
        ]

    def _state(self, nodes: Sequence[_Node], values: Mapping[str, float | None]) -> list[Term]:
        """A term that holds only the state: pressure, and temperature where there is one; none where something is wrong with them."""
        pressure = self._state_register(nodes[0], "pressure", "absolute pressure", "gauge pressure")
        temperature = self._state_register(nodes[1], "temperature", "temperature") if len(nodes) > 1 else None
        if pressure is None or (len(nodes) > 1 and temperature is None):
            return []
        key, unit = pressure
        base = values["atmosphere_kpa"] or ATMOSPHERE_KPA
        return [Term(
            self._row, 1.0, key, pressure=key, pressure_to_kpa=to_base(unit), pressure_base_kpa=base if dimension(unit) == "gauge pressure" else 0.0,
            temperature=temperature[0] if temperature else None,
        )]

    def _state_register(self, node: _Node, what: str, *dimensions: str) -> tuple[Key, str] | None:
        if not isinstance(node, _Name):
            self._tell(f"the {what} is no register", f"Name the register of kind state that shows the {what}")
            return None
        found = self._find(node.text)
        if found is None:
            return None
        key, register = found
        if register.kind != "state" or dimension(str(register.unit)) not in dimensions:
            right = "degC" if what == "temperature" else "kPa_abs, MPa_abs or bar_abs, or kPa_gauge, MPa_gauge or bar_gauge above the air's pressure"
            self._tell(f"{node.text} is of kind {register.kind} in {register.unit}, no {what}", f"A {what} has kind state and unit {right}")
            return None
        return key, str(register.unit)

    def _parameters(self, name: str, function: _Function, given: Mapping[str, _Node]) -> dict[str, float | None]:
        values: dict[str, float | None] = {}
        for one in given.keys() - function.parameters.keys():
            self._tell(f"{name} has no parameter {one!r}", f"Write {_signature(name, function)}")
        for one, parameter in function.parameters.items():
            node = given.get(one)
            values[one] = parameter.default
            if node is None:
                if parameter.default is None and not parameter.optional:
                    self._tell(f"{name} lacks {one}", f"Write {_signature(name, function)}")
            elif not isinstance(node, _Number) or not parameter.least <= node.value <= parameter.most:
                self._tell(f"{one} is no number within its bounds", f"Write a number from {parameter.least:g} to {parameter.most:g}")
            else:
                values[one] = node.value
        return values

    def _find(self, text: str) -> tuple[Key, _Known] | None:
        """The register that a name means; a name with several dots may be cut at any of them."""
        parts = text.split(".")
        keys = [(self._enterprise, ".".join(parts[:cut]), ".".join(parts[cut:])) for cut in range(1, len(parts))]
        found = [key for key in keys if key in self._known]
        if len(found) != 1:
            what = f"there is no register {text}" if not found else f"{text} means several registers"
            self._tell(what, "Name a register of the same enterprise as meter.register")
            return None
        if self._known[found[0]].changes:
            self._tell(f"{text} changes its unit or kind", "Give what came after the change a register of its own")
            return None
        return found[0], self._known[found[0]]

    def _gives(self, function: str, gives: str, wanted: str) -> None:
        if gives != wanted:
            self._tell(f"{function} gives {gives}, but {wanted} is needed here", self._right_for(wanted))

    def _right_for(self, wanted: str) -> str:
        return {
            "volume at line conditions": "A gas volume as the meter counted it has the unit m3_actual",
            "volume at 0 degC": "Convert it with gas_standard, or name a register in Nm3",
            "volume at 20 degC": "Convert it with gas_standard, or name a register in Sm3",
            "mass": "Name a register in t or t/h, or convert litres with mass", "energy": "Name a register in kWh, GJ or kW, or use steam_heat",
        }.get(wanted, "Name a register whose unit measures that, or mend the unit of the derived register")

    def _tell(self, what: str, remedy: str) -> None:
        self.wrong.append((what, remedy))


def terms(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Term], list[Fault]]:
    """What the formulas of some registers come to, and everything that is wrong with them.

    Args:
        rows: register rows with enterprise, meter, register, unit, kind and formula; those without a formula may be referred to.

    Returns:
        The terms of the definitions that hold, in the order of the rows; and the faults, in that order too.

    >>> flow = {"enterprise": None, "meter": "M1", "register": "flow", "unit": "t/h", "kind": "rate", "formula": None}
    >>> both = {**flow, "meter": "ALL", "register": "main", "unit": "kg", "kind": "derived", "formula": "sum(M1.flow)"}
    >>> [(term.factor, term.register) for term in terms([flow, both])[0]]
    [(1000.0, (None, 'M1', 'flow'))]
    >>> terms([flow, {**both, "unit": "GJ"}])[1][0].what
    'M1.flow measures mass, but energy is needed here'
    """
    known: dict[Key, _Known] = {}
    for row in rows:
        register = _Known(row["kind"], row["unit"] and quantity_unit(row["kind"], row["unit"]))
        other = known.setdefault(_key(row), register)
        if (other.kind, other.unit) != (register.kind, register.unit):
            known[_key(row)] = replace(other, changes=True)
    found: list[Term] = []
    faults: list[Fault] = []
    for place, row in enumerate(rows):
        if row["kind"] != "derived":
            if row["formula"] is not None:
                what = f"a register of kind {row['kind']} has readings and no formula"
                faults.append(Fault(place, "formula", what, "Leave it empty, or write kind derived"))
            continue
        faults += _needless(place, row)
        if known[_key(row)].changes:
            faults.append(Fault(place, "unit", "the rows of this register differ in unit or kind", "Give what came after a register of its own"))
        if not row["formula"]:
            faults.append(Fault(place, "formula", "it is empty", "A derived register needs a formula such as sum(M1.main, M2.main)"))
            continue
        wanted = dimension(row["unit"]) if row["unit"] else None
        if wanted is None:
            remedy = "Give the unit in which the result is counted, such as GJ, Nm3, t or kWh"
            faults.append(Fault(place, "unit", f"{row['unit']!r} is no known unit", remedy))
            continue
        meaning = _Meaning(place, row["enterprise"], known)
        mine: list[Term] = []
        try:
            mine = meaning.of(_Reader(row["formula"]).whole(), wanted)
        except _WrongError as wrong:
            meaning.wrong.append((str(wrong.args[0]), str(wrong.args[1])))
        if meaning.wrong:
            faults += [Fault(place, "formula", what, remedy) for what, remedy in dict.fromkeys(meaning.wrong)]
        else:
            found += _times(mine, 1 / to_base(row["unit"]))
    faults = sorted(faults + _circles(rows, found))
    faulty = {fault.row for fault in faults}
    return [term for term in found if term.row not in faulty], faults


def _key(row: Mapping[str, Any]) -> Key:
    return row["enterprise"], row["meter"], row["register"]


def _times(some: Sequence[Term], factor: float) -> list[Term]:
    return [replace(term, factor=term.factor * factor) for term in some]


def _signature(name: str, function: _Function) -> str:
    arguments = [*function.arguments, "..."] if function.any_number else list(function.arguments)
    return f"{name}({', '.join([*arguments, *(f'{one}=number' for one in function.parameters)])})"


def _needless(place: int, row: Mapping[str, Any]) -> Iterator[Fault]:
    """What a row says about readings, of which a derived register has none."""
    for column in ABSENT:
        if row.get(column) is not None:
            yield Fault(place, column, "a derived register has no readings to which it could apply", "Leave it empty")
    if row.get("multiplier") not in {None, 1.0}:
        yield Fault(place, "multiplier", "a derived register has no readings to which it could apply", "Scale inside the formula: 0.5 * M1.main")


def _circles(rows: Sequence[Mapping[str, Any]], found: Sequence[Term]) -> list[Fault]:
    """The definitions that come back to their own register."""
    uses: dict[Key, set[Key]] = {}
    for term in found:
        uses.setdefault(_key(rows[term.row]), set()).add(term.register)
    faults = []
    for place in sorted({term.row for term in found}):
        start = _key(rows[place])
        reached: set[Key] = set()
        ahead = [start]
        while ahead:
            fresh = uses.get(ahead.pop(), set()) - reached
            reached |= fresh
            ahead += fresh
        if start in reached:
            what = f"it comes back to its own register {'.'.join(start[1:])}"
            faults.append(Fault(place, "formula", what, "Let registers follow from each other in one direction only"))
    return faults
