from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.rules import advance, observations_from_quantities, observations_from_verdicts
from config.errors import UnknownCodeError
from config.findings import AlertEvent, Observation, OpenAlert
from config.schemas import INTERVAL, VERDICT, conform
from config.settings import AlertRule

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
ZONE = "Asia/Shanghai"
LOAD = AlertRule(name="load", kind="quantity", grain="hour", unit="kWh", above=100.0, clear_below=90.0)
NO_BAND = AlertRule(name="load", kind="quantity", grain="hour", unit="kWh", above=100.0)
NEAR = AlertRule(name="near-limit", kind="limit_ratio", above=0.95)


def seen(value: float, hour: int = 8, subject: str = "E/M/R") -> Observation:
    return Observation(
        rule="load", subject=subject, enterprise="E", value=value, unit="kWh", period=f"2026-11-20T{hour:02d}",
        at=datetime(2026, 11, 20, hour, tzinfo=UTC), facts={"meter": "M", "register": "R"},
    )


def opened(value: float = 120.0, hour: int = 8) -> OpenAlert:
    return OpenAlert(
        id=1, rule="load", subject="E/M/R", enterprise="E", severity="warning", value=value, period=f"2026-11-20T{hour:02d}", opened_at=NOW,
    )


def kinds(events: Sequence[AlertEvent]) -> list[str]:
    return [event.kind for event in events]


@pytest.mark.parametrize(("value", "expected"), [(99.9, []), (100.0, []), (100.00000000000001, []), (100.1, ["opened"])])
def test_an_alert_opens_above_its_bound_and_not_at_it(value: float, expected: list[str]) -> None:
    assert kinds(advance([LOAD], [seen(value)], [], NOW)) == expected


@pytest.mark.parametrize(("value", "expected"), [(100.0, "updated"), (90.0, "updated"), (89.9, "closed")])
def test_an_open_alert_closes_only_below_its_lower_bound(value: float, expected: str) -> None:
    assert kinds(advance([LOAD], [seen(value, 9)], [opened()], NOW)) == [expected]


@pytest.mark.parametrize(("value", "expected"), [(100.1, "updated"), (100.0, "closed"), (99.9, "closed")])
def test_without_a_band_an_alert_closes_once_its_bound_is_no_longer_exceeded(value: float, expected: str) -> None:
    assert kinds(advance([NO_BAND], [seen(value, 9)], [opened()], NOW)) == [expected]


def test_figures_of_one_subject_are_taken_in_the_order_of_their_periods() -> None:
    events = advance([LOAD], [seen(50, 10), seen(120, 8), seen(130, 9)], [], NOW)
    assert [(event.kind, event.period) for event in events] == [
        ("opened", "2026-11-20T08"), ("updated", "2026-11-20T09"), ("closed", "2026-11-20T10"),
    ]


def test_several_figures_above_the_bound_open_one_alert_and_tell_one_update() -> None:
    events = advance([LOAD], [seen(101, 7), seen(102, 8), seen(103, 9), seen(104, 10)], [], NOW)
    assert [(event.kind, event.value) for event in events] == [("opened", 101), ("updated", 104)]


def test_a_figure_older_than_the_last_period_of_an_open_alert_neither_closes_nor_updates_it() -> None:
    assert advance([LOAD], [seen(10, 7), seen(500, 6)], [opened(hour=8)], NOW) == []


def test_the_figure_that_once_opened_a_closed_alert_does_not_open_it_again_when_it_comes_again() -> None:
    judged = {("load", "E/M/R"): "2026-11-20T09"}
    assert advance([LOAD], [seen(120, 8), seen(50, 9)], [], NOW, judged=judged) == []
    assert kinds(advance([LOAD], [seen(120, 10)], [], NOW, judged=judged)) == ["opened"]


def test_no_figure_leaves_an_open_alert_as_it_is() -> None:
    assert advance([LOAD], [], [opened()], NOW) == []


def test_a_figure_that_says_the_same_again_is_no_event() -> None:
    assert advance([LOAD], [seen(120.0, 8), seen(120.001, 8)], [opened(120.0, 8)], NOW) == []


def test_subjects_and_rules_do_not_disturb_each_other() -> None:
    events = advance([LOAD], [seen(120, subject="E/M/R"), seen(120, subject="E/N/R"), seen(10, subject="E/O/R")], [], NOW)
    assert [event.subject for event in events] == ["E/M/R", "E/N/R"]


def test_a_rule_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(UnknownCodeError, match="load"):
        advance([NEAR], [seen(1)], [], NOW)


@given(values=st.lists(st.floats(0, 200), max_size=30), cut=st.integers(0, 30))
@settings(deadline=None, max_examples=60)
def test_alerts_alternate_between_open_and_closed_and_do_not_depend_on_how_the_figures_are_cut_into_calls(values: list[float], cut: int) -> None:
    figures = [
        Observation("load", "E/M/R", "E", value, "kWh", (NOW + timedelta(hours=index)).strftime("%Y-%m-%dT%H"), NOW + timedelta(hours=index))
        for index, value in enumerate(values)
    ]
    at_once = [event.kind for event in advance([LOAD], figures, [], NOW) if event.kind != "updated"]
    assert at_once == ["opened", "closed"] * (len(at_once) // 2) + ["opened"] * (len(at_once) % 2)

    first = advance([LOAD], figures[:cut], [], NOW)
    is_open = bool(first) and first[-1].kind != "closed"
    still_open = [OpenAlert(1, "load", "E/M/R", "E", "warning", first[-1].value, first[-1].period, NOW)] if is_open else []
    second = advance([LOAD], figures[cut:], still_open, NOW)
    assert [event.kind for event in (*first, *second) if event.kind != "updated"] == at_once


def interval(**given: object) -> dict[str, object]:
    start = datetime(2026, 11, 19, 16, tzinfo=UTC)
    return {
        "register_key": 1, "start": start, "end": start + timedelta(hours=1), "quantity": 0.15, "quality": "measured", "covered_ratio": 1.0,
        "estimated_ratio": 0.0, "enterprise": "E", "meter": "M", "register": "R", "medium": "electricity", "unit": "MWh", **given,
    }


def frame(*rows: dict[str, object]) -> pl.DataFrame:
    extra = {"enterprise": pl.String, "meter": pl.String, "register": pl.String, "medium": pl.String, "unit": pl.String}
    return pl.DataFrame(list(rows), schema={**INTERVAL, **extra})


def test_a_quantity_is_held_against_its_rule_in_the_rules_unit_and_named_by_the_parks_own_hour() -> None:
    [observation] = observations_from_quantities(LOAD, frame(interval()), zone=ZONE)
    assert (observation.subject, observation.value, observation.unit, observation.period) == ("E/M/R", 150.0, "kWh", "2026-11-20T00")
    assert observation.at == datetime(2026, 11, 19, 17, tzinfo=UTC)


@pytest.mark.parametrize(("given", "counts"), [
    ({"covered_ratio": 0.9}, True), ({"covered_ratio": 0.89}, False), ({"estimated_ratio": 0.05}, True), ({"estimated_ratio": 0.051}, False),
    ({"covered_ratio": None}, False), ({"quality": "suspect"}, False), ({"quantity": None}, False), ({"quantity": float("nan")}, False),
    ({"unit": "t"}, False),
])
def test_incomplete_and_suspect_intervals_are_no_figures(given: dict[str, object], counts: bool) -> None:
    assert bool(observations_from_quantities(LOAD, frame(interval(**given)), zone=ZONE)) is counts


@pytest.mark.parametrize(("rule", "count"), [
    ({"enterprise": "F"}, 1), ({"meter": "N"}, 1), ({"register": "S"}, 1), ({"medium": "gas"}, 1), ({"enterprise": "F", "meter": "N"}, 0), ({}, 5),
])
def test_a_rule_selects_its_registers(rule: dict[str, str], count: int) -> None:
    rows = frame(interval(), interval(enterprise="F"), interval(meter="N"), interval(register="S"), interval(medium="gas"))
    narrow = AlertRule.model_validate({"name": "load", "kind": "quantity", "grain": "hour", "unit": "kWh", "above": 1.0, **rule})
    assert len(observations_from_quantities(narrow, rows, zone=ZONE)) == count


def verdict(**given: object) -> pl.DataFrame:
    row = {
        "enterprise": "E", "product": "calcium_carbide", "indicator": "comprehensive_energy", "period_start": date(2025, 1, 1),
        "period_end": date(2025, 12, 31), "plant_status": "existing", "actual": 940.0, "unit": "kgce/t", "basis": "calorific",
        "standard": "GB 21343-2023", "edition": "2023", "level_1": 805.0, "level_2": 823.0, "level_3": 940.0, "binding_level": 3,
        "verdict": "complies", "standing": "binding", "covered_ratio": 1.0, "estimated_ratio": 0.0, **given,
    }
    return conform(pl.DataFrame([row]), VERDICT).with_columns(closed=pl.lit(value=True))


@pytest.mark.parametrize(("actual", "limit", "ratio"), [
    (470.0, 940.0, 0.5), (940.0, 940.0, 1.0), (-11.4, -12.0, 1.05), (-12.6, -12.0, 0.95), (-12.0, -12.0, 1.0),
    (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (3.0, 0.0, 2.0),
])
def test_a_limit_ratio_keeps_its_meaning_for_limits_at_and_below_zero(actual: float, limit: float, ratio: float) -> None:
    [observation] = observations_from_verdicts(NEAR, verdict(actual=actual, level_3=limit), zone=ZONE)
    assert observation.value == pytest.approx(ratio)


def test_the_binding_level_decides_what_a_new_plant_is_compared_with() -> None:
    [observation] = observations_from_verdicts(NEAR, verdict(binding_level=2, plant_status="new"), zone=ZONE)
    assert observation.facts["limit"] == 823.0


@pytest.mark.parametrize("given", [{"verdict": "incomplete"}, {"verdict": "no_rule"}, {"actual": None}, {"binding_level": 1, "level_1": None}])
def test_a_verdict_that_compares_nothing_is_no_figure(given: dict[str, object]) -> None:
    assert observations_from_verdicts(NEAR, verdict(**given), zone=ZONE) == []


def test_years_and_editions_are_subjects_of_their_own() -> None:
    frames = [
        verdict(), verdict(period_start=date(2026, 1, 1), period_end=date(2026, 6, 30)),
        verdict(period_start=date(2026, 7, 1), period_end=date(2026, 11, 20), standard="GB 21343-2030", edition="2030"), verdict(line="2"),
    ]
    seen_all = observations_from_verdicts(NEAR, pl.concat(frames), zone=ZONE)
    assert len({observation.subject for observation in seen_all}) == 4
    assert {observation.period for observation in seen_all} == {"2025", "2026-01-01..2026-06-30", "2026-07-01..2026-11-20"}


def test_a_year_that_closes_follows_the_running_year_and_does_not_count_as_older() -> None:
    running = OpenAlert(1, "near-limit", "E/calcium_carbide/comprehensive_energy/GB 21343-2023/2025", "E", "warning", 1.2,
                        "2025-01-01..2025-12-30", NOW)
    [event] = advance([NEAR], observations_from_verdicts(NEAR, verdict(actual=800.0), zone=ZONE), [running], NOW)
    assert (event.kind, event.period) == ("closed", "2025")
