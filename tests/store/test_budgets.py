from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from config.errors import BadInputError
from config.schemas import BUDGET
from store.budgets import Budgets
from store.database import Database
from store.register import RegisterStore

STEEL = "91150400MA0EXAMP0J"
AT = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.fixture
def budgets(database: Database, register: RegisterStore) -> Budgets:
    assert register.enterprises().height == 2
    return Budgets(database)


def goal(**others: object) -> pl.DataFrame:
    row = {"enterprise": STEEL, "measure": "calorific_tce", "kind": "ceiling", "period": "2025", "target": 9000.0, "source": "a letter of 2025"}
    return pl.DataFrame([row | others])


def test_a_budget_counts_only_once_another_person_has_checked_it(budgets: Budgets) -> None:
    budgets.apply(goal(), maker="Li", at=AT)
    assert budgets.frame().is_empty()
    assert budgets.check_all(checker="Wang", at=AT) == 1
    found = budgets.frame()
    assert found.schema == BUDGET
    assert found.rows() == [("enterprise", STEEL, "calorific_tce", "ceiling", "2025", 9000.0, None, None, "a letter of 2025")]


def test_a_changed_budget_takes_the_place_of_the_one_before_which_stays_known_for_its_time(budgets: Budgets) -> None:
    for day, target in enumerate((9000.0, 8000.0)):
        budgets.apply(goal(target=target), maker="Li", at=AT + timedelta(days=day))
        budgets.check_all(checker="Wang", at=AT + timedelta(days=day))
    assert budgets.frame()["target"].to_list() == [8000.0]
    assert budgets.frame(as_of=AT)["target"].to_list() == [9000.0]


def test_a_budget_that_is_taken_back_counts_no_longer(budgets: Budgets) -> None:
    for withdrawn in (False, True):
        budgets.apply(goal(withdrawn=withdrawn), maker="Li", at=AT)
        budgets.check_all(checker="Wang", at=AT)
    assert budgets.frame().is_empty()


def test_regions_and_parks_have_budgets_too_and_a_goal_may_still_be_without_a_number(budgets: Budgets) -> None:
    of_region = goal(enterprise=None, region="150400", measure="calorific_tce_per_10k_cny", kind="reduction_ratio", target=None)
    budgets.apply(of_region, maker="Li", at=AT)
    budgets.check_all(checker="Wang", at=AT)
    assert budgets.frame().select("level", "subject", "target").rows() == [("region", "150400", None)]


@pytest.mark.parametrize(("others", "told"), [
    ({"park": "west"}, "region, park and enterprise are not one"),
    ({"enterprise": None}, "region, park and enterprise are not one"),
    ({"enterprise": None, "region": "1504"}, "is no region"),
    ({"enterprise": None, "park": "nowhere"}, "nowhere is not in the register"),
    ({"enterprise": "91150400MA0EXAMP2P"}, "91150400MA0EXAMP2P"),
    ({"measure": "coal"}, "calorific_tce"),
    ({"kind": "reduction_ratio", "target": 3.0}, "Write 0.03"),
    ({"shares": "0.5;0.5"}, "twelve numbers"),
    ({"shares": ";".join(["0.0834"] * 12), "period": "2025-01"}, "divide a year"),
])
def test_what_can_be_no_budget_is_refused(budgets: Budgets, others: dict[str, object], told: str) -> None:
    with pytest.raises(BadInputError, match=told):
        budgets.apply(goal(**others), maker="Li", at=AT)
