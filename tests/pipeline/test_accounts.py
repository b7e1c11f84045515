"""On a site: what a site measures counts for whoever holds it that day, in the park where it lies, and shared registers are divided by keys."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from config import settings as site_settings
from pipeline.as_of import known_at
from pipeline.evaluate import Evaluator, evaluated
from pipeline.roll import Roller
from pipeline.settle import Settler
from pipeline.site import Site
from tests.pipeline.conftest import ENTERPRISE, KNOWN_FROM, register_tables

BUYER = "91150400MA0EXAMP0J"
TODAY, AT = date(2025, 3, 1), datetime(2025, 3, 1, 4, tzinfo=UTC)
MOVED = date(2025, 2, 11)  # ten days of February before it


@pytest.fixture
def law(tmp_path: Path) -> Path:
    """The folder of the site's own tables."""
    (tmp_path / "law").mkdir()
    return tmp_path / "law"


@pytest.fixture
def coal(tmp_path: Path, law: Path) -> Iterator[Site]:
    """A site with 10 t of coal a day at the yard and 20 kWh of power a day, for January and February 2025."""
    site = Site(site_settings.build({"site": {"data_dir": tmp_path / "data", "tables_dir": law}}))
    tables = register_tables()
    place = {"enterprise": ENTERPRISE, "meter": "C-1", "register": "feed", "carrier": "raw_coal", "site": "north"}
    power = {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "carrier": "electricity"}
    more = {
        "park": pl.concat([tables["park"], tables["park"].with_columns(park=pl.lit("p2"))]),
        "block": pl.DataFrame({"park": ["p2"], "block": ["east"]}),
        "enterprise": pl.concat([tables["enterprise"], tables["enterprise"].with_columns(enterprise=pl.lit(BUYER))]),
        "site": pl.DataFrame({"enterprise": [ENTERPRISE], "site": ["north"], "park": ["p1"]}),
        "assignment": pl.DataFrame([place, power], infer_schema_length=None),
    }
    site.register.apply(tables | more, by="test", known_from=KNOWN_FROM)
    days = pl.DataFrame({"day": pl.date_range(date(2025, 1, 1), date(2025, 2, 28), eager=True)})
    start = pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("Asia/Shanghai").dt.convert_time_zone("UTC")
    for key, quantity in zip(site.register.names().sort("meter")["register_key"], (10.0, 20.0), strict=True):
        rows = days.with_columns(
            start=start, end=start + pl.duration(days=1), register_key=pl.lit(key), covered_ratio=1.0, estimated_ratio=0.0,
            quality=pl.lit("measured"), quantity=pl.lit(quantity),
        )
        site.derived.replace("daily", rows, rows.select("register_key", "day"))
    yield site
    site.close()


def hold(site: Site, **row: object) -> None:
    usual = {"enterprise": ENTERPRISE, "site": "north", "owner": ENTERPRISE, "park": "p2", "block": "east", "valid_from": str(MOVED)}
    site.register.apply({"holding": pl.DataFrame([usual | row], infer_schema_length=None)}, by="test", known_from=KNOWN_FROM)


def evaluate(site: Site) -> tuple[str, ...]:
    one = Evaluator(site, lambda: AT)
    one.once()
    return one.recomputed


def used(site: Site, period: str) -> dict[str, float]:
    """Enterprise -> t of coal."""
    found = site.derived.read_result("carriers")
    assert found is not None
    return dict(found.filter(period=period, carrier="raw_coal").select("enterprise", "quantity").iter_rows())


def parks(site: Site, period: str) -> dict[tuple[str, str | None], float | None]:
    found = site.derived.read_result("park_energy")
    assert found is not None
    return {(park, block): tce for park, block, tce in found.filter(period=period).select("park", "block", "calorific_tce").iter_rows()}


def test_what_is_measured_counts_for_whoever_holds_the_site_that_day(coal: Site) -> None:
    hold(coal, owner=BUYER)
    evaluate(coal)
    assert used(coal, "2025-01") == {ENTERPRISE: 310.0}
    assert used(coal, "2025-02") == {ENTERPRISE: 100.0, BUYER: 180.0}
    assert used(coal, "2025") == {ENTERPRISE: 410.0, BUYER: 180.0}


def test_a_park_counts_a_site_on_the_days_on_which_it_lies_there(coal: Site) -> None:
    hold(coal)
    evaluate(coal)
    power = 0.02 * 0.1229  # tce a day, of the enterprise's other site in p1
    assert parks(coal, "2025-02") == pytest.approx({
        ("p1", None): 100 * 0.7143 + 28 * power, ("p2", None): 180 * 0.7143, ("p2", "east"): 180 * 0.7143,
    })
    assert parks(coal, "2025") == pytest.approx({
        ("p1", None): 410 * 0.7143 + 59 * power, ("p2", None): 180 * 0.7143, ("p2", "east"): 180 * 0.7143,
    })
    assert used(coal, "2025-02") == {ENTERPRISE: 280.0}  # its owner stays


def burnt(site: Site) -> dict[str, float | None]:
    """Month and year -> tce of coal."""
    found = site.derived.read_result("carriers")
    assert found is not None
    return dict(found.filter(carrier="raw_coal").select("period", "calorific_tce").iter_rows())


def test_a_coefficient_that_changes_inside_a_month_counts_from_its_day_on(coal: Site, law: Path) -> None:
    own = law / "coal_equivalent_own.csv"
    head, row = "carrier,unit,kgce_per_unit,basis,valid_from,source", "raw_coal,kg,{},calorific,{},a list of the site for the tests"
    own.write_text("\n".join([head, row.format(0.7, "2024-01-01"), row.format(0.5, MOVED)]), encoding="utf-8")
    evaluate(coal)
    assert burnt(coal) == pytest.approx({"2025-01": 217.0, "2025-02": 100 * 0.7 + 180 * 0.5, "2025": 410 * 0.7 + 180 * 0.5})
    own.write_text("\n".join([head, row.format(0.7, "2024-01-01"), row.format(0.6, MOVED)]), encoding="utf-8")
    assert evaluate(coal) == ("2025-02", "2025")  # what was kept of the year before is not taken over
    assert burnt(coal)["2025"] == pytest.approx(410 * 0.7 + 180 * 0.6)


def test_results_that_are_kept_are_those_that_would_be_worked_out_anew(coal: Site) -> None:
    evaluate(coal)
    hold(coal, owner=BUYER)
    assert evaluate(coal) == ("2025-02", "2025")
    hold(coal, park="p1", block=None)
    evaluate(coal)
    for name, frame in evaluated(coal, TODAY).items():
        kept = coal.derived.read_result(name)
        assert kept is not None
        assert kept.equals(frame), name


def test_a_merger_that_became_known_later_was_not_known_before(coal: Site) -> None:
    before = datetime(2025, 2, 1, tzinfo=UTC)
    row = {"enterprise": ENTERPRISE, "site": "north", "owner": BUYER, "park": "p2", "valid_from": str(MOVED)}
    coal.register.apply({"holding": pl.DataFrame([row])}, by="test", known_from=AT)
    holders = coal.register.holdings(as_of=before)["owner"].to_list(), coal.register.holdings()["owner"].to_list()
    assert holders == ([], [BUYER])
    assert known_at(coal, before, "energy", date(2025, 1, 1), date(2025, 1, 31)).height == 0  # no reading had come by then


def test_a_shared_register_is_divided_by_the_outputs_that_are_reported(coal: Site) -> None:
    shared = {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "carrier": "electricity"}
    coal.register.apply({"assignment": pl.DataFrame([
        shared | {"withdrawn": True},
        *(shared | {"product": product, "allocation": "output", "withdrawn": False} for product in ("calcium_carbide", "lime")),
    ], infer_schema_length=None)}, by="test", known_from=KNOWN_FROM)
    made = pl.DataFrame([
        {"enterprise": ENTERPRISE, "period": "2025-01", "figure": "output", "value": value, "unit": "t", "product": product}
        for product, value in (("calcium_carbide", 30.0), ("lime", 10.0))
    ])
    coal.figures.apply(made, maker="a", at=AT)
    coal.figures.check_all(checker="b", at=AT)
    evaluate(coal)
    found = coal.derived.read_result("carriers")
    assert found is not None
    shares = found.filter(carrier="electricity", period="2025-01").select("product", "quantity").rows()
    assert shares == [("calcium_carbide", pytest.approx(465.0)), ("lime", pytest.approx(155.0))]
    february = found.filter(carrier="electricity", period="2025-02")
    assert february["quantity"].to_list() == [None, None]  # nobody has reported the output yet
    assert february["covered_ratio"].to_list() == [0.0, 0.0]


def test_where_no_output_is_reported_the_production_counter_gives_it(coal: Site) -> None:
    meter = {"enterprise": ENTERPRISE, "meter": "P-1"}
    of_power = {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "carrier": "electricity"}
    coal.register.apply({
        "meter": pl.DataFrame([{**meter, "gateway": "GW-01", "medium": "other"}]),
        "register": pl.DataFrame([{**meter, "register": "output", "unit": "t", "kind": "cumulative"}]),
        "assignment": pl.DataFrame([
            {**meter, "register": "output", "carrier": "product", "flow": "produced", "product": "calcium_carbide", "withdrawn": False},
            {**of_power, "withdrawn": True}, {**of_power, "product": "calcium_carbide", "withdrawn": False},
        ], infer_schema_length=None),
    }, by="test", known_from=KNOWN_FROM)
    key = coal.register.names().filter(pl.col("meter") == "P-1")["register_key"].item()
    days = coal.derived.read("daily", date(2025, 1, 1), date(2025, 2, 28)).collect()
    one = days.filter(pl.col("register_key") == days["register_key"][0])
    rows = one.with_columns(register_key=pl.lit(key, dtype=pl.UInt32), quantity=pl.lit(0.02))
    coal.derived.replace("daily", rows, rows.select("register_key", "day"))
    evaluate(coal)
    found = coal.derived.read_result("verdicts")
    assert found is not None
    verdict = found.row(0, named=True)
    assert (verdict["product"], verdict["period_end"], verdict["closed"]) == ("calcium_carbide", date(2025, 2, 28), False)
    assert verdict["actual"] == pytest.approx(20 * 0.1229 / 0.02)  # kgce/t
    energy = coal.derived.read_result("energy")
    assert energy is not None
    assert energy.filter(period="2025-02")["calorific_tce"][0] == pytest.approx(280 * 0.7143 + 28 * 0.02 * 0.1229)  # a product is no energy
    reported = pl.DataFrame([
        {"enterprise": ENTERPRISE, "period": "2025-01", "figure": "output", "value": 1.0, "unit": "t", "product": "calcium_carbide"},
    ])
    coal.figures.apply(reported, maker="a", at=AT)
    coal.figures.check_all(checker="b", at=AT)
    evaluate(coal)
    found = coal.derived.read_result("verdicts")
    assert found is not None
    assert found["period_end"].to_list() == [date(2025, 1, 31)]  # what is reported comes first
    assert found["actual"][0] == pytest.approx(31 * 20 * 0.1229 / 1.0)


def test_as_of_an_instant_the_new_owner_has_what_the_meters_of_the_old_one_measured(
    new_site: Callable[[Path], Site], arrive: Callable[..., int], tmp_path: Path,
) -> None:
    site = new_site(tmp_path)
    tables = register_tables()
    feed = {"enterprise": ENTERPRISE, "meter": "C-1", "register": "feed", "carrier": "raw_coal", "product": "calcium_carbide"}
    site.register.apply({
        "park": pl.concat([tables["park"], tables["park"].with_columns(park=pl.lit("p2"))]),
        "enterprise": tables["enterprise"].with_columns(enterprise=pl.lit(BUYER)),
        "site": pl.DataFrame({"enterprise": [ENTERPRISE], "site": ["north"], "park": ["p1"]}),
        "assignment": pl.DataFrame([feed | {"withdrawn": True}, feed | {"site": "north", "withdrawn": False}], infer_schema_length=None),
    }, by="test", known_from=KNOWN_FROM)
    hold(site, owner=BUYER, block=None, valid_from="2025-01-03")
    start = datetime(2024, 12, 31, 16, tzinfo=UTC)
    arrive(site, 1, [("C-1", "feed", start + timedelta(days=day), 100.0 + 10 * day) for day in range(5)])
    settler = Settler(site)
    while settler.once():
        pass
    Roller(site).once()
    at = start + timedelta(days=4)
    Evaluator(site, lambda: at).once()
    live = site.derived.read_result("energy")
    assert live is not None
    asked = live.filter(pl.col("enterprise") == BUYER, pl.col("period").str.len_chars() == 10, pl.col("calorific_tce").is_not_null())
    assert asked["calorific_tce"].to_list() == pytest.approx([7.143, 7.143])
    then = known_at(site, at, "energy", date(2025, 1, 1), date(2025, 1, 4), {BUYER})
    assert then.filter(pl.col("calorific_tce").is_not_null()).select(asked.columns).equals(asked)


def budget(site: Site, *rows: Mapping[str, object]) -> dict[tuple[str, str], dict[str, object]]:
    """(subject, measure) -> WARNING of goals for 2025, checked by a second person, without the buyer, of whom nothing is measured."""
    gone = site.register.enterprises().filter(enterprise=BUYER).select("enterprise", "name_zh", "park").with_columns(withdrawn=pl.lit(value=True))
    site.register.apply({"enterprise": gone}, by="test", known_from=KNOWN_FROM)
    usual = {"kind": "ceiling", "period": "2025", "target": 1e6, "source": "plan"}
    site.reported.budgets.apply(pl.DataFrame([{**usual, **row} for row in rows], infer_schema_length=None), maker="a", at=AT)
    site.reported.budgets.check_all(checker="b", at=AT)
    evaluate(site)
    found = site.derived.read_result("budgets")
    assert found is not None
    return {(str(row["subject"]), str(row["measure"])): row for row in found.to_dicts()}


def test_a_budget_of_a_park_counts_what_lay_in_it_day_by_day(coal: Site) -> None:
    hold(coal)
    of = {"measure": "coal_tce"}
    found = budget(coal, of | {"park": "p1"}, of | {"park": "p2"}, of | {"enterprise": ENTERPRISE}, of | {"region": "159900"})
    tce = {subject: row["actual"] for (subject, _), row in found.items()}
    assert tce == pytest.approx({"p1": 410 * 0.7143, "p2": 180 * 0.7143, ENTERPRISE: 590 * 0.7143, "159900": 590 * 0.7143})


def test_what_no_site_has_is_counted_at_home_though_the_site_has_left(coal: Site) -> None:
    hold(coal, valid_from="2025-01-01")
    of = {"measure": "electricity_kwh"}
    found = budget(coal, of | {"park": "p1"}, of | {"park": "p2"})
    assert {subject: row["actual"] for (subject, _), row in found.items()} == pytest.approx({"p1": 59 * 20.0, "p2": 0.0})


def test_carbon_of_a_park_takes_the_factor_of_its_grid_region_and_says_so(coal: Site) -> None:
    coal.register.apply({
        "park": pl.DataFrame({"park": ["p1"], "region": ["159901"], "grid_region": ["inner_mongolia"]}),
        "assignment": pl.DataFrame([{
            "enterprise": ENTERPRISE, "meter": "C-1", "register": "feed", "carrier": "raw_coal", "site": "north", "withdrawn": True,
        }]),
    }, by="test", known_from=KNOWN_FROM)
    found = budget(coal, {"measure": "carbon_tco2", "park": "p1"}, {"measure": "carbon_tco2", "enterprise": ENTERPRISE})
    for row in found.values():
        assert row["actual"] == pytest.approx(59 * 20.0 * 0.6479 / 1000)
        assert "CO2 of grid electricity by the factor of inner_mongolia (2023)" in str(row["derivation"])
        assert "网电二氧化碳按 inner_mongolia 因子（2023）" in str(row["derivation_zh"])


def test_a_grid_region_that_no_factor_has_leaves_the_carbon_open(coal: Site) -> None:
    coal.register.apply({"park": pl.DataFrame({"park": ["p1"], "region": ["159901"], "grid_region": ["moon"]})}, by="test", known_from=KNOWN_FROM)
    (row,) = budget(coal, {"measure": "carbon_tco2", "park": "p1"}).values()
    assert (row["actual"], row["colour"]) == (None, None)
    assert "moon is no grid region of the CO2 factors" in str(row["missing"])


def test_renewable_power_that_is_stated_and_checked_is_no_part_of_the_assessment(coal: Site) -> None:
    said = {"enterprise": ENTERPRISE, "period": "2025-01", "source": "green certificates 1 to 300"}
    coal.figures.apply(pl.DataFrame([
        said | {"figure": "renewable_electricity_kwh", "value": 310.0}, said | {"figure": "new_renewable_electricity_kwh", "value": 155.0},
    ]), maker="a", at=AT)
    gross, assessed = "calorific_tce", "assessment_calorific_tce"
    goals = [{"measure": measure, "park": "p1"} for measure in (gross, assessed, "renewable_electricity_ratio")]
    before = budget(coal, *goals)
    assert before["p1", assessed]["actual"] == before["p1", gross]["actual"]  # nobody has checked it
    coal.figures.check_all(checker="b", at=AT)
    after = budget(coal, {"measure": gross, "park": "p1", "period": "2024"})
    assert after["p1", gross]["actual"] == before["p1", gross]["actual"]
    assert after["p1", assessed]["actual"] == pytest.approx(float(str(after["p1", gross]["actual"])) - 0.155 * 0.1229)
    assert after["p1", "renewable_electricity_ratio"]["actual"] == pytest.approx(310.0 / (59 * 20.0))
    energy = coal.derived.read_result("energy")
    assert energy is not None
    of_days = {period: energy.filter(period=period)["new_renewable_tce"].item() for period in ("2025-01-31", "2025-02-01")}
    assert of_days == {"2025-01-31": None, "2025-02-01": 0.0}  # what is said of January says nothing of its days
    for period in ("2025-01", "2025"):
        assert energy.filter(period=period)["new_renewable_tce"].item() == pytest.approx(0.155 * 0.1229)
