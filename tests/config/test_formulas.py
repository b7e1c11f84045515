"""The language of formulas: what it comes to, and what it refuses."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.formulas import ATMOSPHERE_KPA, DEEPEST, FEEDWATER_KJ_PER_KG, LONGEST, STANDARD_K, T_0_K, Fault, Term, terms

KNOWN = [
    ("E", "power", "kWh", "cumulative"), ("F", "power", "MW", "rate"), ("S", "flow", "t/h", "rate"), ("S", "total", "t", "cumulative"),
    ("S", "p", "MPa_gauge", "state"), ("S", "p_abs", "MPa_abs", "state"), ("S", "t", "degC", "state"),
    ("G", "volume", "m3_actual", "cumulative"), ("G", "standard", "Nm3", "cumulative"), ("O", "volume", "L", "cumulative"),
    ("0001", "main", "kWh", "interval"),
    ("W", "main", "m3", "cumulative"), ("锅炉", "总量", "t", "cumulative"), ("a.b", "c", "kWh", "cumulative"), ("a", "b.c", "kWh", "cumulative"),
]


def row(meter: str, register: str, unit: str, kind: str, formula: str | None = None, **more: Any) -> dict[str, Any]:
    return {"enterprise": "X", "meter": meter, "register": register, "unit": unit, "kind": kind, "formula": formula, **more}


def read(formula: str | None, unit: str = "GJ", *more: dict[str, Any], **own: Any) -> tuple[list[Term], list[Fault]]:
    return terms([row("D", "main", unit, "derived", formula, **own), *(row(*one) for one in KNOWN), *more])


def term(formula: str, unit: str = "GJ") -> Term:
    (found,), faults = read(formula, unit)
    assert not faults
    return found


def told(formula: str | None, unit: str = "GJ", *more: dict[str, Any], **own: Any) -> str:
    found, faults = read(formula, unit, *more, **own)
    assert not [one for one in found if one.row == 0]
    return "; ".join(f"{one.column}: {one.what}. {one.remedy}" for one in faults if one.row == 0)


@pytest.mark.parametrize(
    ("formula", "unit", "factors"),
    [
        ("E.power", "kWh", {"E": 1.0}), ("E.power", "GJ", {"E": 0.0036}), ("sum(E.power, F.power)", "MWh", {"E": 0.001, "F": 1.0}),
        ("difference(F.power, E.power, 0001.main)", "kWh", {"F": 1000.0, "E": -1.0, "0001": -1.0}),
        ("0.5 * E.power", "kWh", {"E": 0.5}), ("E.power * 0.5", "kWh", {"E": 0.5}), ("E.power / 4 * 2", "kWh", {"E": 0.5}),
        ("-1*difference(E.power, 2e0*F.power)", "kWh", {"E": -1.0, "F": 2000.0}), ("sum( E.power )", "kWh", {"E": 1.0}),
        ("mass(O.volume, density_kg_per_l=0.84)", "t", {"O": 0.00084}), ("mass(O.volume, 0.84)", "kg", {"O": 0.84}),
        ("dry(S.flow, moisture_ratio=0.1)", "t", {"S": 0.9}), ('sum("锅炉.总量", 锅炉.总量)', "t", {"锅炉": 1.0}),
        ("dry(mass(W.main, 1.5), 0.04)", "t", {"W": 1.44}),
    ],
)
def test_a_formula_comes_to_registers_with_factors(formula: str, unit: str, factors: dict[str, float]) -> None:
    found, faults = read(formula, unit)
    assert not faults
    assert {one.register[1]: one.factor for one in found} == pytest.approx(factors)
    assert {one.register[1] for one in found} == set(factors)


def test_steam_has_the_state_that_the_units_of_its_registers_declare() -> None:
    superheated = term("steam_heat(S.flow, S.p, S.t)")
    assert (superheated.function, superheated.factor, superheated.register) == ("steam_heat", 0.001, ("X", "S", "flow"))
    assert (superheated.pressure, superheated.temperature, superheated.dryness) == (("X", "S", "p"), ("X", "S", "t"), None)
    assert (superheated.pressure_to_kpa, superheated.pressure_base_kpa) == (1000.0, ATMOSPHERE_KPA)
    assert superheated.less_kj_per_kg == FEEDWATER_KJ_PER_KG == 83.74
    saturated = term("steam_heat(S.total, S.p_abs, dryness=0.97, feedwater_kj_per_kg=0)", "kWh")
    assert (saturated.temperature, saturated.dryness, saturated.pressure_base_kpa, saturated.less_kj_per_kg) == (None, 0.97, 0.0, 0.0)
    assert term("steam_heat(S.flow, S.p, S.t, atmosphere_kpa=90)").pressure_base_kpa == 90.0


@pytest.mark.parametrize(("unit", "kelvin"), [("Nm3", 273.15), ("10^4 Nm3", 273.15), ("Sm3", 293.15)])
def test_the_standard_temperature_of_gas_is_that_of_the_declared_unit(unit: str, kelvin: float) -> None:
    gas = term("gas_standard(G.volume, S.p, S.t, z=0.998)", unit)
    assert (gas.function, gas.standard_k, gas.z) == ("gas_standard", kelvin, 0.998)
    assert gas.factor == (1e-4 if unit.startswith("10") else 1.0)
    assert term("0.5 * gas_standard(G.volume, S.p, S.t, 0.998)", unit).factor == gas.factor / 2
    assert STANDARD_K["volume at 0 degC"] == T_0_K


@pytest.mark.parametrize(
    ("formula", "unit", "said"),
    [
        (None, "GJ", "formula: it is empty"), ("", "GJ", "formula: it is empty"), ("E.power", "pint", "unit: 'pint' is no known unit"),
        ("E.power", "t", "E.power measures energy, but mass is needed here"), ("S.flow", "GJ", "use steam_heat"),
        ("G.volume", "Nm3", "Convert it with gas_standard"), ("G.standard", "Sm3", "measures volume at 0 degC, but volume at 20 degC is needed"),
        ("gas_standard(G.volume, S.p, S.t)", "m3", "gas_standard gives Nm3 (0 degC) or Sm3 (20 degC)"),
        ("gas_standard(W.main, S.p, S.t)", "Nm3", "as the meter counted it has the unit m3_actual"),
        ("gas_standard(G.volume, S.t, S.t)", "Nm3", "S.t is of kind state in degC, no pressure"),
        ("gas_standard(G.volume, S.p, E.power)", "Nm3", "E.power is of kind cumulative in kWh, no temperature"),
        ("gas_standard(G.volume, 4, S.t)", "Nm3", "the pressure is no register"), ("gas_standard(G.volume, S.p)", "Nm3", "has 2 arguments"),
        ("steam_heat(S.flow, S.p)", "GJ", "neither a temperature nor a dryness"),
        ("steam_heat(S.flow, S.p, S.t, dryness=1)", "GJ", "both a temperature and a dryness"),
        ("steam_heat(S.flow, S.p, S.t)", "t", "steam_heat gives energy, but mass is needed"),
        ("steam_heat(E.power, S.p, S.t)", "GJ", "E.power measures energy, but mass is needed"),
        ("steam_heat(S.flow, S.p, dryness=1.01)", "GJ", "dryness is no number within its bounds. Write a number from 0 to 1"),
        ("mass(O.volume)", "t", "mass lacks density_kg_per_l"), ("mass(O.volume, E.power)", "t", "mass has 2 arguments"),
        ("mass(O.volume, density_kg_per_l=E.power)", "t", "density_kg_per_l is no number"),
        ("mass(O.volume, density=0.8)", "t", "mass has no parameter 'density'"),
        ("mass(O.volume, density_kg_per_l=1, density_kg_per_l=2)", "t", "a parameter of mass is given twice"),
        ("S.p", "GJ", "S.p is a state"), ("Q.main", "GJ", "there is no register Q.main"), ("main", "GJ", "there is no register main"),
        ("a.b.c", "kWh", "a.b.c means several registers"), ("sine(E.power)", "kWh", "'sine' is no function. Use one of steam_heat, gas_standard"),
        ("difference(E.power)", "kWh", "difference has 1 arguments"), ("5", "kWh", "a number stands where a consumption is expected"),
        ("sum(E.power, 5)", "kWh", "a number stands where"), ("E.power * E.power", "kWh", "only a number may scale"),
        ("2 / E.power", "kWh", "only a number"),
        ("E.power / 0", "kWh", "none may divide by 0"), ("2 * 3", "kWh", "two numbers"), ("E.power * 1e400", "kWh", "too large or too small"),
        ("sum(E.power", "kWh", "'the end' stands where a comma or a closing bracket is expected"), ("sum()", "kWh", "')' stands where"),
        ("sum(E.power))", "kWh", "')' stands where the end is expected"), ("E.power E.power", "kWh", "stands where the end"),
        ('"E.power', "kWh", "not closed"), ("mass(density_kg_per_l=1, O.volume)", "t", "stands where a parameter"),
        ("__import__('os').system('true')", "kWh", "'.system' stands where the end is expected"),
        ("sum(" * 400, "kWh", f"more than {LONGEST} characters"),
        ("sum(" * (DEEPEST + 1) + "E.power" + ")" * (DEEPEST + 1), "kWh", "brackets stand in each other"),
    ],
)
def test_what_is_wrong_with_a_formula_is_said_with_what_would_be_right(formula: str | None, unit: str, said: str) -> None:
    assert said in told(formula, unit)


def test_the_deepest_and_the_longest_formula_still_count() -> None:
    assert term("sum(" * DEEPEST + "E.power" + ")" * DEEPEST, "kWh").factor == 1.0
    padded = "E.power".ljust(LONGEST)
    assert term(padded, "kWh").factor == 1.0
    assert "characters" in told(padded + " ", "kWh")


def test_all_faults_of_all_formulas_are_told_at_once() -> None:
    both = [row("A", "main", "kWh", "derived", "sum(Q.main, nothing(E.power), S.flow)"), row("B", "main", "t", "derived", "mass(O.volume, 99)")]
    found, faults = terms([*both, *(row(*one) for one in KNOWN)])
    assert not found
    assert [(one.row, one.column) for one in faults] == [(0, "formula")] * 3 + [(1, "formula")]


def test_a_formula_that_comes_back_to_its_own_register_is_refused() -> None:
    chain = [row("A", "main", "kWh", "derived", "sum(B.main, E.power)"), row("B", "main", "kWh", "derived", "difference(C.main, E.power)")]
    own, other = row("C", "main", "kWh", "derived", "A.main"), row("C", "main", "kWh", "derived", "E.power")
    known = [row(*one) for one in KNOWN]
    assert [(one.row, one.what) for one in terms([*chain, own, *known])[1]] == [
        (0, "it comes back to its own register A.main"), (1, "it comes back to its own register B.main"),
        (2, "it comes back to its own register C.main"),
    ]
    assert not terms([*chain, other, *known])[1]
    assert "comes back to its own register D.main" in terms([row("D", "main", "kWh", "derived", "0.5 * D.main"), *known])[1][0].what


def test_what_concerns_readings_has_no_place_at_a_derived_register() -> None:
    assert read("E.power", "kWh", multiplier=1.0, modulus=None)[1] == []
    assert told("E.power", "kWh", multiplier=2.0, modulus=9.0, error_values="1") == (
        "error_values: a derived register has no readings to which it could apply. Leave it empty; "
        "modulus: a derived register has no readings to which it could apply. Leave it empty; "
        "multiplier: a derived register has no readings to which it could apply. Scale inside the formula: 0.5 * M1.main"
    )
    other = terms([row("E", "power", "kWh", "cumulative", "E.power")])[1]
    assert [(one.column, one.what) for one in other] == [("formula", "a register of kind cumulative has readings and no formula")]


def test_a_register_whose_rows_differ_in_unit_cannot_be_used() -> None:
    changed = row("E", "power", "MWh", "cumulative")
    assert "E.power changes its unit or kind" in told("E.power", "kWh", changed)
    assert "differ in unit or kind" in told("E.power", "kWh", row("D", "main", "MWh", "derived", "E.power"))


def test_a_register_of_another_enterprise_is_not_reached() -> None:
    assert "there is no register Z.main" in told("Z.main", "kWh", {**row("Z", "main", "kWh", "cumulative"), "enterprise": "Y"})


@given(st.text(alphabet="sum(E.power,0*/=\" diff", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    found, faults = read(text, "kWh")
    assert bool(found) != bool(faults)
    assert all(math.isfinite(one.factor) for one in found)
