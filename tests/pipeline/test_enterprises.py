"""Registers of enterprises from what a site has: figures, registers, received readings, declared lists."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from config.schemas import ENERGY_SUM, READING, conform
from monitors.completeness import received_runs
from pipeline import enterprises
from pipeline.site import Site
from tests.pipeline.conftest import ENTERPRISE

ON = date(2026, 6, 2)
START = datetime(2026, 6, 1, 16, tzinfo=UTC)  # local midnight of ON
NOON = START + timedelta(hours=12)
OTHER = "91159901MA0EXAMP5R"


def apply(site: Site, /, **tables: list[dict[str, object]]) -> None:
    frames = {name: pl.DataFrame(rows, infer_schema_length=None) for name, rows in tables.items()}
    site.register.apply(frames, by="test", known_from=datetime(2026, 1, 1, tzinfo=UTC))


def receive(site: Site, slots: dict[int, int]) -> None:
    """So many readings of each register, every 15 minutes from the begin of ON."""
    rows = [{"register_key": key, "read_at": START + timedelta(minutes=15 * n), "copy": 0, "value": float(n)} for key, count in slots.items()
            for n in range(count)]
    received = received_runs(conform(pl.DataFrame(rows), READING), "Asia/Shanghai")
    site.derived.replace("received", received, received.select("register_key", "day").unique())


def energy(site: Site, *rows: tuple[str, str, float | None]) -> None:
    shape = pl.Schema({"enterprise": pl.String(), "period": pl.String(), **ENERGY_SUM})
    frame = pl.DataFrame([{"enterprise": one, "period": period, "calorific_tce": tce, "covered_ratio": 1.0} for one, period, tce in rows])
    site.derived.write_result("energy", conform(frame, shape))


def states(site: Site, *, live: bool = False, now: datetime = NOON, enterprise: str = ENTERPRISE) -> dict[str, str]:
    found = enterprises.access(site, ON, now, live=live)
    return dict(found.filter(enterprise=enterprise).select("medium", "state").iter_rows())


def test_key_energy_users_follow_from_metered_years_reported_ones_and_designations(site: Site) -> None:
    assert enterprises.key_energy_users(site, ON).height == 0
    energy(site, (ENTERPRISE, "2025", 9_000.0), (ENTERPRISE, "2025-03", 20_000.0), ("a stranger", "2025", 1e6))
    apply(site, designation=[{"enterprise": ENTERPRISE, "authority": "省", "valid_from": "2026-04-01"}])
    at = datetime(2026, 2, 1, tzinfo=UTC)
    site.figures.apply(pl.DataFrame([
        {"enterprise": ENTERPRISE, "period": year, "figure": "energy_calorific_tce", "value": tce}
        for year, tce in (("2024", 12_000.0), ("2025", 1.0))
    ]), maker="m", at=at)
    site.figures.check_all(checker="c", at=at)
    rows = enterprises.key_energy_users(site, ON).select("enterprise", "year", "figure", "status", "change").rows()
    assert rows == [(ENTERPRISE, 2024, "reported", "key", "first_known"), (ENTERPRISE, 2025, "metered", "designated", "none")]
    assert enterprises.key_energy_users(site, date(2026, 3, 31))["status"].to_list() == ["key", "designable"]


@pytest.mark.parametrize(("slots", "electricity"), [(96, "online"), (87, "online"), (86, "not_delivering"), (0, "not_delivering")])
def test_a_meter_delivers_on_a_day_with_nine_tenths_of_its_slots(site: Site, slots: int, electricity: str) -> None:
    receive(site, {2: slots, 1: 96})
    keys = {row["meter"]: row["register_key"] for row in site.register.registers().to_dicts()}
    assert keys == {"C-1": 1, "E-1": 2}
    assert states(site, now=START + timedelta(days=2)) == {
        "coal": "online", "water": "unknown", "oil": "unknown", "gas": "unknown", "electricity": electricity,
        "all": "unknown" if electricity == "online" else "not_delivering",
    }


def test_live_a_meter_delivers_until_it_is_stale(site: Site) -> None:
    receive(site, {2: 49, 1: 49})  # the last reading at noon, one every 15 minutes
    assert states(site, live=True, now=NOON + timedelta(minutes=45))["electricity"] == "online"
    assert states(site, live=True, now=NOON + timedelta(minutes=45, seconds=1))["electricity"] == "not_delivering"


def test_a_declared_list_tells_gaps_from_media_that_are_not_used(site: Site) -> None:
    receive(site, {1: 96, 2: 96})
    listed: list[dict[str, object]] = [
        {"enterprise": ENTERPRISE, "medium": medium, "source": "a list", "valid_from": "2026-01-01"} for medium in ("coal", "electricity")
    ]
    apply(site, medium_use=listed)
    later = START + timedelta(days=2)
    unused = dict.fromkeys(("water", "oil", "gas"), "not_used")
    assert states(site, now=later) == {"coal": "online", "electricity": "online", **unused, "all": "online"}
    apply(site, medium_use=[{"enterprise": ENTERPRISE, "medium": "water", "source": "a list", "valid_from": "2026-06-02"}])
    assert states(site, now=later)["water"] == states(site, now=later)["all"] == "no_meter"
    apply(site, medium_use=[{"enterprise": ENTERPRISE, "medium": "water", "source": "a list", "valid_from": "2026-06-02", "withdrawn": "true"},
                            {"enterprise": ENTERPRISE, "medium": "water", "source": "a list", "valid_from": "2026-06-03"}])
    assert states(site, now=later)["water"] == "not_used"


def test_a_sub_meter_is_no_plant_level_point_and_a_named_point_counts_in_its_place(site: Site) -> None:
    receive(site, {1: 96})
    apply(site, meter=[{"enterprise": ENTERPRISE, "meter": "E-2", "medium": "electricity"}],
          register=[{"enterprise": ENTERPRISE, "meter": "E-2", "register": "main", "unit": "kWh", "kind": "cumulative"}],
          balance=[{"enterprise": ENTERPRISE, "total_meter": "E-2", "total_register": "main", "part_meter": "E-1",
                    "part_register": "active_import", "kind": "sub_meter"}])
    later = START + timedelta(days=2)
    assert states(site, now=later)["electricity"] == "unknown"  # the total has no assignment, the part is no point
    apply(site, metering_point=[{"enterprise": ENTERPRISE, "point": "in-1", "level": "unit", "medium": "electricity", "meter": "E-2"},
                                {"enterprise": ENTERPRISE, "point": "eq-1", "level": "equipment", "medium": "electricity"}])
    assert states(site, now=later)["electricity"] == "not_delivering"
    receive(site, {3: 96})
    assert states(site, now=later)["electricity"] == "online"
    apply(site, metering_point=[{"enterprise": ENTERPRISE, "point": "in-2", "level": "unit", "medium": "electricity"}])
    found = enterprises.access(site, ON, later, live=False).filter(medium="electricity").row(0, named=True)
    assert (found["state"], found["lacking"]) == ("no_meter", "in-2")


def test_a_derived_register_delivers_where_those_in_its_formula_do(site: Site) -> None:
    apply(site, meter=[{"enterprise": ENTERPRISE, "meter": "E-0", "medium": "electricity"}],
          register=[{"enterprise": ENTERPRISE, "meter": "E-0", "register": "main", "unit": "kWh", "kind": "derived",
                     "formula": "sum(E-1.active_import)"}],
          assignment=[{"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "carrier": "electricity",
                       "product": "calcium_carbide", "withdrawn": "true"},
                      {"enterprise": ENTERPRISE, "meter": "E-0", "register": "main", "carrier": "electricity"}])
    later = START + timedelta(days=2)
    receive(site, {1: 96})
    assert states(site, now=later)["electricity"] == "not_delivering"
    receive(site, {2: 96})
    assert states(site, now=later)["electricity"] == "online"


def test_an_enterprise_is_counted_where_its_sites_lie(site: Site) -> None:
    apply(site, park=[{"park": "p2", "region": "159901"}], site=[{"enterprise": ENTERPRISE, "site": "west", "park": "p2"}],
          meter=[{"enterprise": ENTERPRISE, "meter": one, "gateway": "GW-01", "medium": medium, "site": "west"}
                 for one, medium in (("E-1", "electricity"), ("C-1", "coal"))])
    receive(site, {1: 96, 2: 96})
    found = enterprises.access(site, ON, START + timedelta(days=2), live=False)
    assert found["park"].unique().to_list() == ["p2"]
    assert found.filter(medium="coal")["state"].item() == "online"


def test_a_site_that_changed_hands_counts_for_its_holder_and_in_the_park_of_the_day(site: Site) -> None:
    apply(site, park=[{"park": "p2", "region": "159901"}], site=[{"enterprise": ENTERPRISE, "site": "west", "park": "p1"}],
          enterprise=[{"enterprise": OTHER, "name_zh": "另一家", "park": "p2"}],
          meter=[{"enterprise": ENTERPRISE, "meter": "E-1", "gateway": "GW-01", "medium": "electricity", "site": "west"}],
          holding=[{"enterprise": ENTERPRISE, "site": "west", "owner": OTHER, "park": "p2", "valid_from": "2026-06-02"}])
    receive(site, {1: 96, 2: 96})
    later = START + timedelta(days=2)
    assert states(site, now=later, enterprise=OTHER)["electricity"] == "online"
    assert states(site, now=later)["electricity"] == "unknown"
    assert states(site, now=later)["coal"] == "online"  # a meter of no site stays at home
    before = enterprises.access(site, date(2026, 6, 1), later, live=False)
    assert before.filter(enterprise=ENTERPRISE, medium="electricity")["state"].item() == "not_delivering"


def test_who_is_a_key_unit_follows_from_the_energy_else_from_the_register(site: Site) -> None:
    def members() -> str | None:
        status: str | None = enterprises.access(site, ON, NOON, live=True)["members"].unique().item()
        return status

    assert members() is None
    apply(site, enterprise=[{"enterprise": ENTERPRISE, "name_zh": "示例电石", "park": "p1", "key_unit": False}])
    assert members() == "other"
    energy(site, (ENTERPRISE, "2025", 10_000.0), (ENTERPRISE, "2026", 1.0))
    assert members() == "key"


def test_shares_stand_day_by_day_beside_the_goals(site: Site) -> None:
    receive(site, {1: 96, 2: 96})
    energy(site, (ENTERPRISE, "2025", 10_000.0))
    days = [ON - timedelta(days=1), ON]
    found = enterprises.access_by_day(site, days, START + timedelta(days=2)).filter(members="key", medium="electricity")
    assert found.select("day", "share_ratio", "meets").rows() == [(days[0], 0.0, False), (ON, 1.0, True)]
    assert enterprises.access_by_day(site, [], NOON).columns == ["day", *found.columns[1:]]


def test_projects_are_judged_by_the_limits_of_the_site_and_tell_what_is_coming(site: Site) -> None:
    apply(site, project=[{
        "project": "p-1", "enterprise": ENTERPRISE, "park": "p1", "product": "calcium_carbide", "design_value": 800.0, "design_unit": "kgce/t",
        "approved_on": "2025-03-01", "approved_calorific_tce": 36_500.0, "planned_operation_on": "2026-07-01",
    }], quota=[{"project": "p-1", "day": "2025-03-01", "kind": "granted", "document": "d", "calorific_tce": 36_500.0}])
    (row,) = enterprises.project_states(site, ON).to_dicts()
    assert (row["state"], row["standard"], row["advanced"], row["required_level"]) == ("approved", "GB 21343-2023", True, 1)
    coming = enterprises.expected_energy(site, ON, date(2026, 8, 1), ON)
    assert coming.select("period", "calorific_tce").rows() == [("2026-07", pytest.approx(3_100.0)), ("2026-08", pytest.approx(3_100.0))]
