"""What each `calc` command refuses: every problem of every file at once, by file, row and column with what would be right, and nothing written."""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from portal.cli.calc import app
from tests.portal.table_files import read, write


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)


class Wrong(NamedTuple):
    """A row that is right but for some cells, and what is told of it: of which column, and a piece of the sentence (several: of each)."""

    cells: dict[str, str]
    told: dict[str, str]


class File(NamedTuple):
    right: dict[str, str]
    wrong: list[Wrong]


USED = {"enterprise": "E", "period": "2025", "carrier": "raw_coal", "quantity": "1", "unit": "t"}
RATE = {"carrier": "electricity", "basis": "equivalent", "unit": "kWh", "kgce_per_unit": "0.3", "valid_from": "2020-01-01", "source": "rate"}
MADE = {
    "enterprise": "E", "product": "calcium_carbide", "period": "2025", "energy": "900", "energy_unit": "tce", "output": "1000", "output_unit": "t",
}
COKE = {
    "enterprise": "E", "product": "coke_stamp_charged", "period": "2027", "value": "150", "unit": "kgce/t", "mixed_gas_ratio": "0",
    "volatile_matter_ratio": "0.26", "coal_moisture_ratio": "0.105", "wet_quenching": "no", "oven_age_years": "10",
}
VALUED = {"enterprise": "E", "park": "P", "period": "2025", "value_added_10k_cny": "10", "price_basis": "current", "base_year": ""}
JUDGED = {
    "enterprise": "E", "product": "calcium_carbide", "period_start": "2025-01-01", "period_end": "2025-12-31", "actual": "900", "unit": "kgce/t",
    "level_1": "770", "level_2": "800", "level_3": "940", "output": "5", "output_unit": "t",
}
GOAL = {"subject": "P", "measure": "energy", "kind": "ceiling", "period": "2025", "target": "100"}
CHAPTERS: dict[str, dict[str, File]] = {
    "energy": {
        "--quantities": File(USED, [
            Wrong({"carrier": "raw_cola"}, {"carrier": "'raw_cola' is not known. Near it is raw_coal;"}),
            Wrong({"carrier": "Raw coal"}, {"carrier": "Near it is raw_coal;"}),
            Wrong({"carrier": "原煤"}, {"carrier": "Near it is raw_coal;"}),
            Wrong({"carrier": ""}, {"carrier": "the cell is empty"}),
            Wrong({"unit": "m3"}, {"unit": "m3 is no unit of raw_coal. Write a quantity in kg"}),
            Wrong({"unit": "KG"}, {"unit": "Write kg, or one of"}),
            Wrong({"unit": ""}, {"unit": "the cell is empty"}),
            Wrong({"quantity": "1,000"}, {"quantity": "Write a plain number"}),
            Wrong({"period": "2025-13"}, {"period": "Write a year (2026), a month"}),
            Wrong({"flow": "soldd"}, {"flow": "Write sold, or one of consumed,"}),
            Wrong({"lhv": "20"}, {"lhv_unit": "the cell is empty, and lhv is given. Write for example kJ/t"}),
            Wrong({"lhv": "20000", "lhv_unit": "MJ/kg"}, {"lhv_unit": "fuels have 0.2 to 150 MJ"}),
            Wrong({"renewable_ratio": "50"}, {"renewable_ratio": "Write a share between 0 and 1"}),
        ]),
        "--coefficients": File(RATE, [
            Wrong({"carrier": "raw_coal", "unit": "m3"}, {"unit": "raw_coal is not measured in m3. It is measured in g, kg, t"}),
            Wrong({"carrier": "heat", "unit": "t"}, {"unit": "It is measured in Wh, kWh"}),
            Wrong({"carrier": "water_tap", "unit": "m3"}, {"carrier": "water_tap carries no energy"}),
            Wrong({"basis": "calorific"}, {"kgce_per_unit": "It is 0.1228 by definition; if 0.3 was spent to make it, the basis is equivalent"}),
            Wrong({"valid_from": "2021-01-01", "kgce_per_unit": "0.1"}, {"kgce_per_unit": "0.1 kgce for one kWh is no equivalent value"}),
            Wrong({"valid_from": "2022-01-01", "kgce_per_unit": "300"}, {"kgce_per_unit": "more than ten times off"}),
            Wrong({"valid_from": "2023-02-30"}, {"valid_from": "Write a day such as"}),
            Wrong({"basis": "both"}, {"basis": "Write one of calorific, equivalent"}),
            Wrong({"valid_from": "2024-01-01", "valid_to": "2023-01-01"}, {"valid_to": "Leave it empty or write a later day"}),
        ]),
    },
    "balance": {"--quantities": File(USED, [
        Wrong({"carrier": "cokee"}, {"carrier": "Near it is coke;"}), Wrong({"unit": "GJ"}, {"unit": "GJ is no unit of raw_coal"}),
    ])},
    "quantities": {
        "--intervals": File({
            "meter": "M1", "start": "2025-01-01T00:00:00+08:00", "end": "2025-01-02T00:00:00+08:00", "quantity": "1", "unit": "kWh",
        }, [
            Wrong({"meter": "M2", "end": "2025-01-01T00:00:00+08:00"}, {"end": "is not after start"}),
            Wrong({"unit": "MWh"}, {"unit": "differs from the register's unit"}),
            Wrong({"meter": "M3", "unit": "kwh"}, {"unit": "Write kWh, or one of"}),
        ]),
        "--assignments": File({"enterprise": "E", "meter": "M1", "carrier": "electricity"}, [
            Wrong({"carrier": "electrcity"}, {"carrier": "Near it is electricity;"}),
            Wrong({"carrier": "raw_coal"}, {"carrier": "raw_coal is not measured in kWh, the unit of the register in quantities0"}),
            Wrong({"carrier": "water_tap"}, {"carrier": "water_tap is not measured in kWh"}),
            Wrong({"meter": "M4", "share_ratio": "1.2"}, {"share_ratio": "is above 1"}),
        ]),
        "--outputs": File({"enterprise": "E", "product": "lime", "period": "2025", "output": "0"}, [
            Wrong({"period": "2024", "output": "-1"}, {"output": "Write 0 or more"}),
        ]),
    },
    "intensity --by park": {
        "--energy": File({"enterprise": "E", "period": "2025", "calorific_tce": "1", "equivalent_tce": "2"}, [
            Wrong({"enterprise": "F", "equivalent_tce": "n/a"}, {"equivalent_tce": "Write a plain number"}),
        ]),
        "--figures": File(VALUED, [
            Wrong({"enterprise": "F", "price_basis": "constant", "base_year": "2020"}, {"price_basis": "Give both at the same prices"}),
            Wrong({"enterprise": "G", "park": ""}, {"park": "Write the park of the enterprise"}),
            Wrong({"enterprise": "I", "park": "Q", "value_added_10k_cny": "n/a"}, {"value_added_10k_cny": "Write a plain number"}),
            Wrong({"enterprise": "H", "output_value_10k_cny": "-5"}, {"output_value_10k_cny": "Write 0 or more"}),
        ]),
    },
    "limits": {
        "--products": File(MADE, [
            Wrong({"product": "calcium_carbid"}, {"product": "Near it is calcium_carbide;"}),
            Wrong({"product": "电石"}, {"product": "Near it is calcium_carbide;"}),
            Wrong({"indicator": "heat"}, {"indicator": "Write one of comprehensive_energy, furnace_electricity"}),
            Wrong({"energy_unit": "tec"}, {"energy_unit": "Give the figure in kgce/t"}),
            Wrong({"output_unit": ""}, {"output_unit": "the unit is empty. Give the figure in kgce/t"}),
            Wrong({"output": "-1000"}, {"output": "Write more than 0"}),
            Wrong({"output": "0"}, {"output": "Write more than 0 (output of the product; nothing made: leave the row out"}),
            Wrong({"value": "1800", "unit": "kgce/t"}, {"value": "1800 kgce/t is not 900 tce / 1000 t, which is 900 kgce/t"}),
            Wrong({"period_start": "2024-01-01"}, {"period_start": "is not that of the period 2025, which is 2025-01-01"}),
            Wrong({"period_end": "2025-06-30"}, {"period_end": "is not that of the period 2025, which is 2025-12-31"}),
            Wrong({"period": ""}, {"period": "Write a period, or both"}),
            Wrong({"basis": "equivalent"}, {"basis": "the figure is equivalent, and the limit is calorific"}),
            Wrong({"basis": "both"}, {"basis": "'both' is no basis. Give the figure on the calorific basis"}),
            Wrong({"plant_status": "old"}, {"plant_status": "Write one of existing, new"}),
            Wrong({"enterprise": "F"}, {"energy": "is not the calorific energy of the sum, which is 700 tce, but that on the other basis"}),
        ]),
        "--energy": File({"enterprise": "F", "product": "calcium_carbide", "period": "2025", "calorific_tce": "700", "equivalent_tce": "900"}, []),
    },
    "limits ": {"--products": File(COKE, [
        Wrong({"volatile_matter_ratio": "26"}, {"volatile_matter_ratio": "a share, not a percentage); the table has 0.25 to 0.32"}),
        Wrong({"wet_quenching": "half", "oven_age_years": "-1"}, {"wet_quenching": "Write no or yes", "oven_age_years": "a number of at least 0"}),
    ])},
    "price": {"--products": File({"scheme": "by_excess", "billing_period": "2025-03", "excess_ratio": "0.5"}, [
        Wrong({"scheme": "by_exces"}, {"scheme": "Near it are by_excess"}),
        Wrong({"scheme": "by_catalogue_class", "catalogue_class": "eliminate"}, {"catalogue_class": "Near it is eliminated; write one of"}),
        Wrong({"scheme": "tiered_aluminium", "actual": "13500", "unit": "kgce/t"}, {"unit": "Give the unit consumption in kWh/t"}),
        Wrong({"scheme": "tiered_aluminium", "actual": "0", "unit": "kWh/t"}, {"actual": "0 is no unit consumption"}),
        Wrong({"scheme": "tiered_aluminium", "actual": "-1", "unit": "kWh/t"}, {"actual": "-1 is no unit consumption"}),
        Wrong({"period_start": "2024-01-01", "period_end": "2024-12-31"}, {"billing_period": "does not hold the days"}),
        Wrong({"electricity_kwh": "-5"}, {"electricity_kwh": "Write 0 or more"}),
    ])},
    "warning --on 2025-06-30": {
        "--budgets": File(GOAL, [
            Wrong({"measure": "coal", "kind": "cieling"}, {"kind": "Write ceiling, or one of"}),
            Wrong({"measure": "water", "kind": "reduction_ratio", "target": "3"}, {"target": "Write 0.03 for a reduction by 3 %"}),
            Wrong({}, {"period": "Keep one goal"}),
        ]),
        "--actuals": File({"subject": "P", "measure": "energy", "period": "2025", "actual": "50"}, [
            Wrong({"measure": "coal", "per": "0"}, {"per": "Write more than 0"}),
            Wrong({"measure": "gas", "covered_ratio": "95"}, {"covered_ratio": "not a percentage"}),
        ]),
    },
    "forecast --on 2025-06-30": {"--actuals": File({"subject": "P", "measure": "energy", "period": "2025-01", "actual": "50"}, [
        Wrong({"period": "2025-1"}, {"period": "Write a year (2026), a month"}), Wrong({}, {"period": "add them up"}),
    ])},
    "whatif": {
        "--verdicts": File(JUDGED, [
            Wrong({"product": "calcium_carbid"}, {"product": "Near it is calcium_carbide;"}), Wrong({"unit": "bananas"}, {"unit": "in kgce/t"}),
            Wrong({"output": "0"}, {"output": "Write more than 0"}), Wrong({"period_end": "2024-12-31"}, {"period_end": "lies before period_start"}),
        ]),
        "--energy": File({**USED, "product": "calcium_carbide", "calorific_tce": "1", "equivalent_tce": "1"}, [
            Wrong({"carrier": "cokee"}, {"carrier": "Near it is coke;"}), Wrong({"unit": "m3"}, {"unit": "raw_coal is not measured in m3"}),
        ]),
    },
    "carbon --year 2025": {
        "--quantities": File({**USED, "carrier": "diesel"}, [
            Wrong({"carrier": "deisel"}, {"carrier": "Near it is diesel;"}), Wrong({"carrier": "kerosene", "unit": "m3"}, {"unit": "in kg"}),
            Wrong({"carrier": "electricity", "unit": "kWh", "grid_region": "mars"}, {"grid_region": "Write one of national,"}),
            Wrong({"carrier": "", "quantity": "5", "unit": ""}, {"carrier": "a row without one gives process_t only"}),
            Wrong({"period": "2025-03"}, {"period": "lies in a longer period"}),
        ]),
        "--figures": File(VALUED | {"period": "2025-01", "sector": "cement"}, [
            Wrong({"period": "2025-02", "price_basis": "constant"}, {"price_basis": "Give both at the same prices"}),
        ]),
    },
    "key-units --on 2026-06-01": {
        "--energy": File({"enterprise": "E", "period": "2025", "calorific_tce": "1"}, [
            Wrong({"period": "2025-01"}, {"period": "Sum the energy by years"}),
            Wrong({"covered_ratio": "95"}, {"covered_ratio": "not a percentage"}),
        ]),
        "--designations": File({"enterprise": "E", "authority": "A", "valid_from": "2025-01-01"}, [
            Wrong({"valid_to": "2024-01-01"}, {"valid_to": "is not after valid_from"}), Wrong({"authority": ""}, {"authority": "the cell is empty"}),
        ]),
    },
}


@pytest.mark.parametrize(("chapter", "suffix"), [
    (chapter, ("csv", "parquet", "xlsx")[place % 3]) for place, chapter in enumerate(CHAPTERS)
] + [("energy", "parquet"), ("limits", "csv")])
def test_every_wrong_row_is_told_by_file_row_and_column_with_what_would_be_right(chapter: str, suffix: str) -> None:
    command, *options = chapter.split()
    expected: dict[str, str] = {}
    arguments = [command, *options]
    for place, (option, (right, wrong)) in enumerate(CHAPTERS[chapter].items()):
        columns = dict.fromkeys([*right, *(column for row in wrong for column in (*row.cells, *row.told))], "")
        name = f"{command}{place}.{suffix}"
        write(Path(name), [columns | right, *(columns | right | row.cells for row in wrong)])
        arguments += [option, name]
        first = 2 if suffix == "parquet" else 3  # the row after the right one; a header is row 1
        expected |= {f"{name} row {at} column {column}": told for at, row in enumerate(wrong, first) for column, told in row.told.items()}
    with pytest.raises(BadInputError) as error:
        CliRunner().invoke(app, [*arguments, "--out", "o.csv"], catch_exceptions=False, standalone_mode=False)
    told = {problem.where: str(problem) for problem in error.value.problems}
    assert sorted(told) == sorted(expected)
    assert not [(where, told[where]) for where, piece in expected.items() if piece not in told[where]]
    assert not Path("o.csv").exists()


def judged(*rows: dict[str, Any]) -> tuple[list[str], str]:
    """The verdicts, and what was told beside them."""
    write(Path("p.csv"), list(pl.concat([pl.DataFrame([row]) for row in rows], how="diagonal").rows(named=True)))
    done = CliRunner().invoke(app, ["limits", "--products", "p.csv", "--out", "v.csv"], catch_exceptions=False, standalone_mode=False)
    return read(Path("v.csv"))["verdict"].to_list(), done.stderr


def test_what_the_law_does_not_answer_stays_a_row_and_is_told_by_its_row() -> None:
    verdicts, told = judged(
        COKE, COKE | {"volatile_matter_ratio": "0.25"}, COKE | {"volatile_matter_ratio": "0.2499"}, COKE | {"volatile_matter_ratio": "0.32"},
        COKE | {"volatile_matter_ratio": "0.3201"}, COKE | {"oven_age_years": None}, COKE | {"period": "1990"},
    )
    assert [each if each in ("incomplete", "no_rule") else "judged" for each in verdicts] == [
        "judged", "judged", "incomplete", "judged", "incomplete", "incomplete", "no_rule",
    ]
    lines = told.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["p.csv row 4", "p.csv row 6", "p.csv row 7", "p.csv row 8 column period"]
    assert "volatile_matter_ratio 0.2499 has no value in the table, which has 0.25 to 0.32" in lines[0]
    assert "oven_age_years" in lines[2]
    assert "GB 21342-2025 from 2026-05-01" in lines[3]


def test_what_is_said_twice_and_alike_is_judged() -> None:
    verdicts, told = judged(
        MADE | {"value": "900", "unit": "kgce/t", "basis": "calorific"}, MADE | {"value": "0.9", "unit": "tce/t", "basis": "当量值"},
        MADE | {"energy": "900.4", "value": "900", "unit": "kgce/t"}, MADE | {"period_start": "2025-01-01", "period_end": "2025-12-31"},
        MADE | {"output": "1e-9"},
    )
    assert (verdicts, told) == (["complies"] * 4 + ["exceeds"], "")


def test_columns_that_look_like_parameters_and_are_none_are_refused_and_others_are_carried_through() -> None:
    with pytest.raises(BadInputError) as error:
        judged(COKE | {"foo_ratio": "1", "ash_pct": "2", "oven_ages_years": "3", "remark": "x", "excess_ratio": "4", "line_m": "5"})
    told = {problem.where.removeprefix("p.csv row 1 column "): problem.remedy for problem in error.value.problems}
    assert list(told) == ["foo_ratio", "ash_pct", "oven_ages_years", "line_m"]
    assert told["oven_ages_years"].startswith("Write oven_age_years")
    assert "the limits of these products ask for mixed_gas_ratio, volatile_matter_ratio" in told["foo_ratio"]


def test_a_column_under_another_name_is_told_by_it_and_lists_are_no_cells() -> None:
    pl.DataFrame({"Enterprise": ["E"], "period": ["2025"], "carier": ["coke"], "quantity": [[1.0]], "unit": ["t"]}).write_parquet("q.parquet")
    with pytest.raises(BadInputError) as error:
        CliRunner().invoke(app, ["energy", "--quantities", "q.parquet", "--out", "-"], catch_exceptions=False, standalone_mode=False)
    told = {problem.where: problem for problem in error.value.problems}
    assert told["q.parquet column enterprise"].remedy.startswith("Rename 'Enterprise' to enterprise")
    assert told["q.parquet column carrier"].remedy.startswith("Rename 'carier' to carrier")
    assert told["q.parquet column quantity"].what == "its cells are lists or records"


@pytest.mark.parametrize(("basis", "kgce", "right"), [
    ("calorific", 0.1216, False), ("calorific", 0.1217, True), ("calorific", 0.124, True), ("calorific", 0.1241, False),
    ("equivalent", 0.1216, False), ("equivalent", 0.1217, True), ("equivalent", 1.228, True), ("equivalent", 1.23, False),
])
def test_what_one_kwh_contains_is_a_definition_and_what_is_spent_for_it_is_no_less(basis: str, kgce: float, right: bool) -> None:
    write(Path("q.csv"), [{"enterprise": "E", "period": "2025", "carrier": "electricity", "quantity": 1.0, "unit": "kWh"}])
    write(Path("c.csv"), [RATE | {"basis": basis, "kgce_per_unit": kgce}])
    arguments = ["energy", "--quantities", "q.csv", "--coefficients", "c.csv", "--out", "o.csv"]
    if right:
        CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)
        assert read(Path("o.csv"))[f"{basis}_kgce_per_unit"].to_list() == [kgce]
        return
    with pytest.raises(BadInputError, match="column kgce_per_unit"):
        CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)
