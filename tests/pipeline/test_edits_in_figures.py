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


@pytest.mark.parametrize(("hour", "value", "flag", "then"), [
    (1, 4.0, "replaced", [4.0, 5.0, 3.0]), (1, 400.0, "replaced_set_aside", [4.5, 4.5, 3.0]), (1, -1.0, "replaced_set_aside", [4.5, 4.5, 3.0]),
    (1.5, 6.0, "replaced", [5.0, 4.0, 3.0]), (3.5, 15.0, "replaced_set_aside", [5.0, 4.0, 3.0]), (3, 15.0, "replaced", [5.0, 4.0, 6.0]),
])
def test_a_given_value_that_the_rules_set_aside_is_told_as_that(measured: Site, hour: float, value: float, flag: str, then: list[float]) -> None:
    number = propose(measured, kind="replace", start=at(hour), value=value)
    measured.edits.check([number], checker="Wang", at=NOW)
    catch_up(measured)
    told = measured.derived.read("flags", DAY, DAY).filter(pl.col("flag").str.starts_with("replaced")).collect()
    assert told.select("start", "end", "flag", "after").rows() == [(at(hour), at(hour), flag, value)]
    assert hours(measured) == pytest.approx(then)
    measured.edits.withdraw([number], by="Wang", at=NOW, reason="a mistake")
    measured.edits.check([number], checker="Li", at=NOW)
    catch_up(measured)
    assert measured.derived.read("flags", DAY, DAY).filter(pl.col("flag").str.starts_with("replaced")).collect().is_empty()


def test_a_confirmation_holds_for_what_had_arrived_when_it_was_checked(site: Site, deliver: Any, tmp_path: Path) -> None:
    """Steps above the rating between two readings are right; a reading that comes between them later makes steps that nobody saw."""
    enterprise = site.register.enterprises()["enterprise"][0]
    rated = {"enterprise": enterprise, "meter": E1[0], "register": E1[1], "max_rate_per_h": 6.0}
    site.register.apply({"register": pl.DataFrame([rated | {"unit": "kWh", "kind": "cumulative"}])}, by="test", known_from=MIDNIGHT)
    deliver(1, [(*E1, at(hour), value) for hour, value in enumerate([0.0, 5.0, 15.0, 25.0, 30.0])])
    catch_up(site)

    def suspect() -> list[float]:
        return site.derived.read("flags", DAY, DAY).filter(pl.col("flag") == "over_rating").collect()["quantity"].to_list()

    assert suspect() == [10.0, 10.0]
    number = propose(site, kind="confirm", start=at(0), end=at(4))
    site.edits.check([number], checker="Wang", at=NOW)
    catch_up(site)
    assert suspect() == []
    deliver(2, [(*E1, at(1.75), 14.0)], received_at=NOW)  # known at the very instant of the check
    catch_up(site)
    assert suspect() == []
    deliver(3, [(*E1, at(2.25), 20.0)], received_at=NOW + timedelta(seconds=1))
    catch_up(site)
    assert suspect() == [5.0, 5.0]
    shadow = rebuilt(site, tmp_path / "again", upto=site.ledger.cursors())
    assert same(shadow) == same(site)
    shadow.readings().close()
    again = propose(site, kind="confirm", start=at(2), end=at(3))
    site.edits.check([again], checker="Wang", at=NOW + timedelta(seconds=1))
    catch_up(site)
    assert suspect() == []


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
