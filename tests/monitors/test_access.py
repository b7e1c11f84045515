"""Access of enterprises: every state of a medium, shares with their bounds, goals on both sides, and the region that a goal is for."""

from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import key_units as law
from config import schemas
from config.units import FIVE_MEDIA
from monitors.access import access, shares

ON = date(2026, 6, 1)
REGIONS = pl.DataFrame({"park": ["P"], "region": ["150602"]})
POINT = {"park": pl.String(), "enterprise": pl.String(), "medium": pl.String(), "name": pl.String(), "delivers": pl.Boolean()}


def members(**status: str | None) -> pl.DataFrame:
    return pl.DataFrame({"park": "P", "enterprise": list(status), "members": list(status.values())}, schema_overrides={"members": pl.String})


def declared(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame([(enterprise, None, medium) for enterprise, medium in rows], orient="row",
                        schema={"enterprise": pl.String(), "park": pl.String(), "medium": pl.String()})


def points(*rows: tuple[str, str, str, bool | None]) -> pl.DataFrame:
    return pl.DataFrame([("P", *row) for row in rows], orient="row", schema=POINT)


def states(found: pl.DataFrame, enterprise: str = "a") -> dict[str, str]:
    return dict(found.filter(enterprise=enterprise).select("medium", "state").iter_rows())


def test_each_state_of_a_medium_is_told_from_the_others() -> None:
    found = access(
        members(a="key"), declared(("a", "coal"), ("a", "water"), ("a", "oil")),
        points(("a", "coal", "C-1", True), ("a", "coal", "C-2", True), ("a", "water", "W-1", True), ("a", "water", "W-2", False),
               ("a", "electricity", "E-1", True), ("a", "heat", "H-1", False)),
    )
    assert found.schema == schemas.ACCESS
    assert states(found) == {
        "coal": "online", "water": "not_delivering", "oil": "no_meter", "gas": "not_used", "electricity": "online", "all": "no_meter",
    }
    rows = {row["medium"]: row for row in found.to_dicts()}
    assert rows["water"]["lacking"] == "W-2"
    assert (rows["coal"]["meters"], rows["coal"]["lacking"]) == (2, None)
    assert (rows["electricity"]["undeclared"], rows["coal"]["undeclared"]) == (True, False)
    assert rows["all"]["lacking"] == "water: W-2; oil: no meter"
    assert found["medium"].to_list() == [*FIVE_MEDIA, "all"]


def test_a_point_without_a_meter_is_a_missing_meter_beside_others_that_deliver() -> None:
    found = access(members(a="key"), declared(("a", "water")), points(("a", "water", "W-1", True), ("a", "water", "point-2", None)))
    row = found.filter(medium="water").row(0, named=True)
    assert (row["state"], row["lacking"], row["meters"]) == ("no_meter", "point-2", 1)


def test_a_medium_that_is_not_used_is_no_gap() -> None:
    found = access(members(a="key"), declared(("a", "electricity")), points(("a", "electricity", "E-1", True)))
    assert states(found) == {**dict.fromkeys(("coal", "water", "oil", "gas"), "not_used"), "electricity": "online", "all": "online"}


def test_without_a_declared_list_nothing_is_known_of_what_is_not_metered() -> None:
    found = access(members(a="key"), declared(), points(("a", "electricity", "E-1", True)))
    assert states(found) == {**dict.fromkeys(("coal", "water", "oil", "gas", "all"), "unknown"), "electricity": "online"}
    assert found.filter(medium="coal")["missing"].item() == "no declared list of the media used"
    assert found.filter(medium="coal")["missing_zh"].item() == "没有申报使用介质清单"
    metered = points(*(("a", medium, medium, True) for medium in FIVE_MEDIA))
    assert set(states(access(members(a="key"), declared(), metered)).values()) == {"online"}


def test_a_list_for_one_park_says_nothing_of_another() -> None:
    places = pl.DataFrame({"park": ["P", "Q"], "enterprise": ["a", "a"], "members": ["key", "key"]})
    used = declared(("a", "coal")).with_columns(park=pl.lit("P"))
    found = access(places, used, points())
    assert found.filter(park="P", medium="coal")["state"].item() == "no_meter"
    assert found.filter(park="Q", medium="coal")["state"].item() == "unknown"


def of(found: pl.DataFrame, who: str, medium: str = "all") -> dict[str, Any]:
    table = shares(found, law.access_goals(), REGIONS, ON)
    assert table.schema == schemas.ACCESS_SHARE
    return table.filter(members=who, medium=medium).row(0, named=True)


def park(key: tuple[int, int], other: tuple[int, int], unknown: int = 0) -> pl.DataFrame:
    """ACCESS of a park with (enterprises, of them on line) of each kind that use electricity only, and of unknown status on line."""
    of_kind = {f"k{n}": "key" for n in range(key[0])} | {f"o{n}": "other" for n in range(other[0])} | {f"u{n}": None for n in range(unknown)}
    on = {f"k{n}" for n in range(key[1])} | {f"o{n}" for n in range(other[1])} | {f"u{n}" for n in range(unknown)}
    return access(members(**of_kind), declared(*((name, "electricity") for name in of_kind)),
                  points(*((name, "electricity", "E", name in on) for name in of_kind)))


@pytest.mark.parametrize(("key", "other", "key_meets", "other_meets"), [
    ((4, 4), (10, 2), True, True), ((4, 3), (10, 1), False, False), ((1, 1), (5, 1), True, True), ((4, 4), (11, 2), True, False),
    ((4, 4), (9, 2), True, True),
])
def test_all_key_units_and_a_fifth_of_the_others_meet_the_goals_of_the_plan(
    key: tuple[int, int], other: tuple[int, int], key_meets: bool, other_meets: bool,
) -> None:
    found = park(key, other)
    for who, (count, online), meets in (("key", key, key_meets), ("other", other, other_meets)):
        row = of(found, who)
        assert (row["enterprises"], row["online"], row["meets"]) == (count, online, meets)
        assert row["share_ratio"] == row["at_least_ratio"] == row["at_most_ratio"] == pytest.approx(online / count)
        assert "鄂尔多斯" in row["source"]


def test_an_enterprise_of_unknown_status_leaves_the_share_between_two_bounds() -> None:
    row = of(park((3, 3), (9, 1), unknown=1), "key")
    assert (row["share_ratio"], row["at_least_ratio"], row["at_most_ratio"], row["meets"]) == (None, 0.75, 1.0, None)
    assert row["missing"] == "of 1 enterprises it is not known whether they are key energy users"
    assert row["missing_zh"] == "有 1 家企业是否为重点用能单位不明"
    other = of(park((3, 3), (9, 1), unknown=1), "other")
    assert (other["at_least_ratio"], other["at_most_ratio"], other["meets"]) == (0.1, 0.2, None)
    assert of(park((3, 3), (9, 2), unknown=1), "other")["meets"] is True  # 2 of 10 at worst
    assert of(park((3, 2), (9, 2), unknown=1), "key")["meets"] is False  # 3 of 4 at best


def test_without_enterprises_there_is_no_share() -> None:
    row = of(park((1, 1), (0, 0)), "other")
    assert (row["share_ratio"], row["at_least_ratio"], row["meets"], row["missing"]) == (None, None, None, "no such enterprise uses it")
    assert of(park((1, 1), (0, 0)), "key", "coal")["enterprises"] == 0


@pytest.mark.parametrize(("region", "key", "other"), [
    ("150602", "鄂尔多斯市工业园区", "鄂尔多斯市工业园区"), ("150400", "内政发〔2019〕21号", "assumption"), ("310000", "assumption", "assumption"),
])
def test_the_goal_of_the_smallest_region_holds_and_elsewhere_it_is_an_assumption(region: str, key: str, other: str) -> None:
    table = shares(park((1, 1), (1, 1)), law.access_goals(), pl.DataFrame({"park": ["P"], "region": [region]}), ON).filter(medium="all")
    assert [row["source"][:len(text)] for row, text in zip(table.to_dicts(), (key, other), strict=True)] == [key, other]


def test_before_a_goal_there_is_none() -> None:
    table = shares(park((1, 1), (1, 1)), law.access_goals(), REGIONS, date(2019, 12, 30))
    assert table["goal_ratio"].null_count() == table.height
    assert table["missing"].str.contains("no goal in force").all()


@settings(max_examples=40)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(1, 5))
def test_the_bounds_enclose_every_share_that_could_be(online: int, offline: int, unknown: int) -> None:
    found = park((online + offline, online), (0, 0), unknown)
    row = of(found, "key")
    for taken in range(unknown + 1):  # so many of the unknown ones, which are on line, are key units
        if online + offline + taken:
            share = (online + taken) / (online + offline + taken)
            assert row["at_least_ratio"] <= share <= row["at_most_ratio"]
