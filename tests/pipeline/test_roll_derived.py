"""Derived registers in the roll-up: they follow their inputs, in any order of arrival."""

import random
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.roll import Roller
from pipeline.settle import Settler
from pipeline.site import Site

ENTERPRISE, GATEWAY, KNOWN_FROM = "91159901MA0EXAMP4N", "GW-01", datetime(2024, 12, 1, tzinfo=UTC)
MIDNIGHT = datetime(2025, 5, 31, 16, tzinfo=UTC)
Reading = tuple[str, str, datetime, float]
DAYS = (date(2025, 5, 31), date(2025, 6, 5))


def steam_plant(site: Site, formula: str = "steam_heat(S-1.flow, S-1.p, S-1.t)") -> None:
    own = {"enterprise": ENTERPRISE, "meter": "S-1"}
    site.register.apply({
        "meter": pl.DataFrame([{**own, "gateway": GATEWAY, "medium": "heat"}]),
        "register": pl.DataFrame([
            {**own, "register": "flow", "unit": "t/h", "kind": "rate", "formula": None},
            {**own, "register": "p", "unit": "MPa_gauge", "kind": "state"}, {**own, "register": "t", "unit": "degC", "kind": "state"},
            {**own, "register": "heat", "unit": "GJ", "kind": "derived", "formula": formula},
            {**own, "register": "half", "unit": "kWh", "kind": "derived", "formula": "0.5 * S-1.heat"},
        ]),
    }, by="test", known_from=KNOWN_FROM)


def catch_up(site: Site) -> None:
    while Settler(site).once():
        pass
    while Roller(site).once():
        pass


def readings(seed: int) -> list[Reading]:
    chance = random.Random(seed)
    rows: list[Reading] = []
    for quarter in range(3 * 96):
        at = MIDNIGHT + timedelta(minutes=15 * quarter)
        values = {"flow": [0.0, 5.0, 7.5], "p": [0.8, 1.0], "t": [20.0, 300.0, 310.0]}
        rows += [("S-1", register, at, chance.choice(some)) for register, some in values.items()]
    return [row for row in rows if chance.random() < 0.97]


def two_hours(celsius: float) -> list[Reading]:
    values = (("flow", 4.0), ("p", 1.0), ("t", celsius))
    return [("S-1", register, MIDNIGHT + timedelta(minutes=15 * quarter), value) for quarter in range(9) for register, value in values]


def derived_hours(site: Site) -> pl.DataFrame:
    names = site.register.names().filter(pl.col("register").is_in(["heat", "half"])).select("register_key", "register")
    hours = site.derived.read("hourly", *DAYS).collect().join(names, on="register_key")
    return hours.drop("register_key", "day").sort("register", "start")


@given(st.integers(0, 10**6))
@hypothesis_settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_late_inputs_leave_the_derived_hours_as_if_all_had_come_in_order(tmp_path_factory, new_site, arrive, seed) -> None:
    rows, results = readings(seed), []
    for shuffled in (False, True):
        site = new_site(tmp_path_factory.mktemp("site"))
        steam_plant(site)
        order = list(rows)
        if shuffled:
            random.Random(seed).shuffle(order)
        for seq, first in enumerate(range(0, len(order), 200), start=1):
            arrive(site, seq, order[first : first + 200], received_at=datetime(2025, 6, 5, tzinfo=UTC))
            if shuffled:
                catch_up(site)
        catch_up(site)
        results.append(derived_hours(site))
    assert results[0].equals(results[1])
    assert results[0]["register"].unique().sort().to_list() == ["half", "heat"]
    heat, half = (results[0].filter(register=name) for name in ("heat", "half"))
    assert half["quantity"].to_list() == pytest.approx((heat["quantity"] / 0.0036 / 2).to_list())


def test_a_derived_register_that_comes_later_follows_from_the_days_that_are_there(site, deliver) -> None:
    steam_plant(site)
    site.register.apply({"register": pl.DataFrame([
        {"enterprise": ENTERPRISE, "meter": "S-1", "register": name, "unit": "kWh", "kind": "derived", "withdrawn": True} for name in ("heat", "half")
    ])}, by="test", known_from=KNOWN_FROM)
    deliver(1, two_hours(-3.0))
    catch_up(site)
    assert derived_hours(site).is_empty()
    assert site.derived.read("hourly", *DAYS).collect()["register_key"].n_unique() == 1  # states have no consumption
    steam_plant(site, "steam_heat(S-1.flow, S-1.p, dryness=1)")
    catch_up(site)
    assert derived_hours(site).height == 4


def test_another_formula_changes_all_its_days(site, deliver) -> None:
    steam_plant(site)
    deliver(1, two_hours(300.0))
    catch_up(site)
    before = derived_hours(site)
    assert before.filter(register="heat")["quantity"].to_list() == [pytest.approx(4 * 2.966, rel=0.01)] * 2
    steam_plant(site, "steam_heat(S-1.flow, S-1.p, S-1.t, feedwater_kj_per_kg=0)")
    catch_up(site)
    after = derived_hours(site)
    assert (after["quantity"] > before["quantity"]).all()


def test_a_state_for_which_a_formula_has_no_factor_is_told_among_the_verdicts(site, deliver) -> None:
    steam_plant(site)
    deliver(1, two_hours(20.0))  # water, where steam is meant
    catch_up(site)
    told = site.derived.read("verdicts", *DAYS).filter(pl.col("broken_rules").str.contains("not_steam")).collect()
    assert told["start"].n_unique() == 9
    assert told.join(site.register.names(), on="register_key")["register"].unique().sort().to_list() == ["p", "t"]
