"""What the interval rules leave to a person opens an alert, and closes it once that is settled; what was caught up for is no peak."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from alerts.rules import FLAG_DAYS, FLAG_RULES
from config import settings as site_settings
from pipeline.roll import Roller
from pipeline.settle import Settler
from pipeline.site import Site
from pipeline.watch import Watcher

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)  # noon in Shanghai
START = NOW - timedelta(hours=4)
RESET, OVER_RATING = FLAG_RULES["reset"], FLAG_RULES["over_rating"]
FALLS = [100.0, 110.0, 3.0, 5.0, 7.0, 9.0]  # by quarters: a reset at 08:30


def shown(values: list[float], start: datetime = START, minutes: float = 15) -> list[tuple[str, str, datetime, float]]:
    return [("E-1", "active_import", start + timedelta(minutes=minutes * place), value) for place, value in enumerate(values)]


@pytest.fixture
def watch(site: Site) -> Callable[..., list[tuple[str, bool]]]:
    """`watch()`: settle, roll up and hold against the rules; the alerts (rule, open), oldest first."""
    roller, now = Roller(site), [NOW]
    watcher = Watcher(site, lambda: now[0])

    def run(at: datetime = NOW) -> list[tuple[str, bool]]:
        now[0] = at
        while Settler(site).once():
            pass
        while roller.once():
            pass
        watcher.once()
        assert watcher.once() == 0
        return [(row["rule"], row["closed_at"] is None) for row in site.casebook.alerts().reverse().to_dicts()]

    return run


def whose(site: Site) -> dict[str, str]:
    return {"enterprise": site.register.enterprises()["enterprise"][0], "meter": "E-1", "register": "active_import"}


def edit(site: Site, **given: object) -> int:
    row = {**whose(site), "reason": "looked at on site", **{name: str(value) for name, value in given.items()}}
    [number] = site.edits.propose(pl.DataFrame([row]), maker="Li", at=NOW)
    site.edits.check([number], checker="Wang", at=NOW)
    return number


def quarter(place: int) -> str:
    return (START + timedelta(minutes=15 * place)).isoformat()


def test_a_reset_opens_one_alert_with_a_notice_in_both_languages(site, deliver, watch):
    deliver(1, shown(FALLS))
    assert watch() == watch() == [(RESET, True)]
    alert = site.casebook.alerts().row(0, named=True)
    assert alert["subject"].endswith("/E-1/active_import/2026-03-02T08:30:00+08:00")
    assert (alert["bound"], alert["value"]) == (110.0, 3.0)
    [notice] = [queued.notice for queued in site.outbox.due(NOW + timedelta(hours=1))]
    assert "示例电石" in notice.title_zh
    assert "Example carbide" in notice.body_en


def test_a_confirmed_reset_closes_its_alert_and_opens_it_again_if_that_is_withdrawn(site, deliver, watch):
    deliver(1, shown(FALLS))
    watch()
    number = edit(site, kind="confirm", start=quarter(1), end=quarter(2))
    assert watch() == [(RESET, False)]
    site.edits.withdraw([number], by="Li", at=NOW, reason="another meter was meant")
    site.edits.check([number], checker="Wang", at=NOW)
    assert watch() == [(RESET, False), (RESET, True)]


def test_a_declared_reset_closes_the_alert(site, deliver, watch):
    deliver(1, shown(FALLS))
    watch()
    row = {**whose(site), "at": quarter(2), "event": "reset", "closing_value": 112.0, "opening_value": 3.0}
    site.register.apply({"event": pl.DataFrame([row])}, by="test", known_from=NOW)
    assert watch() == [(RESET, False)]


def test_excluded_readings_close_the_alert(site, deliver, watch):
    deliver(1, shown(FALLS[:4]))
    assert watch() == [(RESET, True)]
    edit(site, kind="exclude", start=quarter(2), end=quarter(4))
    assert watch() == [(RESET, False)]


def test_later_readings_that_show_a_transient_close_the_alert(site, deliver, watch):
    deliver(1, shown([100.0, 110.0, 0.0]))
    assert watch() == [(RESET, True)]
    deliver(2, shown([120.0, 130.0], START + timedelta(minutes=45)))
    assert watch() == [(RESET, False)]


def test_a_step_above_the_rating_opens_an_alert_and_a_mended_rating_closes_it(site, deliver, watch):
    register = {**whose(site), "unit": "kWh", "kind": "cumulative", "max_rate_per_h": 100.0}
    site.register.apply({"register": pl.DataFrame([register])}, by="test", known_from=NOW - timedelta(days=300))
    deliver(1, shown([0.0, 10.0, 60.0, 70.0, 145.0]))
    assert watch() == [(OVER_RATING, True)]
    alert = site.casebook.alerts().row(0, named=True)
    assert (alert["value"], alert["bound"], alert["unit"]) == (300.0, 100.0, "kWh/h")
    site.register.apply({"register": pl.DataFrame([register | {"max_rate_per_h": 400.0}])}, by="test", known_from=NOW)
    assert watch() == [(OVER_RATING, False)]


@pytest.mark.parametrize(("days", "alerts"), [(FLAG_DAYS, [(RESET, True)]), (FLAG_DAYS + 1, []), (3 * 365, [])])
def test_imported_history_opens_no_alerts_on_its_old_flags(site, deliver, watch, days, alerts):
    deliver(1, shown(FALLS, START - timedelta(days=days)))
    assert watch() == alerts


def test_an_alert_outlives_the_days_in_which_it_could_open(site, deliver, watch):
    deliver(1, shown(FALLS))
    watch()
    later = NOW + timedelta(days=FLAG_DAYS + 100)
    assert watch(later) == [(RESET, True)]
    edit(site, kind="confirm", start=quarter(1), end=quarter(2))
    assert watch(later) == [(RESET, False)]


HOURLY = {"name": "load", "kind": "quantity", "grain": "hour", "medium": "electricity", "unit": "kWh", "above": 100.0}


@pytest.mark.parametrize(("missing", "alerts"), [(0, [("load", True)]), (11, [])])
def test_what_was_caught_up_for_after_a_gap_is_no_peak_and_what_was_measured_is(site, deliver, watch, missing, alerts):
    """Quarters of 5 kWh, then 12 of 40 kWh: measured one by one, or caught up for in one step of three hours."""
    site.settings = site_settings.build({"site": {"data_dir": site.data_dir}, "alerts": {"rules": [HOURLY]}})
    start = NOW - timedelta(hours=9)
    quiet = [5.0 * place for place in range(13)]
    busy = [quiet[-1] + 40.0 * place for place in range(1, 13)]
    after = [busy[-1] + 5.0 * place for place in range(1, 9)]
    readings = shown([*quiet, *busy, *after], start)
    deliver(1, readings[: len(quiet)] + readings[len(quiet) + missing :])
    found = [row for row in watch() if row[0] == "load"]
    assert [rule for rule, _ in found] == [rule for rule, _ in alerts]
    hours = site.derived.read("hourly", NOW.date() - timedelta(days=1), NOW.date()).collect()
    assert hours["quantity"].max() == pytest.approx(160.0)  # it is kept in either case
    assert hours["quantity"].sum() == pytest.approx(after[-1])
    assert set(hours.filter(pl.col("quantity") > 100)["quality"]) == {"estimated" if missing else "measured"}
