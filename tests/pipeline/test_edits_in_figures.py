"""Edits through the whole of it: they change the hours and days when a second person has agreed, and not before, and nothing for good."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.rebuild import rebuilt
from pipeline.site import Site
from tests.pipeline.test_roll_and_evaluate import E1, MIDNIGHT, catch_up

DAY = date(2025, 1, 1)
NOW = MIDNIGHT + timedelta(days=30)


def at(hours: float) -> datetime:
    return MIDNIGHT + timedelta(hours=hours)


def propose(site: Site, **values: Any) -> int:
    enterprise = site.register.enterprises()["enterprise"][0]
    row = {"enterprise": enterprise, "meter": E1[0], "register": E1[1], "reason": "photo", **values}
    return site.edits.propose(pl.DataFrame([row]), maker="Li", at=NOW)[0]


def hours(site: Site) -> list[float]:
    return site.derived.read("hourly", DAY, DAY).collect()["quantity"].to_list()


def same(site: Site) -> dict[str, str]:
    found = site.derived.hashes()
    return {name: found[name] for name in ("hourly", "daily", "flags")}


@pytest.fixture
def measured(site: Site, deliver: Any) -> Site:
    deliver(1, [(*E1, at(hour), value) for hour, value in enumerate([0.0, 5.0, 9.0, 12.0])])
    catch_up(site)
    assert hours(site) == [5.0, 4.0, 3.0]
    return site


@pytest.mark.parametrize(("edit", "then"), [
    ({"kind": "replace", "start": at(1), "value": 4.0}, [4.0, 5.0, 3.0]),
    ({"kind": "exclude", "start": at(1), "end": at(2)}, [4.5, 4.5, 3.0]),
    ({"kind": "estimate", "start": at(2), "end": at(5), "value": 30.0, "method": "manual"}, [5.0, 4.0, 3.0, 10.0, 10.0]),
])
def test_an_edit_changes_figures_from_its_check_to_the_check_of_its_withdrawal(measured: Site, edit: dict[str, Any], then: list[float]) -> None:
    before = same(measured)
    number = propose(measured, **edit)
    catch_up(measured)
    assert same(measured) == before
    measured.edits.check([number], checker="Wang", at=NOW)
    catch_up(measured)
    assert hours(measured) == pytest.approx(then)
    assert measured.derived.read("daily", DAY, DAY).collect()["quantity"].item() == pytest.approx(sum(then))
    measured.edits.withdraw([number], by="Wang", at=NOW, reason="a mistake")
    catch_up(measured)
    assert hours(measured) == pytest.approx(then)
    measured.edits.check([number], checker="Li", at=NOW)
    catch_up(measured)
    assert same(measured) == before


def test_measured_data_that_arrive_replace_an_estimate(measured: Site, deliver: Any) -> None:
    measured.edits.check([propose(measured, kind="estimate", start=at(3), end=at(5), value=20.0, method="manual")], checker="Wang", at=NOW)
    catch_up(measured)
    assert measured.derived.read("hourly", DAY, DAY).collect()["quality"].to_list() == ["measured"] * 3 + ["estimated"] * 2
    deliver(2, [(*E1, at(4), 13.0)], received_at=NOW)
    catch_up(measured)
    assert hours(measured) == pytest.approx([5.0, 4.0, 3.0, 1.0, 10.0])
    deliver(3, [(*E1, at(5), 15.0)], received_at=NOW)
    catch_up(measured)
    rows = measured.derived.read("hourly", DAY, DAY).collect()
    assert rows["quantity"].to_list() == pytest.approx([5.0, 4.0, 3.0, 1.0, 2.0])
    assert rows["quality"].unique().to_list() == ["measured"]


def test_with_edits_live_equals_rebuilt(measured: Site, deliver: Any, tmp_path: Path) -> None:
    numbers = [propose(measured, kind="replace", start=at(1), value=4.0), propose(measured, kind="exclude", start=at(2), end=at(2.5)),
               propose(measured, kind="estimate", start=at(4), end=at(30), value=26.0, method="manual")]
    measured.edits.check(numbers, checker="Wang", at=NOW)
    catch_up(measured)
    deliver(2, [(*E1, at(6), 20.0)], received_at=NOW)
    catch_up(measured)
    measured.edits.withdraw(numbers[1:2], by="Wang", at=NOW, reason="a mistake")
    measured.edits.check(numbers[1:2], checker="Li", at=NOW)
    catch_up(measured)
    shadow = rebuilt(measured, tmp_path / "again", upto=measured.ledger.cursors())
    assert same(shadow) == same(measured)
    shadow.readings().close()
