from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.rules import (
    FLAG_RULES,
    MOST_RESETS,
    advance,
    flag_events,
    observations_from_budgets,
    observations_from_quantities,
    observations_from_verdicts,
)
from config.errors import UnknownCodeError
from config.findings import AlertEvent, Observation, OpenAlert
from config.schemas import FLAG, INTERVAL, VERDICT, conform
from config.settings import AlertRule

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
ZONE = "Asia/Shanghai"
LOAD = AlertRule(name="load", kind="quantity", grain="hour", unit="kWh", above=100.0, clear_below=90.0)
NO_BAND = AlertRule(name="load", kind="quantity", grain="hour", unit="kWh", above=100.0)
NEAR = AlertRule(name="near-limit", kind="limit_ratio", at_least=0.95)
AHEAD = AlertRule(name="forecast-near-limit", kind="forecast_ratio", at_least=0.95)


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
    ({}, True), ({"covered_ratio": 1 - 1e-12}, True), ({"covered_ratio": 0.999}, False), ({"covered_ratio": None}, False),
    ({"quality": "estimated", "estimated_ratio": 0.01}, False), ({"quality": "suspect"}, False),
    ({"quantity": None}, False), ({"quantity": float("nan")}, False), ({"unit": "t"}, False),
])
def test_only_intervals_that_are_measured_whole_are_figures(given: dict[str, object], counts: bool) -> None:
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


@pytest.mark.parametrize("rule", [NEAR, AHEAD])
@pytest.mark.parametrize(("actual", "limit", "opens"), [
    (94.99, 100.0, False), (95.0, 100.0, True), (95.01, 100.0, True), (893.0, 940.0, True), (892.99, 940.0, False),
    (-12.61, -12.0, False), (-12.6, -12.0, True), (-12.59, -12.0, True), (0.0, 0.0, True), (-0.001, 0.0, False),
])
def test_a_figure_or_forecast_with_exactly_five_percent_to_spare_is_near_its_limit(
    rule: AlertRule, actual: float, limit: float, opens: bool
) -> None:
    seen_all = observations_from_verdicts(rule, verdict(actual=actual, level_3=limit), zone=ZONE)
    events = advance([rule], seen_all, [], NOW)
    assert kinds(events) == (["opened"] if opens else [])
    is_open = OpenAlert(1, rule.name, seen_all[0].subject, "E", "warning", 0.99, "2025-01-01..2025-12-30", NOW)
    assert kinds(advance([rule], seen_all, [is_open], NOW)) == (["updated"] if opens else ["closed"])


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


# --- flags that a person has to look at -------------------------------------------------------------------------------

DAY = date(2026, 11, 20)
RESET, OVER_RATING = FLAG_RULES["reset"], FLAG_RULES["over_rating"]


def flag(minute: int = 0, what: str = "reset", **given: object) -> dict[str, object]:
    start = datetime(2026, 11, 20, 1, tzinfo=UTC) + timedelta(minutes=minute)
    return {
        "register_key": 1, "start": start, "end": start + timedelta(minutes=15), "flag": what, "before": 9000.5, "after": 3.25, "quantity": 0.0,
        "day": DAY, "enterprise": "E", "meter": "M", "register": "R", "unit": "kWh", "max_rate_per_h": 100.0, "enterprise_zh": "电石厂",
        "enterprise_en": "Carbide works", **given,
    }


def fast(minute: int = 0, kwh: float = 50.0, **given: object) -> dict[str, object]:
    return flag(minute, "over_rating", before=10.0, after=10.0 + kwh, quantity=kwh, **given)


def flagged(*rows: dict[str, object]) -> pl.DataFrame:
    names = ("enterprise", "meter", "register", "unit", "enterprise_zh", "enterprise_en")
    schema = pl.Schema({**FLAG, "day": pl.Date(), "max_rate_per_h": pl.Float64(), **dict.fromkeys(names, pl.String())})
    return pl.DataFrame(list(rows), schema=schema)


def flag_alerts(rows: Sequence[dict[str, object]], open_alerts: Sequence[OpenAlert] = (), since: date = DAY) -> list[AlertEvent]:
    return flag_events(flagged(*rows), open_alerts, NOW, since=since, zone=ZONE)


def as_open(event: AlertEvent) -> OpenAlert:
    return OpenAlert(
        1, event.rule, event.subject, event.enterprise, event.severity, event.value, event.period, NOW, event.bound, event.unit, event.facts,
    )


def test_a_reset_opens_an_alert_that_says_what_the_register_showed_and_what_to_do() -> None:
    [event] = flag_alerts([flag()])
    assert (event.kind, event.rule, event.subject) == ("opened", RESET, "E/M/R/2026-11-20T09:15:00+08:00")
    assert (event.value, event.bound, event.period, event.severity) == (3.25, 9000.5, "2026-11-20", "warning")
    for word in ("Carbide works", "M/R", "9000.5", "3.25", "2026-11-20 09:00:00", "2026-11-20 09:15:00", "confirm", "exclude", "declare"):
        assert word in event.text_en
    for word in ("电石厂", "9000.5", "3.25", "确认", "剔除", "登记"):
        assert word in event.text_zh


def test_an_alert_on_a_flag_stays_while_the_flag_stays_and_closes_when_it_is_gone() -> None:
    [event] = flag_alerts([flag()])
    is_open = as_open(event)
    assert flag_alerts([flag()], [is_open]) == []
    [closed] = flag_alerts([], [is_open])
    assert (closed.kind, closed.rule, closed.subject, closed.value, closed.bound) == ("closed", RESET, event.subject, 3.25, 9000.5)
    assert closed.text_en.startswith("Settled")
    assert "9000.5" in closed.text_en
    assert "9000.5" in closed.text_zh
    both = [(one.kind, one.subject[-14:]) for one in flag_alerts([flag(60)], [is_open])]
    assert both == [("opened", "10:15:00+08:00"), ("closed", "09:15:00+08:00")]


def test_alerts_of_other_rules_are_left_alone_and_other_flags_open_none() -> None:
    assert flag_alerts([flag(what=what) for what in ("wrap", "jitter", "gap", "uncertain")], [opened()]) == []


@pytest.mark.parametrize(("day", "kinds_found"), [(DAY, ["opened"]), (DAY - timedelta(days=1), [])])
def test_a_flag_of_an_older_day_opens_no_alert(day: date, kinds_found: list[str]) -> None:
    assert kinds(flag_alerts([flag(day=day)], since=DAY)) == kinds_found


def test_an_open_alert_stays_open_however_old_its_flag_becomes() -> None:
    [event] = flag_alerts([flag()])
    assert flag_alerts([flag()], [as_open(event)], since=DAY + timedelta(days=400)) == []


@pytest.mark.parametrize(("count", "alerts"), [(1, 1), (MOST_RESETS, MOST_RESETS), (MOST_RESETS + 1, 1), (96, 1)])
def test_many_resets_of_a_day_are_one_alert(count: int, alerts: int) -> None:
    found = flag_alerts([flag(15 * place, before=9000.5 + place) for place in range(count)])
    assert len(found) == alerts
    if count > MOST_RESETS:
        assert (found[0].subject, found[0].facts["count"], found[0].bound) == ("E/M/R/2026-11-20", count, 9000.5)
        assert f"There are {count} on this day" in found[0].text_en
        assert f"当日共 {count} 次" in found[0].text_zh


def test_steps_above_the_rating_are_one_alert_for_a_register_and_day_that_tells_the_fastest() -> None:
    rows = [fast(), fast(15, 75.0), fast(30, 60.0), fast(register_key=2, meter="N"), fast(day=DAY + timedelta(days=1))]
    found = {event.subject: event for event in flag_alerts(rows)}
    assert set(found) == {"E/M/R/2026-11-20", "E/N/R/2026-11-20", "E/M/R/2026-11-21"}
    event = found["E/M/R/2026-11-20"]
    assert (event.rule, event.value, event.bound, event.unit, event.facts["count"]) == (OVER_RATING, 300.0, 100.0, "kWh/h", 3)
    for word in ("75.00 kWh", "300.0 kWh/h", "100.0 kWh/h", "not zeroed", "3 such steps"):
        assert word in event.text_en
    for word in ("300.0 kWh/h", "未清零", "当日共 3 段"):
        assert word in event.text_zh


@pytest.mark.parametrize(("more", "expected"), [([], []), ([fast(45, 60.0)], ["updated"]), ([fast(45, 80.0)], ["updated"])])
def test_a_further_step_of_the_day_updates_its_alert(more: list[dict[str, object]], expected: list[str]) -> None:
    [event] = flag_alerts([fast(15, 75.0)])
    assert kinds(flag_alerts([fast(15, 75.0), *more], [as_open(event)])) == expected


@given(st.permutations(range(8)))
@settings(max_examples=20)
def test_the_order_of_flags_makes_no_difference(order: list[int]) -> None:
    rows = [flag(15 * place) for place in range(4)] + [fast(15 * place, 50.0 + place) for place in range(4)]
    assert flag_alerts([rows[place] for place in order]) == flag_alerts(rows)


def _warned(**others: object) -> pl.DataFrame:
    row = {
        "level": "park", "subject": "P1", "measure": "calorific_tce", "kind": "ceiling", "period": "2026", "actual": 110.0, "target": 100.0,
        "progress_target": 100.0, "gap_ratio": 0.1, "colour": "yellow", "through": date(2026, 3, 9),
        "derivation": "P1 calorific_tce said", "derivation_zh": "P1 calorific_tce 说明",
        "enterprise_zh": "甲园区", "enterprise_en": "Park A",
    }
    return pl.DataFrame([row | others])


@pytest.mark.parametrize(("gap", "opens"), [(-0.1, 0), (0.0, 0), (0.001, 1)])
def test_an_alert_opens_where_a_budget_is_missed_and_not_where_it_is_just_met(gap: float, opens: int) -> None:
    rule = AlertRule(name="budget-missed", kind="budget_gap", above=0.0)
    events = advance([rule], observations_from_budgets(rule, _warned(gap_ratio=gap), zone=ZONE), [], NOW)
    assert [event.kind for event in events] == ["opened"] * opens
    for event in events:
        assert (event.enterprise, event.subject, event.period) == ("", "park/P1/calorific_tce/ceiling/2026", "2026-01-01..2026-03-09")
        assert (event.text_zh, event.text_en) == ("甲园区 综合能耗（当量值） 说明", "Park A, energy, calorific basis: said")


def test_a_budget_without_a_gap_says_nothing_and_a_rule_of_an_enterprise_takes_its_own_only() -> None:
    rule = AlertRule(name="budget-missed", kind="budget_gap", above=0.0, enterprise="E1")
    assert observations_from_budgets(rule, _warned(gap_ratio=None), zone=ZONE) == []
    both = pl.concat([_warned(), _warned(level="enterprise", subject="E1")])
    assert [one.enterprise for one in observations_from_budgets(rule, both, zone=ZONE)] == ["E1"]
