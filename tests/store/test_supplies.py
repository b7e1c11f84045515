from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from config.errors import BadInputError
from config.schemas import BATCH, MONTHLY_FIGURE
from store import sheets
from store.audit import AuditLog
from store.database import Database
from store.register import ImportCount, RegisterStore
from store.supplies import Reported

STEEL, COKE = "91150400MA0EXAMP0J", "91150400MA0EXAMP1M"
AT = datetime(2026, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def reported(database: Database, register: RegisterStore) -> Reported:
    assert register.enterprises().height == 2
    return Reported(database)


def bill(quantity: float = 100.0, **others: object) -> pl.DataFrame:
    row = {"enterprise": STEEL, "carrier": "electricity", "kind": "bill", "period": "2025-03", "quantity": quantity, "unit": "kWh"}
    return pl.DataFrame([row | others])


def batch(lhv: float = 21.5, **others: object) -> pl.DataFrame:
    row = {
        "enterprise": COKE, "carrier": "raw_coal", "batch": "B-17", "first_day": "2025-03-01", "last_day": "2025-03-04", "lhv": lhv,
        "lhv_unit": "MJ/kg",
    }
    return pl.DataFrame([row | others])


def test_a_monthly_figure_counts_only_once_another_person_has_checked_it(reported: Reported) -> None:
    reported.monthly.apply(bill(), maker="Li", at=AT)
    assert reported.monthly.frame().is_empty()
    with pytest.raises(BadInputError, match="monthly figure 1: was made by Li"):
        reported.monthly.check([1], checker="Li", at=AT)
    assert reported.monthly.check([1], checker="Wang", at=AT) == 1
    found = reported.monthly.frame()
    assert found.schema == MONTHLY_FIGURE
    assert found.rows() == [(STEEL, "electricity", "consumed", "bill", date(2025, 3, 1), date(2025, 3, 31), 100.0, "kWh", None, AT)]


@pytest.mark.parametrize(("kind", "flow"), [
    ("bill", "consumed"), ("report", "consumed"), ("weighbridge", "purchased"), ("receipt", "purchased"), ("stock_taking", "closing_stock"),
])
def test_a_kind_has_its_usual_flow(reported: Reported, kind: str, flow: str) -> None:
    reported.monthly.apply(bill(kind=kind), maker="Li", at=AT)
    assert reported.monthly.rows()["flow"].to_list() == [flow]


def test_a_corrected_batch_takes_the_place_of_the_one_before_and_both_are_kept(reported: Reported) -> None:
    for number, lhv in enumerate((21.5, 22.0)):
        reported.batches.apply(batch(lhv), maker="Li", at=AT + number * DAY)
        reported.batches.check_all(checker="Wang", at=AT + number * DAY)
    assert reported.batches.frame().schema == BATCH
    assert reported.batches.frame()["lhv"].to_list() == [22.0]
    assert reported.batches.rows().select("lhv", "state").rows() == [(21.5, "superseded"), (22.0, "checked")]


def test_what_was_known_at_an_instant_can_be_asked(reported: Reported) -> None:
    reported.batches.apply(batch(21.5), maker="Li", at=AT)
    reported.batches.check_all(checker="Wang", at=AT + DAY)
    reported.batches.apply(batch(22.0), maker="Li", at=AT + 2 * DAY)
    reported.batches.check_all(checker="Wang", at=AT + 3 * DAY)
    reported.monthly.apply(bill(), maker="Li", at=AT)
    reported.monthly.check_all(checker="Wang", at=AT + DAY)
    known = [reported.batches.frame(as_of=AT + after * DAY)["lhv"].to_list() for after in range(4)]
    assert known == [[], [21.5], [21.5], [22.0]]
    assert [reported.monthly.frame(as_of=AT + after * DAY).height for after in range(2)] == [0, 1]


def test_a_withdrawn_figure_no_longer_counts_once_that_is_checked(reported: Reported) -> None:
    reported.monthly.apply(bill(), maker="Li", at=AT)
    reported.monthly.check_all(checker="Wang", at=AT)
    reported.monthly.apply(bill(withdrawn=True), maker="Li", at=AT + DAY)
    assert reported.monthly.frame().height == 1
    reported.monthly.check_all(checker="Wang", at=AT + DAY)
    assert reported.monthly.frame().is_empty()
    assert reported.monthly.frame(as_of=AT).height == 1
    assert reported.monthly.rows()["withdrawn"].to_list() == [False, True]


def test_bills_of_one_span_are_told_apart_by_their_documents(reported: Reported) -> None:
    both = pl.concat([bill(document="1"), bill(50.0, document="2")])
    assert reported.monthly.apply(both, maker="Li", at=AT) == ImportCount(added=2)
    assert reported.monthly.apply(both, maker="Li", at=AT) == ImportCount(unchanged=2)
    with pytest.raises(BadInputError, match="reports the same monthly figure as monthly figures row 1"):
        reported.monthly.apply(pl.concat([bill(document="1"), bill(60.0, document="1")]), maker="Li", at=AT)


@pytest.mark.parametrize(("others", "match"), [
    ({"period": None}, "column period: the days are not clear"),
    ({"first_day": "2025-03-01", "last_day": "2025-03-31"}, "column period: the days are not clear"),
    ({"period": None, "first_day": "2025-03-09", "last_day": "2025-03-08"}, "column last_day: is before first_day"),
    ({"quantity": -1.0}, "column quantity: -1 is below 0"), ({"unit": "barrel"}, "column unit: 'barrel' is not known"),
    ({"kind": "guess"}, "column kind"), ({"enterprise": "91150400MA0EXAMP2Q"}, "column enterprise"),
    ({"flow": "closing_stock"}, "column flow: closing_stock does not go with bill"),
    ({"kind": "stock_taking", "flow": "purchased"}, "column flow: purchased does not go with stock_taking"),
    ({"period": None, "first_day": "2025-03-01", "last_day": "2205-03-31"}, "2205-03-31 is more than 366 days from first_day"),
    ({"period": None, "first_day": "2025-03-01", "last_day": "2026-03-02"}, "2026-03-02 is more than 366 days from first_day"),
])
def test_a_monthly_figure_that_cannot_be_meant_is_refused(reported: Reported, others: dict[str, object], match: str) -> None:
    with pytest.raises(BadInputError, match=match):
        reported.monthly.apply(bill(**others), maker="Li", at=AT)
    assert reported.monthly.rows().is_empty()


@pytest.mark.parametrize(("others", "match"), [
    ({"lhv": 0.0}, "column lhv: 0 is not above 0"), ({"lhv_unit": "Btu/lb"}, "column lhv_unit: 'Btu/lb' is no unit of a heating value"),
    ({"basis": "dry"}, "column moisture_ratio: is empty"), ({"moisture_ratio": 8.0}, "column moisture_ratio: 8 is above 1"),
    ({"last_day": "2025-02-28"}, "column last_day: is before first_day"), ({"origin": "seller"}, "column origin"), ({"mass_t": 0}, "column mass_t"),
    ({"last_day": "2026-03-02"}, "2026-03-02 is more than 366 days from first_day"),
])
def test_a_batch_that_cannot_be_meant_is_refused(reported: Reported, others: dict[str, object], match: str) -> None:
    with pytest.raises(BadInputError, match=match):
        reported.batches.apply(batch(**others), maker="Li", at=AT)


def test_one_workbook_may_hold_figures_monthly_figures_batches_and_budgets(reported: Reported, database: Database, tmp_path: Path) -> None:
    value_added = pl.DataFrame([{"enterprise": STEEL, "period": "2025", "figure": "value_added_10k_cny", "value": 100.0}])
    goal = {"enterprise": STEEL, "measure": "calorific_tce", "kind": "ceiling", "period": "2025", "target": 9000.0, "source": "鄂发改〔2025〕1号"}
    tables = {"money": value_added, "bills": bill(123456.789012345), "lab": batch(), "goals": pl.DataFrame([goal])}
    sheets.write_workbook(tmp_path / "all.xlsx", {name: (frame.columns, frame.rows()) for name, frame in tables.items()})
    assert reported.import_file(tmp_path / "all.xlsx", maker="Li", at=AT) == ImportCount(added=4)
    assert reported.monthly.rows()["quantity"].to_list() == [123456.789012345]
    assert [one.check_all(checker="Wang", at=AT) for one in reported.kinds.values()] == [1, 1, 1, 1]
    assert AuditLog(database).entries()["action"].to_list()[-4:] == ["figures.check", "monthly_figures.check", "batches.check", "budgets.check"]


def test_a_problem_in_one_sheet_keeps_all_of_them_out_and_all_are_told(reported: Reported, tmp_path: Path) -> None:
    sheets.write_workbook(tmp_path / "all.xlsx", {
        "bills": (bill().columns, [*bill().rows(), *bill(-2.0, period="2025-04").rows()]), "lab": (batch().columns, batch(lhv_unit="W").rows()),
    })
    with pytest.raises(BadInputError) as caught:
        reported.import_file(tmp_path / "all.xlsx", maker="Li", at=AT)
    assert [problem.where for problem in caught.value.problems] == [
        "all.xlsx sheet bills row 3 column quantity", "all.xlsx sheet lab row 2 column lhv_unit",
    ]
    assert reported.monthly.rows().is_empty()


def test_the_version_changes_with_every_report_and_every_check(reported: Reported) -> None:
    seen = [reported.version()]
    reported.monthly.apply(bill(), maker="Li", at=AT)
    seen.append(reported.version())
    reported.batches.apply(batch(), maker="Li", at=AT)
    seen.append(reported.version())
    reported.batches.check_all(checker="Wang", at=AT)
    seen.append(reported.version())
    assert len(set(seen)) == 4
