"""Every row of the shipped tables, the edition in force on a day, and the rows that a site adds."""

import csv
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from config import coal_equivalents, lawbook, limit_tables, tables
from config.errors import BadInputError, NoRuleInForceError, UnknownCodeError
from config.units import KJ_PER_KGCE

SHARED = Path(os.environ.get("TCEWATCH_SHARED", Path(__file__).parents[3] / "shared")) / "domain"
LIMIT_ROWS = limit_tables.limit_rows()
LIMITS = limit_tables.limits()
CARRIED_OVER, FROM_REMARKS = 339, 32  # rows of the domain's table, and rows that stood only in their remarks
COEFFICIENT_ROWS = coal_equivalents.coefficient_rows()


def raw(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", LIMIT_ROWS, ids=lambda row: f"{row.standard} {row.product} {row.indicator} {row.feedstock or ''}".strip())
def test_a_limit_row_is_in_force_exactly_within_its_dates(row: limit_tables.LimitRow) -> None:
    table = LIMITS.filter(product=row.product, standard=row.standard, indicator=row.indicator)
    table = table.filter(pl.col("feedstock").eq_missing(pl.lit(row.feedstock, dtype=pl.String())))
    assert table.height == 1
    end = table["effective_to"].item()
    keys = {"product": row.product, "indicator": row.indicator}

    def stands(day: date) -> bool:
        return not tables.in_force(table, day, **keys).is_empty()

    if row.effective_from is None:
        with pytest.raises(NoRuleInForceError, match="none of its rows has a date"):
            stands(end or date(2026, 1, 1))
        return
    assert stands(row.effective_from)
    with pytest.raises(NoRuleInForceError):
        stands(row.effective_from - timedelta(days=1))
    if end is None:
        assert stands(date(2099, 12, 31))
    else:
        assert row.effective_from < end
        assert stands(end)
        with pytest.raises(NoRuleInForceError):
            stands(end + timedelta(days=1))


@pytest.mark.parametrize("row", COEFFICIENT_ROWS, ids=lambda row: f"{row.carrier} {row.basis}")
def test_a_coefficient_has_dates_a_source_a_role_and_the_heating_value_that_it_comes_from(row: coal_equivalents.CoefficientRow) -> None:
    assert row.confidence is not None
    assert row.role is not None
    assert row.name_zh
    assert row.name_en
    if row.kgce_per_unit is not None and row.lhv_kj_per_unit is not None:
        assert row.lhv_kj_per_unit / KJ_PER_KGCE == pytest.approx(row.kgce_per_unit, rel=2e-3)  # printed with four digits


def test_the_limits_table_has_all_rows_and_says_what_standing_they_can_have() -> None:
    table = limit_tables.limits()
    assert table.height == CARRIED_OVER + FROM_REMARKS
    assert dict(table["confidence"].value_counts().iter_rows()) == {"high": 3, "medium": 321, "low": 47}
    assert table.filter(pl.col("effective_from").is_null()).height == 29
    incomplete = set(table.filter(~pl.col("corrections_complete"))["standard"])
    assert incomplete == {  # decisions.md 3, and the yellow phosphorus whose feed correction is no table
        "GB 21258-2024", "GB 45247-2025", "GB 21340-2019", "GB 29995-2024", "GB 29445-2025", "GB 21345-2024",
    }


def test_each_row_whose_remark_states_a_correction_has_it_as_data_or_counts_as_incomplete() -> None:
    words = ("correction:", "corrections:", "corrections in the standard", "altitude", "factors in the standard", "are in the standard and are not",
             "+0.", "per point", "k: ", "k1-k5", "yield correction", "enters the calculation", "stainless x")
    stated = LIMITS.filter(pl.any_horizontal(pl.col("remark").str.contains(word, literal=True) for word in words))
    assert stated.height > 35
    assert stated.filter(pl.col("corrections").list.len() == 0, "corrections_complete")["product"].to_list() == []


def test_every_correction_has_its_source_and_one_meaning_for_each_parameter() -> None:
    rows = pl.DataFrame([row.model_dump() for row in tables.load("corrections", limit_tables.CorrectionRow, None)[0]], infer_schema_length=None)
    assert rows.height == 103
    assert rows.filter(pl.any_horizontal(pl.col("source", "clause", "parameter_zh", "parameter_en").str.len_chars() < 1)).is_empty()
    assert rows.filter(pl.col("confidence") == "high").is_empty()  # one transcription
    meanings = rows.group_by("parameter").agg(pl.col("parameter_unit", "low", "high", "kind").n_unique())
    assert meanings.filter(pl.any_horizontal(pl.col("parameter_unit", "low", "high", "kind") > 1)).is_empty()
    shares = rows.filter(pl.col("parameter_unit") == "share")
    assert shares.filter(~pl.col("parameter").str.ends_with("_ratio") | (pl.col("low") != 0) | (pl.col("high") != 1)).is_empty()
    levels = {(row["standard"], row["product"], row["indicator"]): [n for n in "123" if row[f"level_{n}"] is not None] for row in LIMITS.to_dicts()}
    for row in rows.drop_nulls("levels").to_dicts():  # no correction of a level that no row of the standard has
        named = [own for (standard, product, _), own in levels.items() if (standard, product) == (row["standard"], row["product"])]
        assert set(row["levels"].split()) & {n for own in named for n in own}, row


def test_a_correction_that_fits_no_limit_or_does_not_say_what_its_kind_needs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corrections.csv").write_text(
        "standard,product,sequence,parameter,parameter_zh,parameter_en,kind,effect,applies_to,levels,values,values_zh,coefficient,source,confidence\n"
        "GB 21343-2023,calcium_carbid,1,grade,品位,grade,linear,add,limit,3,,,2,a printed text,low\n"
        "GB 21343-2023,calcium_carbide,1,grade,品位,grade,linear,add,limit,,,,2,a printed text,low\n"
        "GB 21343-2023,calcium_carbide,1,grade,品位,grade,linear,add,limit,3,0:1,,,a printed text,low\n"
        "GB 21343-2023,calcium_carbide,1,grade,品位,grade,interpolated,add,limit,3,2:1 1:2,,,a printed text,low\n"
        "GB 21343-2023,calcium_carbide,1,grade,品位,grade,by_value,add,limit,3,no:0 yes:2,否,,a printed text,low\n"
        "GB 21343-2023,calcium_carbide,1,grade,品位,grade,linear,add_share,actual,,,,2,a printed text,low\n", encoding="utf-8")
    with pytest.raises(BadInputError) as error:
        limit_tables.limits(tmp_path)
    assert [problem.where for problem in error.value.problems] == [f"corrections.csv row {row}" for row in (3, 4, 5, 6, 7)]
    lines = (tmp_path / "corrections.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "corrections.csv").write_text("\n".join(lines[:2]) + "\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="corrects no row of limits"):
        limit_tables.limits(tmp_path)


def test_a_correction_of_the_site_replaces_the_shipped_one_from_when_it_was_known(tmp_path: Path) -> None:
    (tmp_path / "corrections.csv").write_text(
        "standard,product,sequence,parameter,parameter_zh,parameter_en,kind,effect,applies_to,levels,values,values_zh,source,confidence,known_from\n"
        "GB 21342-2025,coke_top_charged,4,wet_quenching,湿熄焦,wet quenching,by_value,add,limit,3,no:0 yes:40,否 是,print of 2025,high,"
        "2026-08-01T00:00:00+08:00\n", encoding="utf-8")

    def amounts(as_of: datetime | None) -> list[str]:
        table = limit_tables.limits(tmp_path, as_of)
        row = table.row(by_predicate=(pl.col("product") == "coke_top_charged") & (pl.col("edition") == "2025"), named=True)
        return [each["values"] for each in row["corrections"] if each["parameter"] == "wet_quenching"]

    assert amounts(None) == ["no:0 yes:40"]
    assert amounts(datetime(2026, 7, 1, tzinfo=UTC)) == ["no:0 yes:46.46"]
    later = lawbook.known_later(tmp_path, datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC))[1]
    assert [row.standard for row in later] == ["GB 21342-2025"]


def test_editions_of_one_product_share_its_code_and_hand_over_without_a_gap() -> None:
    for product, indicator in (
        ("coke_top_charged", "comprehensive_energy"), ("calcium_carbide", "furnace_electricity"), ("blast_furnace", "process_energy"),
        ("coal_mine_underground", "comprehensive_energy"), ("polysilicon_trichlorosilane", "comprehensive_energy"),
        ("rare_earth_metal_nd", "comprehensive_energy"),
    ):
        old, new = limit_tables.limits().filter(product=product, indicator=indicator).sort("effective_from").rows(named=True)
        assert old["effective_to"] + timedelta(days=1) == new["effective_from"]
        assert old["standard"] != new["standard"]


def test_the_basis_is_calorific_unless_the_standard_takes_the_equivalent_value() -> None:
    equivalent = limit_tables.limits().filter(basis="equivalent")
    assert sorted(equivalent["standard"].unique()) == ["GB 21341-2008", "GB 30251-2024"]
    second = equivalent.filter(standard="GB 21341-2008")
    assert second["indicator"].unique().to_list() == ["comprehensive_energy_0404"]  # with the coefficient that its standard prints


def test_the_two_feedstock_boundaries_of_a_product_are_two_rows() -> None:
    rows = limit_tables.limits().filter(product="olefins_coal_mto").select("feedstock", "level_3").sort("feedstock").rows()
    assert rows == [("excluded", 1600.0), ("included", 3300.0)]


@pytest.mark.needs("shared-data")
def test_no_limit_was_altered_when_it_was_carried_over() -> None:
    if not SHARED.is_dir():
        pytest.skip("the domain tables are not here")
    ours = raw(tables.SHIPPED / "limits.csv")
    theirs = raw(SHARED / "limits.csv")
    assert len(theirs) == CARRIED_OVER
    for own, other in zip(ours[:CARRIED_OVER], theirs, strict=True):
        assert own["edition"] == other["edition_year"]
        for column in other.keys() - {"edition_year"}:
            assert own[column] == other[column], (own["product"], column)


@pytest.mark.needs("shared-data")
def test_no_coefficient_was_altered_when_it_was_carried_over() -> None:
    if not SHARED.is_dir():
        pytest.skip("the domain tables are not here")
    ours = {(row["carrier"], row["basis"], row["valid_from"]): row for row in raw(tables.SHIPPED / "coal_equivalent.csv")}
    theirs = raw(SHARED / "coal_equivalent.csv")
    for other in theirs:
        own = ours.pop((other["carrier"], other["basis"], other["valid_from"]))
        assert {column: own[column] for column in other} == other
    assert all(not row["kgce_per_unit"] for row in ours.values())  # added: carriers that ask for a heating value


def test_outside_its_dates_a_rule_does_not_exist() -> None:
    table = limit_tables.limits()
    assert tables.in_force(table, date(2026, 4, 30), product="coke_top_charged")["standard"].to_list() == ["GB 21342-2013"]
    with pytest.raises(NoRuleInForceError, match="first row starts on 2014-10-01") as error:
        tables.in_force(table, date(2014, 9, 30), product="coke_top_charged")
    assert error.value.earliest == date(2014, 10, 1)
    with pytest.raises(UnknownCodeError, match="coke_top"):
        tables.in_force(table, date(2026, 1, 1), product="coke_top")


def test_a_coefficient_without_a_number_is_never_in_force() -> None:
    table = coal_equivalents.coefficients()
    assert tables.in_force(table, date(2025, 1, 1), carrier="electricity", basis="calorific")["kgce_per_unit"].to_list() == [0.1229]
    with pytest.raises(NoRuleInForceError):
        tables.in_force(table, date(2025, 1, 1), carrier="electricity", basis="equivalent")
    with pytest.raises(NoRuleInForceError):  # half-open: the 2008 value ends where the 2020 edition starts
        tables.in_force(table, date(2021, 4, 1), carrier="natural_gas_2008_gasfield")
    assert tables.in_force(table, date(2021, 3, 31), carrier="natural_gas_2008_gasfield").height == 1


def test_consumed_media_have_no_number_until_a_site_names_one(tmp_path: Path) -> None:
    assert coal_equivalents.coefficients().filter(carrier="oxygen")["kgce_per_unit"].to_list() == [None]
    (tmp_path / "coal_equivalent_media.csv").write_text(
        "carrier,basis,unit,kgce_per_unit,valid_from,source\noxygen,equivalent,m3,0.4,2025-01-01,GB 21256-2025 appendix A\n", encoding="utf-8"
    )
    named = coal_equivalents.coefficients(tmp_path).filter(carrier="oxygen", kgce_per_unit=0.4)
    assert named["role"].to_list() == ["consumed_medium"]


def test_a_sites_coefficient_takes_precedence_on_its_days_only(tmp_path: Path) -> None:
    (tmp_path / "coal_equivalent.csv").write_text(
        "\ufeffcarrier,basis,unit,kgce_per_unit,valid_from,valid_to,source\n"
        "raw_coal,calorific,kg,0.65,2025-01-01,2026-01-01,laboratory of the site 2025\n",
        encoding="utf-8",
    )
    table = coal_equivalents.coefficients(tmp_path)
    days = (date(2024, 12, 31), date(2025, 1, 1), date(2025, 12, 31), date(2026, 1, 1))
    assert [tables.in_force(table, day, carrier="raw_coal")["kgce_per_unit"].to_list() for day in days] == [[0.7143], [0.65], [0.65], [0.7143]]


@pytest.mark.parametrize(("carrier", "unit", "kgce_per_unit", "fits"), [
    ("raw_coal", "kg", 0.65, True), ("raw_coal", "kg", 650.0, False), ("raw_coal", "t", 650.0, True), ("raw_coal", "t", 0.65, False),
    ("raw_coal", "kg", 7.1429, True), ("raw_coal", "kg", 7.1431, False), ("raw_coal", "kg", 0.07144, True), ("raw_coal", "kg", 0.07142, False),
    ("electricity", "kWh", 0.3015, True), ("electricity", "kWh", 301.5, False), ("natural_gas", "m3", 1.2, True), ("raw_coal", "L", 650.0, True),
])
def test_a_coefficient_ten_times_off_its_carriers_reference_is_in_another_unit_than_it_says(
    tmp_path: Path, carrier: str, unit: str, kgce_per_unit: float, fits: bool,
) -> None:
    head = "carrier,basis,unit,kgce_per_unit,valid_from,valid_to,source"
    (tmp_path / "coal_equivalent.csv").write_text(f"{head}\n{carrier},calorific,{unit},{kgce_per_unit},2025-01-01,,laboratory\n", encoding="utf-8")
    if fits:
        assert kgce_per_unit in coal_equivalents.coefficients(tmp_path).filter(carrier=carrier)["kgce_per_unit"]
        return
    with pytest.raises(BadInputError, match=f"coal_equivalent {carrier} from 2025-01-01.*more than ten times off"):
        coal_equivalents.coefficients(tmp_path)


def test_of_a_sites_coefficients_those_known_at_an_instant_can_be_asked_and_the_one_known_last_holds(tmp_path: Path) -> None:
    row = "raw_coal,calorific,kg,{},{},,laboratory of the site,{}\n"
    lines = [("0.70", "2025-01-01", ""), ("0.66", "2025-03-01", "2025-08-01T00:00:00+08:00"), ("0.65", "2025-03-01", "2025-06-01T00:00:00+08:00")]
    (tmp_path / "coal_equivalent.csv").write_text(
        "carrier,basis,unit,kgce_per_unit,valid_from,valid_to,source,known_from\n" + "".join(row.format(*line) for line in lines), encoding="utf-8",
    )
    june, august = datetime(2025, 5, 31, 16, tzinfo=UTC), datetime(2025, 7, 31, 16, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    for as_of, march in ((june - tick, 0.70), (june, 0.65), (august - tick, 0.65), (august, 0.66), (None, 0.66)):
        table = coal_equivalents.coefficients(tmp_path, as_of)
        found = [tables.in_force(table, day, carrier="raw_coal")["kgce_per_unit"].to_list() for day in (date(2025, 2, 28), date(2025, 3, 1))]
        assert found == [[0.70], [march]], as_of
    later, limit_rows, _ = lawbook.known_later(tmp_path, june, august)
    assert ([one.kgce_per_unit for one in later], limit_rows) == ([0.66], [])
    head, first, *_ = (tmp_path / "coal_equivalent.csv").read_text().splitlines(keepends=True)
    (tmp_path / "coal_equivalent_2.csv").write_text(head + first + first)
    with pytest.raises(BadInputError, match="says the same as row 2"):
        coal_equivalents.coefficients(tmp_path)


def test_a_limit_that_a_site_learnt_of_later_is_not_there_before(tmp_path: Path) -> None:
    row = "rock_wool,GB 30183-2013,2013,岩棉限额,岩棉,rock wool,comprehensive_energy,综合能耗,energy,kgce/t,{},2014-09-01,,"
    row += "true,the standard,medium,{}\n"
    known = datetime(2026, 1, 1, tzinfo=UTC)
    (tmp_path / "limits.csv").write_text(
        LIMIT_HEADER.replace("confidence", "confidence,known_from") + row.format(490, "") + row.format(480, known.isoformat()), encoding="utf-8",
    )
    for as_of, level in ((known - timedelta(microseconds=1), 490.0), (known, 480.0), (None, 480.0)):
        found = tables.in_force(limit_tables.limits(tmp_path, as_of), date(2015, 1, 1), product="rock_wool")
        assert found["level_3"].to_list() == [level]


LIMIT_HEADER = "product,standard,edition,name_zh,product_zh,product_en,indicator,indicator_zh,indicator_en,unit,level_3,effective_from,superseded_by,"
LIMIT_HEADER += "corrections_complete,source,confidence\n"


def test_a_new_edition_of_a_site_ends_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "limits-2030.csv").write_text(
        LIMIT_HEADER + "calcium_carbide,GB 21343-2029,2029,电石限额,电石,calcium carbide,comprehensive_energy,综合能耗,energy,"
        "kgce/t,900,2030-01-01,,true,text of the standard,high\n", encoding="utf-8",
    )
    table = limit_tables.limits(tmp_path)
    assert tables.in_force(table, date(2029, 12, 31), product="calcium_carbide", indicator="comprehensive_energy")["level_3"].to_list() == [940.0]
    assert tables.in_force(table, date(2030, 1, 1), product="calcium_carbide", indicator="comprehensive_energy")["level_3"].to_list() == [900.0]


def test_a_site_dates_an_undated_row_by_repeating_it(tmp_path: Path) -> None:
    (tmp_path / "limits.csv").write_text(
        LIMIT_HEADER + "rock_wool,GB 30183-2013,2013,岩棉限额,岩棉,rock wool,comprehensive_energy,单位产品综合能耗,energy,kgce/t,490,2014-09-01,,"
        "true,text of the standard,medium\n", encoding="utf-8",
    )
    table = limit_tables.limits(tmp_path)
    assert table.height == CARRIED_OVER + FROM_REMARKS
    assert tables.in_force(table, date(2015, 1, 1), product="rock_wool").height == 1


def test_all_faults_of_a_sites_tables_are_listed_by_row_and_column(tmp_path: Path) -> None:
    (tmp_path / "limits.csv").write_text(
        LIMIT_HEADER.replace("level_3", "level3")
        + "Coke,GB 1-2030,2030,限额,焦炭,coke,comprehensive_energy,综合能耗,energy,kgce/lb,135,2030-01-01,GB 2-2031,true,,high\n", encoding="utf-8",
    )
    (tmp_path / "coal_equivalent.csv").write_text(
        "carrier,basis,unit,kgce_per_unit,valid_from,valid_to,source\nraw_coal,calorific,kg,nan,2025-01-01,,laboratory of the site\n"
        "raw_coal,both,kg,0.7,2025-02-30,,laboratory of the site\nraw_coal,calorific,kg,0.7,2025-01-01,2025-01-01,laboratory of the site\n",
        encoding="utf-8",
    )
    (tmp_path / "prices.csv").write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(BadInputError) as error:
        limit_tables.limits(tmp_path)
    told = {problem.where for problem in error.value.problems}
    assert told == {
        *(f"limits.csv row 2 column {column}" for column in ("level3", "product", "unit", "source")), "prices.csv",
    }
    with pytest.raises(BadInputError) as error:
        coal_equivalents.coefficients(tmp_path)
    told = {problem.where for problem in error.value.problems}
    assert {f"coal_equivalent.csv row {place}" for place in ("2 column kgce_per_unit", "3 column basis", "3 column valid_from", "4")} <= told


@pytest.mark.parametrize(("source", "told"), [
    ("统计局", None), ("GB 1-203", None), ("GB 1-20", "'GB 1-20' does not say where the row is from. Write the document and the place in it."),
    ("own", "'own' does not say where the row is from. Write the document and the place in it."),
])
def test_a_source_names_a_document_which_may_be_short_in_chinese(tmp_path: Path, source: str, told: str | None) -> None:
    line = "p,GB 1-2030,2030,限额,产品,product,comprehensive_energy,综合能耗,energy,kgce/t,135,2030-01-01,,true,{},high\n"
    (tmp_path / "limits.csv").write_text(LIMIT_HEADER + line.format(source), encoding="utf-8")
    if told is None:
        assert limit_tables.limits(tmp_path).filter(product="p")["source"].to_list() == [source]
        return
    with pytest.raises(BadInputError) as error:
        limit_tables.limits(tmp_path)
    assert [str(problem) for problem in error.value.problems] == [f"limits.csv row 2 column source: {told}"]


def test_a_row_that_stands_twice_or_is_superseded_by_nothing_is_refused(tmp_path: Path) -> None:
    line = "p,GB 1-2030,2030,限额,产品,product,comprehensive_energy,综合能耗,energy,kgce/t,135,2030-01-01,{},true,text of the standard,high\n"
    (tmp_path / "limits.csv").write_text(LIMIT_HEADER + line.format("") * 2, encoding="utf-8")
    with pytest.raises(BadInputError, match="row 3: says the same as row 2"):
        limit_tables.limits(tmp_path)
    (tmp_path / "limits.csv").write_text(LIMIT_HEADER + line.format("GB 9-2031"), encoding="utf-8")
    with pytest.raises(BadInputError, match="GB 9-2031 has no row"):
        limit_tables.limits(tmp_path)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such folder"):
        limit_tables.limits(tmp_path / "none")
