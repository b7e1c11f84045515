"""The mapping profile: what a TOML file may say, and what becomes of a message under it."""

import gzip
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sent import NOON, NOON_MS, reason_of, routed, said

from config.errors import SettingsError
from config.schemas import READING_QUALITY
from config.settings import RouteSettings, load
from ingest.content import MAX_NAME_CHARS
from ingest.decode import Decodings
from ingest.mapping_file import Expression, Mapping, _pattern
from ingest.mapping_file import load as load_mapping
from ingest.profiles import NAMES
from ingest.profiles.mapping import leaves
from ingest.routes import Routes

WIDE = """
readings = "message.devices"
meter = "item.sn || topic[1]"
known = ["sn", "at", "rssi", "diag.**"]
text_numbers = true

[time]
from = "item.at"
format = "%Y-%m-%d %H:%M:%S"

[quality]
from = "item.diag.ok"
good = ["true"]
bad = ["false"]

[sequence]
epoch = "message.boot"
seq = "message.n"

[fields]
ep = { register = "active_import", unit = "kWh" }
"tariff*.e" = { register = "active_import_t{1}", unit = "kWh" }
wm = { register = "counter", unit = "Wh", factor = "1/60" }
"ch*" = { meter = "sub-{1}", register = "main", unit = "m3", factor = 0.001 }
"""
LONG = """
readings = "message.points"
meter = "message.node"
register = "item.name"
value = "item.v"
error = "item.err"
unlisted = "register"

[time]
from = "message.t"
format = "ms"
"""
MESSAGE = {"boot": "b1", "n": 7, "devices": [
    {"sn": "A1", "at": "2026-11-20 12:00:00", "rssi": -70, "ep": "17803.4", "tariff1": {"e": 5}, "tariff2": {"e": 6.5}, "diag": {"ok": True}},
    {"at": "2026-11-20 12:00:00", "wm": 2632, "ch3": 1500},
]}


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    return written(tmp_path, WIDE)


def written(folder: Path, text: str) -> Path:
    path = folder / "map.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mapped(path: Path, message: Any, **more: Any) -> Decodings:
    raw = message if isinstance(message, bytes | dict) else json.dumps(message).encode()
    return routed("mapping", raw, mapping=path, **more)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_mapping(written(folder, text), Mapping)
    return [str(problem) for problem in caught.value.problems]


def test_fields_become_registers_with_unit_and_factor_and_stars_fill_names(wide) -> None:
    found = mapped(wide, MESSAGE)
    assert said(found) == [
        ("A1", "active_import", 17803.4, "kWh", None), ("A1", "active_import_t1", 5.0, "kWh", None), ("A1", "active_import_t2", 6.5, "kWh", None),
        ("7", "counter", 2632 / 60, "Wh", None), ("sub-3", "main", 1.5, "m3", None),
    ]
    assert found.readings["read_at"].unique().to_list() == [NOON]
    assert found.readings["quality"].to_list() == [0] * 5
    assert found.heads.select("outcome", "epoch", "seq", "decoded").row(0) == ("decoded", "b1", 7, 5)


def test_the_zone_of_the_route_counts_for_local_times(wide) -> None:
    assert mapped(wide, MESSAGE, zone="Europe/Berlin").readings["read_at"][0] == datetime(2026, 11, 20, 11, tzinfo=UTC)


@pytest.mark.parametrize(("change", "faults"), [
    ({"new": 5}, [None, "unknown_field"]), ({"ep": "x"}, ["bad_value"]), ({"ep": None}, ["bad_value"]), ({"ep": True}, ["bad_value"]),
    ({"ep": "NaN"}, ["bad_value"]), ({"ep": "１７"}, ["bad_value"]), ({"ep": "1e999"}, ["bad_value"]), ({"ep": " 1"}, ["bad_value"]),
    ({"ep": "-0.5e-1"}, [None]), ({"sn": 5}, ["bad_meter"]), ({"sn": "s" * 256}, [None]), ({"sn": "s" * 257}, ["bad_meter"]), ({"sn": ""}, [None]),
    ({"at": "2026-11-20T12:00:00"}, ["bad_timestamp"]), ({"at": 5}, ["bad_timestamp"]), ({"at": "2026-2-3 1:00:00"}, ["bad_timestamp"]),
    ({"at": "2026-02-30 12:00:00"}, ["bad_timestamp"]), ({"at": None}, ["bad_timestamp"]), ({"at": ""}, ["bad_timestamp"]),
    ({"ep": {"more": 1}}, ["unknown_field"]), ({"ep": []}, []), ({"ep": [5]}, ["unknown_field"]),
])
def test_a_bad_field_is_told_by_its_own_fault(wide, change, faults) -> None:
    item = {"sn": "A1", "at": "2026-11-20 12:00:00", "ep": 1, **change}
    assert mapped(wide, {"boot": "b", "n": 1, "devices": [item]}).readings["fault"].to_list() == faults


@pytest.mark.parametrize(("token", "fault"), [("NaN", "bad_value"), ("1e999", "bad_value"), ("1" + "0" * 400, "bad_value"), ("1e308", None)])
def test_what_is_no_finite_number_costs_its_field_only(wide, token, fault) -> None:
    text = json.dumps(MESSAGE).replace('"17803.4"', token).encode()
    assert mapped(wide, text).readings["fault"].to_list() == [fault, None, None, None, None]


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 2), ("maybe", 1), (None, 0)])
def test_the_quality_is_what_the_file_says_and_else_uncertain(wide, ok, code) -> None:
    item = {"sn": "A1", "at": "2026-11-20 12:00:00", "ep": 1, "diag": {"ok": ok}}
    assert mapped(wide, {"boot": "b", "n": 1, "devices": [item]}).readings["quality"].to_list() == [code]


@pytest.mark.parametrize(("message", "reason"), [
    (b"nonsense", "not_json"), ({"boot": "b", "n": 1}, "no_readings"), ({"boot": "b", "n": 1, "devices": None}, "no_readings"),
    ({"devices": []}, "no_sequence"), ({"boot": "b", "n": 0, "devices": []}, "no_sequence"), ({"boot": "b", "n": "1", "devices": []}, "no_sequence"),
    ({"boot": "b" * 65, "n": 1, "devices": []}, "no_sequence"), ({"boot": 5, "n": 1, "devices": []}, None),
])
def test_a_message_that_does_not_fit_the_mapping_says_why(wide, message, reason) -> None:
    assert reason_of(mapped(wide, message)) == reason


def test_an_item_that_is_no_object_costs_its_place_only(wide) -> None:
    assert mapped(wide, {"boot": "b", "n": 1, "devices": [5, MESSAGE["devices"][1]]}).readings["fault"].to_list() == ["not_an_object", None, None]


@pytest.mark.parametrize(("count", "reason"), [(10_000, None), (10_001, "too_many_readings")])
@pytest.mark.parametrize("item", [{"at": "2026-11-20 12:00:00", "ep": 1}, 5])
def test_a_message_gives_10_000_readings_at_most_faults_among_them(wide, count, reason, item) -> None:
    found = mapped(wide, gzip.compress(json.dumps({"boot": "b", "n": 9, "devices": [item] * count}).encode()))
    assert found.heads.select("reason", "seq").row(0) == (reason, 9)


def test_each_item_may_be_one_reading_with_its_name_and_value(tmp_path) -> None:
    points = [{"name": "ep", "v": 1.5}, {"name": "eq", "err": 7}, {"name": 5, "v": 1}, {"v": 1}, {"name": "x", "v": "1"}]
    found = mapped(written(tmp_path, LONG), {"t": NOON_MS, "node": "N", "points": points})
    assert said(found) == [
        ("N", "ep", 1.5, None, None), ("N", "eq", None, None, "device_error"), ("N", None, None, None, "bad_register"),
        ("N", None, None, None, "bad_register"), ("N", "x", None, None, "bad_value"),
    ]
    assert found.readings["read_at"][0] == NOON


@pytest.mark.parametrize(("form", "stamp", "at"), [
    ("iso", "2026-11-20T12:00:00+08:00", NOON), ("iso", "2026-11-20T04:00:00Z", NOON), ("iso", "2026-11-20T12:00:00", "timestamp_without_offset"),
    ("s", NOON_MS // 1000, NOON), ("s", NOON_MS / 1000, NOON), ("s", str(NOON_MS // 1000), NOON), ("ms", NOON_MS, NOON),
    ("ms", "12 o'clock", "bad_timestamp"),
    ("ms", 10**30, "bad_timestamp"), ("%Y%m%d%H%M%S", "20261120120000", NOON), ("%d.%m.%Y %H:%M", "20.11.2026 12:00", NOON),
    ("%Y%m%d%H%M%S", "2026112012000", "bad_timestamp"), ("%Y-%m-%dT%H:%M:%S%z", "2026-11-20T05:00:00+0100", NOON),
    ("%Y-%m-%d %H:%M:%S.%f", "2026-11-20 12:00:00.0", NOON), ("iso", "x" * 65, "bad_timestamp"),
])
def test_a_time_stamp_is_read_in_the_form_that_the_file_names(tmp_path, form, stamp, at) -> None:
    path = written(tmp_path, LONG.replace('"ms"', f'"{form}"'))
    found = mapped(path, {"t": stamp, "node": "N", "points": [{"name": "a", "v": 1}]}).readings
    assert (found["read_at"][0] if isinstance(at, datetime) else found["fault"][0]) == at


def test_all_problems_of_a_file_are_told_at_once(tmp_path) -> None:
    told = problems(tmp_path, """
readings = "item.x"
meter = "device_id"
value = "item.["
unlisted = "drop"
colour = "red"
[time]
from = "item.t"
format = "%H:%M"
[quality]
good = ["1"]
[fields]
a = { register = "r", unit = "furlong" }
b = { register = "r", factor = "1/0" }
c = { unit = "kWh" }
""")
    for part in (
        "readings: may not use item", "meter: starts with device_id", "value: is no JMESPath", "unlisted", "colour: is not part of a mapping",
        "time.format: must be", "quality.from: is missing", "fields.a.unit: is no known unit", "fields.b.factor: must be", "c.register: is missing",
    ):
        assert any(part in problem for problem in told), part
    assert len(told) == 10


@pytest.mark.parametrize(("text", "part"), [
    ("meter = 'item.a'", "nothing would be read"), ("meter = 'item.a'\nunlisted = 'register'\nvalue = 'item.v'", "register and value go together"),
    ("meter = 'item.a'\nunlisted = 'register'\nerror = 'item.v'", "error belongs to register and value"),
    ("meter = 'item.a'\n[fields]\n'a*' = {register = 'r{2}'}", "has no star for {2}"),
    ("meter = 'item.a'\nknown = ['a**b']\nunlisted='register'", "has ** elsewhere"),
    ("meter = 'item.a'\nknown = ['']\nunlisted='register'", "has 1 to 256"), ("meter = 'item.a'\nknown = ['a***']\nunlisted='register'", "has **"),
    ("meter = 'item.a'\nmeter = 'b'", "cannot be read as TOML"), ("meter = 5", "must be text"), ("meter = '" + "a" * 501 + "'", "longer than 500"),
    ("meter = 'item.a || message.b[*].c'", "walk the whole message"), ("meter = 'max(message.b) || item.a'", "walk the whole message"),
    ("meter = '@'", "starts with @"), ("meter = 'item.a'\n[fields]\na = {register = 'r', factor = -1}", "must be a number above 0"),
])
def test_a_file_that_cannot_be_used_says_what_is_wrong(tmp_path, text, part) -> None:
    assert any(part in problem for problem in problems(tmp_path, text))


def test_a_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        load_mapping(tmp_path / "none.toml", Mapping)


def test_a_route_finds_its_mapping_beside_the_settings_and_all_bad_routes_are_told_at_once(tmp_path) -> None:
    written(tmp_path, WIDE)
    (tmp_path / "bad.toml").write_text("colour = 1\nmeter = 'x'", encoding="utf-8")
    file = tmp_path / "tcewatch.toml"
    one = '[[routes]]\ntopic = "{0}"\nenterprise = "e"\ngateway = "g"\nprofile = "{1}"\n'
    file.write_text(one.format("a", "mapping") + 'mapping = "map.toml"\n', encoding="utf-8")
    assert Routes(load(file).routes).sender("a", None).numbered
    file.write_text(one.format("a", "nope") + one.format("b", "mapping") + 'mapping = "bad.toml"\n', encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Routes(load(file).routes)
    assert [problem.where.rpartition("/")[2] for problem in caught.value.problems] == ["route a", "bad.toml meter", "bad.toml colour"]


@pytest.mark.parametrize(("options", "part"), [
    ({"profile": "mapping"}, "needs its file"), ({"profile": "kpm33b", "mapping": "x.toml"}, "belongs to"),
    ({"profile": "kpm33b", "valid": "0"}, "nhjc"),
])
def test_an_option_that_does_not_fit_the_profile_is_told(options, part) -> None:
    with pytest.raises(ValueError, match=part):
        RouteSettings(topic="a", enterprise="e", gateway="g", **options)


@pytest.mark.parametrize(("text", "of_item"), [
    ("message.item", False), ("item.message", True), ("item", True), ("topic[1]", False), ("'E-1'", False), ("message.a || item.b", True),
    ("length(item.list[?item == `1`])", True), ("message.list[?item == `1`]", False),
])
def test_an_expression_is_of_the_item_where_it_starts_there(text, of_item) -> None:
    assert Expression(text).of_item == of_item


def test_a_message_cannot_make_its_faults_larger_than_itself(wide) -> None:
    long = "s" * 300_000
    text = json.dumps({"boot": "b", "n": 1, "devices": [{"sn": long, "at": long, **{f"f{number}": 1 for number in range(5_000)}}]}).encode()
    found = mapped(wide, gzip.compress(text))
    assert found.readings["raw"].str.len_chars().max() < 4 * MAX_NAME_CHARS
    deep = json.dumps({"boot": "b", "n": 1, "devices": [{long: dict.fromkeys(map(str, range(5_000)))}]}).encode()
    assert mapped(wide, gzip.compress(deep)).readings.select("fault").to_series().to_list() == ["unknown_field"]


@pytest.mark.parametrize(("pattern", "name", "groups"), [
    ("a", "a", ()), ("a", "ab", None), ("a*", "a", ("",)), ("a*", "a.b", None), ("a*", "a/b", None), ("a**", "a.b[0].c", ()), ("**.b", "x.y.b", ()),
    ("**", "anything.at[0].all", ()), ("a[*].b", "a[12].b", ("12",)), ("*_at_*", "x_at_date_at_y", ("x", "date_at_y")), ("*.*", "a.b", ("a", "b")),
    ("*a*b", "xaab", ("x", "a")), ("*_kwh", "a_kwh_kwh", ("a_kwh",)), ("*:*.e.**", "s:0.e.x", ("s", "0")),
    ("*a", "aaa", ("aa",)), ("*a*", "baa", ("b", "a")),
])
def test_a_star_is_one_name_and_two_are_all_below(pattern, name, groups) -> None:
    found = _pattern(pattern).fullmatch(name)
    assert (None if found is None else found.groups()) == groups


letters = st.text("ab.", max_size=7)


@given(st.lists(st.text("ab.", min_size=1, max_size=2) | st.just("*"), min_size=1, max_size=6), letters)
def test_a_pattern_matches_what_a_search_of_all_ways_would(parts, name) -> None:
    text = re.sub(r"\*+", "*", "".join(parts))
    every_way = re.compile("".join("[^./]*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", text)))
    assert bool(_pattern(text).fullmatch(name)) == bool(every_way.fullmatch(name))


def test_no_name_keeps_a_pattern_busy_for_ever() -> None:  # one that tries all ways does not end here
    for pattern in ("*a*a*a*a*a*a*a*a*b", "*:*:*:*:*:*.x", "*a*a*a*a**"):
        for letter in "a:":
            assert _pattern(pattern).fullmatch(letter * 256 + ".") is None or pattern.endswith("**")


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=3), max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1, max_size=3), documents, max_size=4))
def test_every_value_of_a_document_is_a_leaf_once_and_in_its_order(document) -> None:
    def values(part: Any) -> list[Any]:
        if isinstance(part, dict | list):
            return [one for inner in (part.values() if isinstance(part, dict) else part) for one in values(inner)]
        return [part]

    assert [repr(value) for _, value in leaves(document)] == [repr(value) for value in values(document)]


def test_the_example_of_the_guide_reads_as_the_guide_says(tmp_path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "formats.md").read_text(encoding="utf-8")
    (sent,), (toml,) = (re.findall(rf"^```{kind}\n(.*?)^```", page, re.MULTILINE | re.DOTALL) for kind in ("json", "toml"))
    table = page.split("and its readings are:")[1].split("Expressions are")[0]
    wanted = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    found = mapped(written(tmp_path, toml), sent.encode())
    at = found.readings["read_at"].dt.convert_time_zone("Asia/Shanghai")
    quality = pl.col("quality").replace_strict(dict(enumerate(READING_QUALITY)), return_dtype=pl.String)
    shown = found.readings.with_columns(pl.Series("read_at", [one.isoformat() for one in at]), quality)
    assert [list(map(str, row)) for row in shown.select("meter", "register", "read_at", "value", "unit", "quality").rows()] == wanted
    assert found.heads.select("epoch", "seq").row(0) == ("2026-11-01", 512)


def test_the_table_of_formats_names_every_profile() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "formats.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(NAMES)
