from pathlib import Path

import pytest

from config import settings
from config.errors import SettingsError
from portal.cli.init import TEMPLATE


def told(values: dict[str, object]) -> str:
    with pytest.raises(SettingsError) as error:
        settings.build(values)
    return str(error.value)


def test_the_template_loads_and_says_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "tcewatch.toml"
    path.write_text(TEMPLATE, encoding="utf-8")
    loaded, plain = settings.load(path), settings.build({})
    assert loaded.model_copy(update={"site": plain.site}) == plain
    assert loaded.site.data_dir == tmp_path / "var"


def test_relative_paths_of_a_file_are_beside_it_and_absolute_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('[site]\ndata_dir = "/data"\ntables_dir = "law"\n[mqtt]\nca_file = "ca.pem"\n')
    loaded = settings.load(path)
    assert (loaded.site.data_dir, loaded.site.tables_dir, loaded.mqtt.ca_file) == (Path("/data"), tmp_path / "law", tmp_path / "ca.pem")
    assert loaded.mqtt.cert_file is None


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.toml"
    path.write_text('[mqtt]\nhost = "file"\n')
    monkeypatch.setenv("TCEWATCH_MQTT__HOST", "environment")
    assert settings.load(path).mqtt.host == "environment"


def test_an_environment_variable_that_names_no_section_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCEWATCH_MQQT__HOST", "x")
    assert "TCEWATCH_MQQT__HOST" in told({})


@pytest.mark.parametrize(("regions", "fit"), [(["+"], True), (["150621", "150600"], True), ([], False), (["15062"], False), (["#"], False)])
def test_regions_are_codes_of_six_digits_or_all(regions: list[str], fit: bool) -> None:
    if fit:
        assert settings.build({"mqtt": {"regions": regions}}).mqtt.regions == tuple(regions)
    else:
        assert "mqtt.regions" in told({"mqtt": {"regions": regions}})


@pytest.mark.parametrize(("seconds", "fits"), [(1, False), (2, True), (15, True), (16, False)])
def test_the_keepalive_lies_between_2_and_15_seconds(seconds: int, fits: bool) -> None:
    if fits:
        assert settings.build({"mqtt": {"keepalive_s": seconds}}).mqtt.keepalive_s == seconds
    else:
        assert "mqtt.keepalive_s" in told({"mqtt": {"keepalive_s": seconds}})


def test_all_problems_are_told_at_once() -> None:
    text = told({"site": {"zone": "x"}, "mqtt": {"port": 0, "cert_file": "a"}, "store": {"readings": "influxdb"}, "nonsense": {}})
    for word in ("site.zone", "mqtt.port", "store", "token", "nonsense"):
        assert word in text


def test_two_rules_of_one_name_are_refused_because_an_alert_belongs_to_one() -> None:
    rule = {"name": "a", "kind": "limit_ratio", "above": 1.0}
    assert "used twice" in told({"alerts": {"rules": [rule, rule]}})


def test_a_rule_on_a_quantity_needs_its_unit_and_clears_at_or_below_its_bound() -> None:
    rule = {"name": "a", "kind": "quantity", "above": 1.0}
    assert "unit" in told({"alerts": {"rules": [rule]}})
    assert "clear_below" in told({"alerts": {"rules": [rule | {"unit": "kWh", "clear_below": 1.1}]}})
    assert settings.build({"alerts": {"rules": [rule | {"unit": "kWh", "clear_below": 1.0}]}}).alerts.rules[0].clear_below == 1.0


def test_a_rule_has_one_bound_above_which_or_at_which_it_opens():
    rule = {"name": "a", "kind": "limit_ratio"}
    for bounds in ({}, {"above": 1.0, "at_least": 0.95}):
        assert "one bound" in told({"alerts": {"rules": [rule | bounds]}})
    for bounds in ({"above": 0.95}, {"at_least": 0.95}):
        assert settings.build({"alerts": {"rules": [rule | bounds]}}).alerts.rules[0].bound == 0.95


def test_a_missing_file_and_a_broken_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        settings.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[mqtt\n")
    with pytest.raises(SettingsError, match="TOML"):
        settings.load(tmp_path / "bad.toml")
