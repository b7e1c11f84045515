import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sqlalchemy import text

from config.errors import BadInputError, Problem
from config.schemas import ASSIGNMENT, EVENT, REGISTER
from store.audit import AuditLog
from store.database import Database
from store.register import ImportCount, RegisterStore

STEEL, COKE = "91150400MA0EXAMP0J", "91150400MA0EXAMP1M"
KNOWN = datetime(2025, 1, 1, tzinfo=UTC)
LATER = KNOWN + timedelta(days=10)
Tables = dict[str, pl.DataFrame]
Build = Callable[[], Tables]


def changed(tables: Tables, table: str, row: int, **values: object) -> Tables:
    """`tables` with other values in one row of one table; new columns are empty elsewhere."""
    rows = tables[table].to_dicts()
    rows[row] |= values
    return tables | {table: pl.DataFrame(rows, infer_schema_length=None)}


def problems_of(store: RegisterStore, tables: Tables, at: datetime = LATER) -> list[Problem]:
    before = store.version()
    with pytest.raises(BadInputError) as caught:
        store.apply(tables, by="registrar", known_from=at)
    assert store.version() == before
    return list(caught.value.problems)


def test_the_register_comes_out_in_its_named_shapes(register: RegisterStore) -> None:
    rows = register.registers()
    assert rows.schema == REGISTER
    assert rows.select("register_key", "meter", "gateway", "medium", "stamp", "multiplier", "net", "known_from").rows() == [
        (1, "E-1", "gw-1", "electricity", "start", 40.0, False, KNOWN), (2, "W-1", None, "water", "start", 1.0, False, KNOWN),
    ]
    assert register.assignments().schema == ASSIGNMENT
    assert register.assignments().select("register_key", "carrier", "flow", "share_ratio").rows() == [
        (1, "electricity", "consumed", 1.0), (2, "water_tap", "consumed", 1.0),
    ]
    assert register.events().schema == EVENT
    assert register.names().rows() == [(1, STEEL, "E-1", "import"), (2, STEEL, "W-1", "main")]


def test_as_of_an_instant_the_rows_known_then_are_there(register: RegisterStore, tables: Build) -> None:
    before = {name: getattr(register, name)() for name in ("registers", "assignments", "events", "enterprises", "sites", "meters")}
    changes = changed(changed(tables(), "register", 0, multiplier=80.0), "meter", 0, gateway=None)
    changes = changed(changed(changes, "assignment", 0, share_ratio=0.5), "enterprise", 0, name_en="Another name")
    register.apply(changes, by="registrar", known_from=LATER)
    for name, frame in before.items():
        query = getattr(register, name)
        assert query(as_of=LATER - timedelta(microseconds=1)).drop("known_to", strict=False).equals(frame.drop("known_to", strict=False)), name
        assert query(as_of=LATER).equals(query()), name
        assert query(as_of=KNOWN - timedelta(microseconds=1)).is_empty(), name
    assert register.registers(as_of=LATER)["multiplier"].to_list() == [80.0, 1.0]


def test_versions_between_two_instants_are_those_that_began_or_ended_in_between(register: RegisterStore, tables: Build) -> None:
    register.apply(changed(tables(), "register", 0, multiplier=80.0), by="registrar", known_from=LATER)
    found = register.versions("register", KNOWN, LATER).select("register_key", "multiplier", "known_from", "known_to", "recorded_by")
    assert found.rows() == [(1, 40.0, KNOWN, LATER, found["recorded_by"][0]), (1, 80.0, LATER, None, "registrar")]
    assert register.versions("register", LATER, LATER + timedelta(days=1)).is_empty()
    for name in ("register", "assignment", "event", "enterprise", "rule"):
        assert register.versions(name, KNOWN - timedelta(days=1), KNOWN).height == tables().get(name, pl.DataFrame()).height, name


def test_the_same_rows_again_change_nothing(register: RegisterStore, tables: Build) -> None:
    before = register.version(), register.registers(history=True)
    assert register.apply(tables(), by="registrar", known_from=LATER) == ImportCount(unchanged=11)
    assert register.version() == before[0]
    assert_frame_equal(register.registers(history=True), before[1])


def test_a_changed_row_closes_its_version_and_opens_another(register: RegisterStore, tables: Build) -> None:
    count = register.apply(changed(tables(), "register", 0, multiplier=60.0), by="registrar", known_from=LATER)
    assert count == ImportCount(changed=1, unchanged=10)
    versions = register.registers(history=True).filter(register_key=1).select("multiplier", "known_from", "known_to").rows()
    assert versions == [(40.0, KNOWN, LATER), (60.0, LATER, None)]
    assert register.registers().filter(register_key=1)["multiplier"].to_list() == [60.0]


def test_a_meter_that_moves_to_another_gateway_leaves_the_old_one_in_history(register: RegisterStore, tables: Build) -> None:
    moved = changed(tables(), "meter", 0, gateway="gw-2")
    moved["gateway"] = pl.DataFrame({"enterprise": [STEEL], "gateway": ["gw-2"], "region": ["150400"]})
    register.apply(moved, by="registrar", known_from=LATER)
    versions = register.registers(history=True).filter(register_key=1).select("gateway", "known_from", "known_to").rows()
    assert versions == [("gw-1", KNOWN, LATER), ("gw-2", LATER, None)]


def test_rows_that_a_file_lacks_stay(register: RegisterStore) -> None:
    register.apply({"enterprise": pl.DataFrame({"enterprise": [STEEL], "name_zh": ["新名"], "park": ["north"]})}, by="registrar", known_from=LATER)
    assert register.enterprises().select("enterprise", "name_zh").rows() == [(STEEL, "新名"), (COKE, "示例焦化")]


def test_a_column_that_a_file_lacks_keeps_its_value(register: RegisterStore) -> None:
    narrow = pl.DataFrame({"enterprise": [STEEL], "meter": ["E-1"], "register": ["import"], "unit": ["kWh"], "kind": ["cumulative"]})
    assert register.apply({"register": narrow}, by="registrar", known_from=LATER) == ImportCount(unchanged=1)
    assert register.registers()["multiplier"].to_list() == [40.0, 1.0]


def test_an_empty_cell_empties_the_value(register: RegisterStore, tables: Build) -> None:
    register.apply(changed(tables(), "register", 0, modulus=None), by="registrar", known_from=LATER)
    assert register.registers()["modulus"].to_list() == [None, None]


def test_a_row_is_withdrawn_and_its_key_is_never_given_again(register: RegisterStore, tables: Build) -> None:
    gone = tables()
    gone = {"assignment": gone["assignment"].slice(1), "register": gone["register"].slice(1)}
    gone = {name: frame.with_columns(withdrawn=True) for name, frame in gone.items()}
    assert register.apply(gone, by="registrar", known_from=LATER) == ImportCount(withdrawn=2)
    assert register.apply(gone, by="registrar", known_from=LATER) == ImportCount()
    assert register.registers()["register_key"].to_list() == [1]
    assert register.names().height == 2
    new = changed(tables(), "register", 0, register="export")
    register.apply({"register": new["register"]}, by="registrar", known_from=LATER)
    assert register.names()["register_key"].to_list() == [1, 2, 3]
    assert register.registers().filter(meter="W-1")["register_key"].to_list() == [2]


def test_something_that_others_refer_to_cannot_be_withdrawn(register: RegisterStore, tables: Build) -> None:
    gone = {"meter": tables()["meter"].slice(0, 1).with_columns(withdrawn=True)}
    [problem] = problems_of(register, gone)
    assert "there is no meter" in problem.what
    assert "E-1" in problem.where


def test_keys_are_dense_and_do_not_depend_on_the_order_of_rows(database: Database, tables: Build) -> None:
    turned = {name: frame.reverse() for name, frame in tables().items()}
    store = RegisterStore(database)
    store.apply(turned, by="registrar", known_from=KNOWN)
    assert store.names().rows() == [(1, STEEL, "E-1", "import"), (2, STEEL, "W-1", "main")]


WRONG: dict[str, tuple[str, int, dict[str, object], str, str]] = {
    "credit code with another end": ("enterprise", 1, {"enterprise": "91150400MA0EXAMP1A"}, "last character does not fit", "it would be M"),
    "credit code that is too short": ("enterprise", 1, {"enterprise": "91150400"}, "is no credit code", "18 characters"),
    "unknown unit": ("register", 0, {"unit": "kwh"}, "'kwh' is not known", "kWh"),
    "unknown kind": ("register", 0, {"kind": "counter"}, "'counter' is not known", "cumulative, interval, rate"),
    "rate in a unit of energy": ("register", 0, {"kind": "rate"}, "kWh does not go with kind rate", "kW"),
    "negative multiplier": ("register", 0, {"multiplier": -1.0}, "is not above 0", "above 0"),
    "zero multiplier": ("register", 0, {"multiplier": 0.0}, "is not above 0", "above 0"),
    "zero modulus": ("register", 0, {"modulus": 0.0}, "is not above 0", "above 0"),
    "number that is none": ("register", 0, {"modulus": "1_000"}, "is no number", "decimal point"),
    "number that is not finite": ("register", 0, {"modulus": float("nan")}, "not a finite number", "leave the cell empty"),
    "turned range": ("register", 0, {"range_low": 5, "range_high": 5}, "is not after range_low", "range_low"),
    "turned validity": ("register", 0, {"valid_from": "2025-02-01", "valid_to": "2025-02-01"}, "is not after valid_from", "valid_from"),
    "date that is none": ("register", 0, {"valid_from": "1.2.2025"}, "is no instant", "2026-01-31"),
    "meter that does not exist": ("register", 0, {"meter": "E-9"}, "there is no meter", "table meter"),
    "gateway that does not exist": ("meter", 1, {"gateway": "gw-9"}, "there is no gateway", "table gateway"),
    "park that does not exist": ("enterprise", 0, {"park": "south"}, "there is no park", "table park"),
    "id with a line break": ("meter", 0, {"meter": "E\n1"}, "is no id", "ASCII"),
    "id with a comma": ("meter", 0, {"meter": "E,1"}, "is no id", "ASCII"),
    "name with an unseen sign": ("enterprise", 0, {"name_zh": "示例\u200b钢铁"}, "U+200B", "without them"),
    "empty name": ("enterprise", 0, {"name_zh": " "}, "is empty", "Fill it in"),
    "region that is none": ("region", 0, {"region": "15040"}, "is no region", "6 digits"),
    "share of more than the whole": ("assignment", 0, {"share_ratio": 1.2}, "is above 1", "at most 1"),
    "turned calibration": ("meter", 0, {"calibrated_on": "2025-06-01", "calibration_due": "2025-05-31"}, "is not after", "calibrated_on"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_place_and_with_what_would_be_right(register: RegisterStore, tables: Build, case: str) -> None:
    table, row, values, what, remedy = WRONG[case]
    problems = problems_of(register, changed(tables(), table, row, **values))
    told = [problem for problem in problems if what in problem.what and remedy in problem.remedy]
    assert [problem.where.startswith(f"{table} row {row + 1}") for problem in told] == [True], problems


def test_all_problems_are_listed_at_once_and_a_wrong_row_is_not_told_again_by_those_that_refer_to_it(register: RegisterStore, tables: Build) -> None:
    wrong = changed(changed(changed(tables(), "meter", 0, medium="steam"), "register", 1, kind="meter"), "park", 0, region="x")
    assert {problem.where for problem in problems_of(register, wrong)} == {
        "meter row 1 column medium", "register row 2 column kind", "park row 1 column region",
    }


def test_two_rows_for_one_thing_are_refused(register: RegisterStore, tables: Build) -> None:
    twice = tables()
    twice["meter"] = pl.concat([twice["meter"], twice["meter"].slice(0, 1)])
    [problem] = problems_of(register, twice)
    assert (problem.where, problem.what) == ("meter row 3", "names the same meter as meter row 1")


@pytest.mark.parametrize(("end", "overlaps"), [("2025-06-01T00:00:00.000001+08:00", True), ("2025-06-01", False)])
def test_validity_may_touch_but_not_overlap(register: RegisterStore, tables: Build, end: str, overlaps: bool) -> None:
    row = tables()["register"].slice(0, 1)
    frames = [row.with_columns(valid_from=pl.lit(None, pl.String), valid_to=pl.lit(end)),
              row.with_columns(valid_from=pl.lit("2025-06-01"), valid_to=pl.lit(None, pl.String), multiplier=60.0)]
    both = {"register": pl.concat(frames, how="diagonal")}
    if overlaps:
        [problem] = problems_of(register, both)
        assert (problem.where, problem.what) == ("register row 2 column valid_from", "its validity overlaps register row 1")
    else:
        register.apply(both, by="registrar", known_from=LATER)
        assert register.registers().filter(register_key=1)["multiplier"].to_list() == [40.0, 60.0]


@pytest.mark.parametrize(("changes", "told"), [
    ({"unit": "MWh"}, ["unit: MWh was kWh before"]), ({"stamp": "end"}, []), ({"resolution": "0.1"}, []),
    ({"kind": "interval", "stamp": "start"}, ["kind: interval was cumulative before"]),
    ({"kind": "interval", "stamp": "end"}, ["kind: interval was cumulative before", "stamp: end was start before"]),
])
def test_the_rows_of_a_register_are_of_one_kind_and_unit(register: RegisterStore, tables: Build, changes: dict[str, str], told: list[str]) -> None:
    row = tables()["register"].slice(0, 1).with_columns(stamp=pl.lit("start"))
    later = {name: pl.lit(to) for name, to in changes.items()}
    frames = [row.with_columns(valid_from=pl.lit(None, pl.String), valid_to=pl.lit("2025-06-01")),
              row.with_columns(valid_from=pl.lit("2025-06-01"), valid_to=pl.lit(None, pl.String), **later)]
    both = {"register": pl.concat(frames, how="diagonal_relaxed")}
    if not told:
        register.apply(both, by="registrar", known_from=LATER)
        return
    assert [f"{problem.where}: {problem.what}" for problem in problems_of(register, both)] == [f"register row 2 column {one}" for one in told]


def test_a_new_row_must_not_overlap_one_that_is_in_the_register_already(register: RegisterStore, tables: Build) -> None:
    later = {"register": tables()["register"].slice(0, 1).with_columns(valid_from=pl.lit("2025-06-01"))}
    [problem] = problems_of(register, later)
    assert "the register's table register row" in problem.what


@pytest.mark.parametrize(("share", "fits"), [(0.4, True), (0.4000001, False)])
def test_the_shares_of_a_register_add_up_to_one_at_most(register: RegisterStore, tables: Build, share: float, fits: bool) -> None:
    row = tables()["assignment"].slice(0, 1)
    split = pl.concat([row.with_columns(withdrawn=True), row.with_columns(product=pl.lit("iron"), share_ratio=0.6, withdrawn=False),
                       row.with_columns(product=pl.lit("steel"), share_ratio=share, withdrawn=False)], how="diagonal")
    if fits:
        register.apply({"assignment": split}, by="registrar", known_from=LATER)
        assert register.assignments().filter(register_key=1)["share_ratio"].to_list() == [0.6, 0.4]
    else:
        [problem] = problems_of(register, {"assignment": split})
        assert "add up to 1" in problem.what


def keyed(tables: Build, *rows: dict[str, object]) -> Tables:
    """The first register shared out among rows with a key, in place of its one assignment."""
    whole = tables()["assignment"].slice(0, 1)
    return {"assignment": pl.concat([whole.with_columns(withdrawn=True), *(
        whole.with_columns(withdrawn=pl.lit(value=False), **{name: pl.lit(value) for name, value in row.items()}) for row in rows
    )], how="diagonal")}


def test_rows_that_divide_a_register_by_one_key_count_once_among_its_shares(register: RegisterStore, tables: Build) -> None:
    by_output = {"allocation": "output", "share_ratio": 0.7}
    key = {"product": "lime", "allocation": "register", "share_ratio": 0.2, "key_meter": "W-1", "key_register": "main"}
    register.apply(keyed(tables, {"product": "tar", "share_ratio": 0.1}, by_output | {"product": "iron"}, by_output | {"product": "steel"}, key),
                   by="registrar", known_from=LATER)
    found = register.assignments().filter(register_key=1).sort("product").select("product", "allocation", "key_register_key")
    assert found.rows() == [("iron", "output", None), ("lime", "register", 2), ("steel", "output", None), ("tar", None, None)]


@pytest.mark.parametrize(("row", "column"), [
    ({"allocation": "output", "process": "kiln"}, "product"), ({"allocation": "register", "product": "iron"}, "key_register"),
    ({"product": "iron", "key_meter": "W-1", "key_register": "main"}, "key_meter"),
    ({"product": "iron", "allocation": "register", "key_meter": "W-1", "key_register": "none"}, "key_register"),
])
def test_a_key_names_what_it_divides_by(register: RegisterStore, tables: Build, row: dict[str, object], column: str) -> None:
    [problem] = problems_of(register, keyed(tables, row))
    assert problem.where.endswith(f"column {column}")


def test_rows_of_one_key_divide_the_same_share(register: RegisterStore, tables: Build) -> None:
    rows = ({"product": product, "allocation": "output", "share_ratio": share} for product, share in (("iron", 0.5), ("steel", 0.4)))
    told = problems_of(register, keyed(tables, *rows))
    assert any("differs among rows that divide the register by one key" in problem.what for problem in told)


def test_who_holds_a_site_is_dated_and_never_two_at_once(register: RegisterStore, tables: Build) -> None:
    site = {"enterprise": STEEL, "site": "north", "park": tables()["park"]["park"][0]}
    held = {**site, "owner": COKE, "valid_from": "2025-02-01"}
    given = {"site": pl.DataFrame([site]), "block": pl.DataFrame([{"park": site["park"], "block": "east"}])}
    register.apply(given | {"holding": pl.DataFrame([held | {"block": "east"}])}, by="registrar", known_from=LATER)
    assert register.holdings().select("enterprise", "site", "owner", "block").rows() == [(STEEL, "north", COKE, "east")]
    assert {"enterprise": COKE, "park": site["park"]} in register.enterprise_parks().to_dicts()
    [twice] = problems_of(register, {"holding": pl.DataFrame([held | {"valid_from": "2025-03-01"}])})
    assert "overlaps" in twice.what
    [nowhere] = problems_of(register, {"holding": pl.DataFrame([held | {"block": "west"}])})
    assert "there is no block" in nowhere.what


def test_a_change_cannot_be_known_before_what_it_replaces(register: RegisterStore, tables: Build) -> None:
    [problem] = problems_of(register, changed(tables(), "register", 0, multiplier=60.0), KNOWN - timedelta(seconds=1))
    assert "is known since 2025-01-01" in problem.what


def test_events_need_what_they_tell_of(register: RegisterStore) -> None:
    row = {"enterprise": [STEEL], "meter": ["E-1"], "register": ["import"], "at": ["2025-01-05T08:00:00"], "event": ["multiplier"]}
    [problem] = problems_of(register, {"event": pl.DataFrame(row)})
    assert problem.where == "event row 1 column multiplier"
    register.apply({"event": pl.DataFrame(row | {"multiplier": [60]})}, by="registrar", known_from=LATER)
    assert register.events().select("register_key", "at", "event", "multiplier").rows() == [(1, datetime(2025, 1, 5, tzinfo=UTC), "multiplier", 60.0)]


@pytest.mark.parametrize(("after_s", "taken"), [(0, True), (1, False)])
def test_an_event_that_is_still_to_come_is_refused_since_its_values_count(register: RegisterStore, after_s: int, taken: bool) -> None:
    at = (LATER + timedelta(seconds=after_s)).isoformat()
    row = {"enterprise": [STEEL], "meter": ["E-1"], "register": ["import"], "at": [at], "event": ["change"], "closing_value": [9.0]}
    if taken:
        assert register.apply({"event": pl.DataFrame(row)}, by="registrar", known_from=LATER).added == 1
    else:
        [problem] = problems_of(register, {"event": pl.DataFrame(row)})
        assert problem.where == "event row 1 column at"


@pytest.mark.parametrize(("cells", "wrong"), [
    ({"closing_value": 1000.0, "opening_value": 0.0}, None), ({"closing_value": 1000.5}, "closing_value"),
    ({"opening_value": 1000.0}, "opening_value"),
    ({"opening_value": 999.5}, None), ({"closing_value": -0.5}, "closing_value"), ({"at": "1899-12-31T23:59:59Z"}, "at"),
    ({"at": "1900-01-01T00:00:00Z"}, None), ({"at": "0001-01-01T12:00:00Z"}, "at"),
])
def test_an_event_says_what_the_register_can_show_at_a_time_of_readings(
    register: RegisterStore, tables: Build, cells: dict[str, object], wrong: str | None,
) -> None:
    register.apply(changed(tables(), "register", 0, modulus=1000.0, range_low=0.0, range_high=1000.0), by="registrar", known_from=LATER)
    row = {"enterprise": STEEL, "meter": "E-1", "register": "import", "at": "2025-01-05T08:00:00", "event": "change", **cells}
    frame = {"event": pl.DataFrame([row])}
    if wrong is None:
        assert register.apply(frame, by="registrar", known_from=LATER).added == 1
    else:
        [problem] = problems_of(register, frame)
        assert problem.where == f"event row 1 column {wrong}"


@pytest.mark.parametrize(("at", "cells", "taken"), [
    ("2025-01-05T08:00:00", {"opening_value": 0.0}, True), ("2025-01-05T07:59:59", {"opening_value": 0.0}, False),
    ("2025-01-05T07:59:59", {"closing_value": 9.0}, False), ("2025-01-05T07:59:59", {}, True),
])
def test_an_event_gives_a_value_only_where_a_row_of_its_register_holds(
    register: RegisterStore, tables: Build, at: str, cells: dict[str, object], taken: bool,
) -> None:
    register.apply(tables(), by="registrar", known_from=LATER)
    register.apply(changed(tables(), "meter", 0, meter="E-7"), by="registrar", known_from=LATER)
    own = {"enterprise": STEEL, "meter": "E-7", "register": "import"}
    held = {"register": pl.DataFrame([{**own, "unit": "kWh", "kind": "cumulative", "valid_from": "2025-01-05T08:00:00"}])}
    event = {"event": pl.DataFrame([{**own, "at": at, "event": "change", **cells}])}
    if taken:
        assert register.apply(held | event, by="registrar", known_from=LATER).added == 2
    else:
        [problem] = problems_of(register, held | event)
        assert (problem.where, problem.what) == ("event row 1 column at", "no row of the register holds then, and the event gives a value")


def test_a_derived_register_has_no_events(register: RegisterStore) -> None:
    whose = {"enterprise": [STEEL], "meter": ["E-1"], "register": ["twice"]}
    derived = pl.DataFrame({**whose, "unit": ["kWh"], "kind": ["derived"], "formula": ["2 * E-1.import"]})
    register.apply({"register": derived}, by="registrar", known_from=LATER)
    [problem] = problems_of(register, {"event": pl.DataFrame({**whose, "at": ["2025-01-05T08:00:00"], "event": ["change"]})})
    assert problem.where == "event row 1 column register"


def test_unknown_tables_and_columns_are_not_passed_over(register: RegisterStore) -> None:
    problems = problems_of(register, {"metre": pl.DataFrame({"a": [1]}), "park": pl.DataFrame({"park": ["x"], "region": ["150400"], "regio": ["1"]})})
    assert [problem.where for problem in problems] == ["metre", "park column regio"]


def test_an_import_leaves_one_audit_record_and_a_repetition_none(database: Database, register: RegisterStore, tables: Build) -> None:
    register.apply(tables(), by="registrar", known_from=LATER)
    assert AuditLog(database).entries().select("by", "action").rows() == [("registrar", "register.import")]


def test_every_park_of_an_enterprise_is_known(register: RegisterStore) -> None:
    register.apply({
        "park": pl.DataFrame({"park": ["south"], "region": ["150400"]}),
        "site": pl.DataFrame({"enterprise": [STEEL], "site": ["s1"], "park": ["south"]}),
    }, by="registrar", known_from=LATER)
    assert register.enterprise_parks().rows() == [(STEEL, "north"), (STEEL, "south"), (COKE, "north")]
    assert register.enterprises()["site"].to_list() == ["s1", None]


# --- files ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["register.xlsx", "folder"])
def test_what_is_exported_is_imported_without_a_change(register: RegisterStore, tmp_path: Path, name: str) -> None:
    register.export_file(tmp_path / name)
    assert register.import_file(tmp_path / name, by="registrar", known_from=LATER) == ImportCount(unchanged=11)


texts = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20).map(lambda text: "=+-@'"[len(text) % 5] + text)
numbers = st.none() | st.floats(1e-6, 1e12).map(lambda value: float(f"{value:.15g}"))
instants = st.integers(0, 40 * 365 * 86_400).map(lambda seconds: datetime(1986, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=7))


multipliers = st.floats(1e-6, 1e6).map(lambda value: float(f"{value:.15g}"))


@given(name=texts, modulus=numbers, low=numbers, multiplier=multipliers, at=instants, days=st.integers(1, 900))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=6)
def test_any_register_survives_the_way_through_a_file_and_into_another_database(
    tmp_path_factory: pytest.TempPathFactory, tables: Build, name: str, modulus: float | None, low: float | None, multiplier: float,
    at: datetime, days: int,
) -> None:
    folder = tmp_path_factory.mktemp("files")
    values = {"modulus": modulus, "range_low": low, "multiplier": multiplier, "valid_from": at, "valid_to": at + timedelta(days=days)}
    written = changed(changed(tables(), "register", 0, **values), "enterprise", 0, name_zh=name, name_en=name)
    first, second = (Database(f"sqlite:///{folder}/{number}.db") for number in (1, 2))
    for one in (first, second):
        one.upgrade()
    store, copy = RegisterStore(first), RegisterStore(second)
    store.apply(written, by="registrar", known_from=KNOWN)
    for form in ("all.xlsx", "all"):
        store.export_file(folder / form)
        assert store.import_file(folder / form, by="registrar", known_from=LATER).changed == 0
    copy.import_file(folder / "all.xlsx", by="registrar", known_from=KNOWN)
    assert copy.import_file(folder / "all", by="registrar", known_from=LATER) == ImportCount(unchanged=11)
    assert_frame_equal(copy.registers(), store.registers())
    assert_frame_equal(copy.enterprises(), store.enterprises())
    for one in (first, second):
        one.close()


def test_exported_csv_holds_no_formula_and_its_numbers_stay_numbers(register: RegisterStore, tables: Build, tmp_path: Path) -> None:
    hostile = changed(tables(), "enterprise", 0, name_zh="=HYPERLINK(1)", name_en="-2+3")
    register.apply(changed(hostile, "register", 0, range_low=-5.0), by="registrar", known_from=LATER)
    register.export_file(tmp_path)
    with (tmp_path / "enterprise.csv").open(encoding="utf-8-sig", newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["name_zh"], row["name_en"]) == ("'=HYPERLINK(1)", "'-2+3")
    with (tmp_path / "register.csv").open(encoding="utf-8-sig", newline="") as file:
        assert next(csv.DictReader(file))["range_low"] == "-5.0"


def write_csv(folder: Path, name: str, content: str, encoding: str = "utf-8") -> None:
    (folder / f"{name}.csv").write_text(content, encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_is_read_with_and_without_byte_order_mark(register: RegisterStore, tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write_csv(folder, "park", "park,region,name_zh\nsouth,150400,南园\n\n", encoding)
    assert register.import_file(folder, by="registrar", known_from=LATER) == ImportCount(added=1)


def test_problems_of_files_name_file_row_and_column(register: RegisterStore, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write_csv(folder, "park", "park,region\nsouth,150400\n\nwest,1\n")
    with pytest.raises(BadInputError) as caught:
        register.import_file(folder, by="registrar", known_from=LATER)
    assert [problem.where for problem in caught.value.problems] == ["park.csv row 4 column region"]


def test_a_workbook_names_sheet_and_row_and_a_long_number_is_not_taken_for_a_code(register: RegisterStore, tmp_path: Path) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(tmp_path / "r.xlsx") as book:
        sheet = book.add_worksheet("gateway")
        sheet.write_row(1, 0, ["enterprise", "gateway", "region"])  # an empty line stands above
        sheet.write_row(3, 0, [STEEL, "gw-7", 150400])
        sheet.write_row(5, 0, [911504001234567890, "gw 8", 150400])
    with pytest.raises(BadInputError) as caught:
        register.import_file(tmp_path / "r.xlsx", by="registrar", known_from=LATER)
    assert [problem.where for problem in caught.value.problems] == [
        "r.xlsx sheet gateway row 6 column enterprise", "r.xlsx sheet gateway row 6 column gateway",
    ]


@pytest.mark.parametrize(("name", "content", "said"), [
    ("park.csv", "北园".encode("gbk"), "is not UTF-8"), ("park.csv", b"park,region\nx\n", "has 1 cells"),
    ("park.csv", b"park,region\n\"x,1\n", "cannot be read as CSV"), ("park.csv", b"park\nx\n", "is missing"),
    ("park.csv", b"park,park,region\nx,y,150400\n", "stands there twice"),
])
def test_a_file_that_cannot_be_read_says_why(register: RegisterStore, tmp_path: Path, name: str, content: bytes, said: str) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(BadInputError, match=said):
        register.import_file(folder, by="registrar", known_from=LATER)


@pytest.mark.parametrize(("name", "said"), [
    ("none.xlsx", "no such file"), ("a.xlsx", "cannot be read as a workbook"), ("a.csv", "a single table"), ("a.txt", "neither"),
])
def test_a_file_of_the_wrong_kind_is_refused(register: RegisterStore, tmp_path: Path, name: str, said: str) -> None:
    if name != "none.xlsx":
        (tmp_path / name).write_bytes(b"park,region\n")
    with pytest.raises(BadInputError, match=said):
        register.import_file(tmp_path / name, by="registrar", known_from=LATER)


def test_the_database_itself_allows_one_current_version_only(database: Database, register: RegisterStore) -> None:
    from sqlalchemy.exc import IntegrityError

    with pytest.raises(IntegrityError), database.session() as session:
        session.execute(text("INSERT INTO park (key, park, region, known_from, recorded_by) VALUES ('north', 'north', '150400', '2025-01-01', 'x')"))


def with_derived(tables: Tables, **values: object) -> Tables:
    """`tables` with a derived register that follows from the imported electricity."""
    first = tables["register"].to_dicts()[0]
    named = {name: first[name] for name in ("enterprise", "meter")}
    own = {**named, "register": "half", "unit": "MWh", "kind": "derived", "formula": "0.5 * E-1.import", **values}
    return tables | {"register": pl.DataFrame([*tables["register"].to_dicts(), own], infer_schema_length=None)}


def test_a_derived_register_keeps_its_formula_through_export_and_import(register: RegisterStore, tables: Build, tmp_path: Path) -> None:
    register.apply(with_derived(tables()), by="registrar", known_from=LATER)
    assert register.registers().filter(kind="derived").select("register", "unit", "formula").rows() == [("half", "MWh", "0.5 * E-1.import")]
    register.export_file(tmp_path / "register.xlsx")
    assert register.import_file(tmp_path / "register.xlsx", by="registrar", known_from=LATER).changed == 0


@pytest.mark.parametrize(("values", "column", "said"), [
    ({"formula": None}, "formula", "is empty"), ({"formula": "0.5 * E-1.export"}, "formula", "there is no register E-1.export"),
    ({"formula": "W-1.main"}, "formula", "W-1.main measures volume, but energy is needed here"),
    ({"formula": "log(E-1.import)"}, "formula", "no function"),
    ({"formula": "sum(E-1.half, E-1.import)"}, "formula", "comes back to its own register"), ({"modulus": 1000.0}, "modulus", "no readings"),
    ({"kind": "cumulative"}, "formula", "has readings and no formula"), ({"kind": "state", "formula": None}, "unit", "does not go with kind state"),
    ({"unit": "degC"}, "unit", "does not go with kind derived"), ({"unit": "kW"}, "unit", "does not go with kind derived"),
])
def test_a_formula_that_does_not_hold_is_refused_at_import(
    register: RegisterStore, tables: Build, values: dict[str, object], column: str, said: str,
) -> None:
    found = problems_of(register, with_derived(tables(), **values))
    assert any(problem.where.endswith(f"column {column}") and said in problem.what for problem in found)


def test_a_register_that_a_formula_names_cannot_be_withdrawn_alone(register: RegisterStore, tables: Build) -> None:
    register.apply(with_derived(tables()), by="registrar", known_from=LATER)
    gone = {name: changed(tables(), name, 0, withdrawn=True)[name] for name in ("register", "assignment")}
    assert [problem.what for problem in problems_of(register, gone)] == ["there is no register E-1.import"]
