from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from config.errors import BadInputError
from config.schemas import FIGURE
from store import sheets
from store.audit import AuditLog
from store.database import Database
from store.figures import Figures
from store.register import ImportCount, RegisterStore
from store.supplies import Reported

STEEL, COKE = "91150400MA0EXAMP0J", "91150400MA0EXAMP1M"
AT = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.fixture
def figures(database: Database, register: RegisterStore) -> Figures:
    assert register.enterprises().height == 2
    return Figures(database)


def money(value: float, figure: str = "value_added_10k_cny", **others: object) -> pl.DataFrame:
    return pl.DataFrame([{"enterprise": STEEL, "period": "2025", "figure": figure, "value": value} | others])


def output(value: float, **others: object) -> pl.DataFrame:
    return pl.DataFrame([{"enterprise": COKE, "period": "2025", "figure": "output", "value": value, "unit": "t", "product": "coke"} | others])


def test_a_figure_counts_only_once_another_person_has_checked_it(figures: Figures) -> None:
    figures.apply(money(100.0), maker="Li", at=AT)
    assert figures.values().is_empty()
    assert figures.check_all(checker="Wang", at=AT) == 1
    assert figures.values().schema == FIGURE
    assert figures.values().rows() == [(STEEL, "north", "2025", 100.0, None, None, None)]


@pytest.mark.parametrize("checker", ["Li", " li ", "ＬＩ"])
def test_a_maker_cannot_check_under_any_spelling_of_the_name(figures: Figures, checker: str) -> None:
    figures.apply(money(100.0), maker="Li", at=AT)
    [row] = figures.rows()["id"]
    with pytest.raises(BadInputError, match="cannot check it too"):
        figures.check([row], checker=checker, at=AT)
    with pytest.raises(BadInputError, match="another person"):
        figures.check_all(checker=checker, at=AT, maker="Li")
    assert figures.check_all(checker=checker, at=AT) == 0
    assert figures.values().is_empty()


def test_a_check_of_several_is_all_or_nothing(figures: Figures) -> None:
    figures.apply(money(100.0), maker="Li", at=AT)
    figures.apply(output(5.0), maker="Wang", at=AT)
    with pytest.raises(BadInputError) as caught:
        figures.check([1, 2, 77], checker="Wang", at=AT)
    assert [problem.where for problem in caught.value.problems] == ["figure 2", "figure 77"]
    assert figures.rows()["state"].to_list() == ["unchecked", "unchecked"]
    assert figures.check([1], checker="Wang", at=AT) == 1
    assert figures.check([1], checker="Zhao", at=AT) == 0
    assert figures.rows()["checker"].to_list() == ["Wang", None]


def test_a_later_value_is_a_new_report_and_the_checked_one_counts_until_it_is_checked(figures: Figures) -> None:
    for value in (100.0, 120.0):
        figures.apply(money(value), maker="Li", at=AT)
        if value == 100.0:
            figures.check_all(checker="Wang", at=AT)
    assert figures.values()["value_added_10k_cny"].to_list() == [100.0]
    assert figures.rows()["state"].to_list() == ["checked", "unchecked"]
    figures.check_all(checker="Wang", at=AT + timedelta(days=1))
    assert figures.values()["value_added_10k_cny"].to_list() == [120.0]
    assert figures.rows().select("value", "state").rows() == [(100.0, "superseded"), (120.0, "checked")]


def test_what_counted_at_an_instant_can_be_asked(figures: Figures) -> None:
    for day, value in enumerate((100.0, 120.0)):
        figures.apply(money(value), maker="Li", at=AT + timedelta(days=2 * day))
        figures.check_all(checker="Wang", at=AT + timedelta(days=2 * day + 1))
    figures.apply(output(5.0), maker="Li", at=AT)
    figures.check_all(checker="Wang", at=AT + timedelta(days=4))
    known = [figures.values(as_of=AT + timedelta(days=day))["value_added_10k_cny"].to_list() for day in range(4)]
    assert known == [[], [100.0], [100.0], [120.0]]
    assert [figures.outputs(as_of=AT + timedelta(days=day)).height for day in (3, 4)] == [0, 1]


def test_checking_an_old_report_late_does_not_bring_it_back(figures: Figures) -> None:
    for value in (100.0, 120.0):
        figures.apply(money(value), maker="Li", at=AT)
    figures.check([2], checker="Wang", at=AT)
    figures.check([1], checker="Wang", at=AT + timedelta(days=1))
    assert figures.values()["value_added_10k_cny"].to_list() == [120.0]


def test_the_same_figures_again_change_nothing(figures: Figures) -> None:
    assert figures.apply(money(100.0), maker="Li", at=AT) == ImportCount(added=1)
    before = figures.version()
    assert figures.apply(money(100.0), maker="Zhao", at=AT) == ImportCount(unchanged=1)
    assert figures.version() == before
    assert figures.apply(money(101.0), maker="Li", at=AT) == ImportCount(changed=1)
    assert figures.version() != before


def test_the_version_changes_with_a_check(figures: Figures) -> None:
    figures.apply(money(100.0), maker="Li", at=AT)
    before = figures.version()
    figures.check_all(checker="Wang", at=AT)
    assert figures.version() != before


def test_both_money_figures_of_a_period_share_a_row_and_price_bases_do_not(figures: Figures) -> None:
    rows = [money(100.0), money(300.0, "output_value_10k_cny"), money(90.0, price_basis="constant", base_year=2020)]
    figures.apply(pl.concat(rows, how="diagonal"), maker="Li", at=AT)
    figures.check_all(checker="Wang", at=AT)
    found = figures.values().select("value_added_10k_cny", "output_value_10k_cny", "price_basis", "base_year").rows()
    assert sorted(found, key=str) == [(100.0, 300.0, None, None), (90.0, None, "constant", 2020)]


def test_outputs_carry_the_plant_status_of_the_enterprise_and_the_parameters_of_their_limit(figures: Figures) -> None:
    figures.apply(output(5.0, moisture_ratio=0.1, process="wet", line="1"), maker="Li", at=AT)
    figures.apply(output(7.0, plant_status="existing", line="2"), maker="Li", at=AT)
    assert figures.outputs().is_empty()
    figures.check_all(checker="Wang", at=AT)
    found = figures.outputs()
    assert found.columns == [
        "enterprise", "product", "indicator", "line", "plant_status", "feedstock", "period", "output", "output_unit", "moisture_ratio", "process",
    ]
    assert found.select("line", "plant_status", "output", "output_unit", "moisture_ratio", "process").rows() == [
        ("1", "new", 5.0, "t", 0.1, "wet"), ("2", "existing", 7.0, "t", None, None),
    ]


WRONG = {
    "unknown enterprise": (money(1.0).with_columns(enterprise=pl.lit("91150400MA0EXAMP2Q")), "column enterprise", "not in the register"),
    "wrong credit code": (money(1.0).with_columns(enterprise=pl.lit("x")), "column enterprise", "is no credit code"),
    "unknown park": (money(1.0, park="south"), "column park", "not in the register"),
    "no period": (money(1.0).with_columns(period=pl.lit("2025-13")), "column period", "is no period"),
    "unknown figure": (money(1.0, "profit"), "column figure", "'profit' is not known"),
    "value that is none": (money(float("inf")), "column value", "not a finite number"),
    "money in another unit": (money(1.0, unit="CNY"), "column unit", "does not fit"),
    "parameter of money": (money(1.0, moisture=3), "column moisture", "is not a column of value_added_10k_cny"),
    "output below zero": (output(-1.0), "column value", "is below 0"),
    "output of no product": (output(1.0, product=None), "column product", "is empty"),
    "output without unit": (output(1.0, unit=None), "column unit", "is empty"),
    "one figure twice": (pl.concat([money(1.0), money(2.0)]), "row 2", "reports the same figure"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_and_nothing_is_written(figures: Figures, case: str) -> None:
    frame, where, what = WRONG[case]
    with pytest.raises(BadInputError) as caught:
        figures.apply(frame, maker="Li", at=AT)
    assert [(where in problem.where, what in problem.what) for problem in caught.value.problems] == [(True, True)], caught.value
    assert figures.rows().is_empty()


def test_value_added_may_be_negative_and_an_output_may_be_zero(figures: Figures) -> None:
    assert figures.apply(money(-5.0), maker="Li", at=AT).added == 1
    assert figures.apply(output(0.0), maker="Li", at=AT).added == 1


def test_nobody_can_make_or_check_figures_without_a_name(figures: Figures) -> None:
    with pytest.raises(BadInputError, match="Say who"):
        figures.apply(money(1.0), maker=" ", at=AT)
    with pytest.raises(BadInputError, match="Say who"):
        figures.check_all(checker="", at=AT)


@pytest.mark.parametrize("name", ["f.csv", "f.xlsx"])
def test_figures_come_from_csv_and_workbooks_with_all_their_digits(figures: Figures, database: Database, tmp_path: Path, name: str) -> None:
    columns = ["enterprise", "period", "figure", "value", "unit", "product", "ash"]
    rows = [[COKE, "2025", "output", 123456.789012345, "t", "coke", 0.123456789012345]]
    if name.endswith("csv"):
        sheets.write_csv(tmp_path / name, columns, rows)
    else:
        sheets.write_workbook(tmp_path / name, {"any name": (columns, rows)})
    Reported(database).import_file(tmp_path / name, maker="Li", at=AT)
    figures.check_all(checker="Wang", at=AT)
    assert figures.outputs().select("output", "ash").rows() == [(123456.789012345, 0.123456789012345)]


@pytest.mark.usefixtures("figures")
def test_a_problem_in_a_file_names_its_row(database: Database, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(f"enterprise,period,figure,value\n{STEEL},2025,value_added_10k_cny,1\n{STEEL},2024,value_added_10k_cny,\n")
    with pytest.raises(BadInputError, match=r"f\.csv row 3 column value: is empty"):
        Reported(database).import_file(tmp_path / "f.csv", maker="Li", at=AT)


def test_making_and_checking_leave_audit_records(figures: Figures, database: Database) -> None:
    figures.apply(money(1.0), maker="Li", at=AT)
    figures.check_all(checker="Wang", at=AT)
    assert AuditLog(database).entries().select("by", "action").rows()[-2:] == [("Li", "figures.import"), ("Wang", "figures.check")]


def test_a_confirmation_of_a_limit_is_kept_once_and_the_last_one_counts(database: Database) -> None:
    from store.confirmations import Confirmations

    confirmations = Confirmations(database)
    for copy in ("print", "print", "scan"):
        confirmations.add("coke", "comprehensive", "GB 21342-2013", "Zhao", date(2026, 1, 2), copy)
    confirmations.add("coke", "process", "GB 21342-2013", "Zhao", date(2026, 1, 2), "print", "page 4")
    assert confirmations.frame().select("indicator", "copy", "remark").rows() == [("comprehensive", "scan", None), ("process", "print", "page 4")]
    assert AuditLog(database).entries().height == 3


def test_renewable_power_is_stated_for_a_month_or_year_with_its_proof(figures: Figures) -> None:
    row = {"enterprise": STEEL, "period": "2025-03", "figure": "renewable_electricity_kwh", "value": 4e5, "source": "certificates 1 to 400"}
    new = row | {"figure": "new_renewable_electricity_kwh", "value": 1e5}
    figures.apply(pl.DataFrame([row, new]), maker="Li", at=AT)
    assert figures.renewables().is_empty()
    figures.check_all(checker="Wang", at=AT)
    assert figures.renewables().rows() == [(STEEL, "2025-03", 4e5, 1e5, "certificates 1 to 400")]
    assert figures.renewables(as_of=AT - timedelta(days=1)).is_empty()
    assert figures.values().is_empty()
    changes: list[dict[str, object]] = [
        {"value": -1.0}, {"period": "2025-03-07"}, {"period": "2025-04", "source": None}, {"period": "2025", "unit": "MWh"},
    ]
    wrong = [row | change for change in changes]
    with pytest.raises(BadInputError) as caught:
        figures.apply(pl.DataFrame(wrong, infer_schema_length=None), maker="Li", at=AT)
    assert [problem.where.split(" column ")[1] for problem in caught.value.problems] == ["value", "period", "source", "unit"]
