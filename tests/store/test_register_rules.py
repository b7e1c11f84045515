"""The register's own validation rules, and which registers are measured against which."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from config.errors import BadInputError
from config.schemas import BALANCE, VEE_RULE
from store.register import RegisterStore

STEEL = "91150400MA0EXAMP0J"
KNOWN = datetime(2025, 1, 11, tzinfo=UTC)


def rule(**given: object) -> dict[str, pl.DataFrame]:
    return {"rule": pl.DataFrame([{"enterprise": STEEL, "rule": "range", "high": 5.0} | given])}


def balance(**given: object) -> dict[str, pl.DataFrame]:
    row = {"enterprise": STEEL, "total_meter": "E-1", "total_register": "import", "part_meter": "W-1", "part_register": "main", "kind": "output"}
    return {"balance": pl.DataFrame([row | given])}


def refused(register: RegisterStore, tables: dict[str, pl.DataFrame]) -> str:
    with pytest.raises(BadInputError) as caught:
        register.apply(tables, by="registrar", known_from=KNOWN)
    return str(caught.value)


def test_rules_come_out_in_their_shape_and_are_known_from_their_import_on(register: RegisterStore) -> None:
    register.apply(rule(meter="E-1", register="import", severity="info", valid_from="2025-02-01"), by="a", known_from=KNOWN)
    register.apply(rule(meter="E-1", register="import", severity="error", valid_from="2025-02-01"), by="a", known_from=KNOWN + timedelta(days=1))
    assert register.rules().schema == VEE_RULE
    assert register.rules().select("meter", "register", "rule", "high", "severity", "enabled", "source").rows() == [
        ("E-1", "import", "range", 5.0, "error", None, "register"),
    ]
    assert register.rules(as_of=KNOWN)["severity"].to_list() == ["info"]
    assert register.rules(as_of=KNOWN - timedelta(seconds=1)).is_empty()


def test_balances_name_registers_by_their_keys_until_they_are_withdrawn(register: RegisterStore) -> None:
    register.apply(balance(), by="a", known_from=KNOWN)
    assert register.balances().schema == BALANCE
    assert register.balances().rows() == [(1, 2, "output", None, None)]
    register.apply(balance(withdrawn=True), by="a", known_from=KNOWN + timedelta(days=1))
    assert register.balances().is_empty()
    assert register.balances(as_of=KNOWN).height == 1


@pytest.mark.parametrize(("given", "said"), [
    ({"rule": "no_such"}, "column rule"), ({"severity": "bad"}, "column severity"), ({"register": "import"}, "column meter: is empty"),
    ({"meter": "X"}, "there is no meter"), ({"meter": "E-1", "register": "x"}, "there is no register"),
    ({"low": 6.0}, "column high: 5.0 is below low"),
    ({"rule": "spike", "enabled": False}, "cannot be switched off"), ({"valid_from": "2025-02-02", "valid_to": "2025-02-01"}, "column valid_to"),
])
def test_a_rule_that_says_nothing_sound_is_refused(register: RegisterStore, given: dict[str, object], said: str) -> None:
    assert said in refused(register, rule(**given))


def test_a_bound_that_is_no_band_may_have_any_order_and_a_rule_of_validation_may_be_switched_off(register: RegisterStore) -> None:
    register.apply(rule(rule="frozen", low=30.0, high=24.0, enabled=False), by="a", known_from=KNOWN)
    assert register.rules()["enabled"].to_list() == [False]


@pytest.mark.parametrize(("given", "said"), [
    ({"kind": "twin"}, "column kind"), ({"part_meter": "X"}, "there is no register"), ({"total_register": "x"}, "there is no register"),
    ({"part_meter": "E-1", "part_register": "import"}, "is the total itself"),
])
def test_a_balance_of_unknown_or_the_same_registers_is_refused(register: RegisterStore, given: dict[str, object], said: str) -> None:
    assert said in refused(register, balance(**given))


def test_rules_of_one_thing_do_not_overlap(register: RegisterStore) -> None:
    both = pl.concat([rule(valid_to="2025-03-01")["rule"], rule(valid_from="2025-02-01")["rule"]], how="diagonal")
    assert "overlaps" in refused(register, {"rule": both})


@pytest.mark.parametrize("name", ["out.xlsx", "folder"])
def test_rules_and_balances_survive_export_and_import(register: RegisterStore, tmp_path: Path, name: str) -> None:
    register.apply({**rule(meter="E-1", low=-1.5, enabled=True), **balance(valid_from="2025-02-01")}, by="a", known_from=KNOWN)
    before = register.rules(), register.balances()
    register.export_file(tmp_path / name)
    count = register.import_file(tmp_path / name, by="a", known_from=KNOWN + timedelta(days=1))
    assert (count.added, count.changed) == (0, 0)
    assert register.rules().equals(before[0])
    assert register.balances().equals(before[1])
