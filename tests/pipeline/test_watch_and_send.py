import json
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from alerts.channels.file import FileChannel
from config import settings as site_settings
from config.errors import ChannelUnavailableError
from config.findings import Notice
from config.schemas import VERDICT, conform
from pipeline.roll import Roller
from pipeline.send import Sender
from pipeline.settle import Settler
from pipeline.site import Site
from pipeline.watch import Watcher

NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)  # noon in Shanghai
E1 = ("E-1", "active_import")


def with_rules(site: Site, *rules: dict[str, object]) -> None:
    site.settings = site_settings.build({"site": {"data_dir": site.data_dir}, "alerts": {"rules": rules}})


def watch(site: Site, at: datetime = NOW) -> int:
    while Settler(site).once():
        pass
    while Roller(site).once():
        pass
    return Watcher(site, lambda: at).once()


HOURLY = {"name": "load", "kind": "quantity", "grain": "hour", "medium": "electricity", "unit": "kWh", "above": 100.0}
RATIO = {"name": "above-limit", "kind": "limit_ratio", "above": 1.0}


@pytest.mark.parametrize(("kwh", "alerts"), [(99.9, 0), (100.0, 0), (100.1, 1)])
def test_an_hour_above_its_bound_opens_one_alert_and_an_equal_one_does_not(site, deliver, kwh, alerts):
    with_rules(site, HOURLY)
    start = NOW - timedelta(hours=2)
    deliver(1, [(*E1, start, 0.0), (*E1, start + timedelta(hours=1), kwh)])
    watch(site)
    watch(site)
    assert site.casebook.alerts().height == alerts
    assert len(site.outbox.due(NOW + timedelta(hours=1))) == alerts


def test_an_alert_closes_when_the_next_hour_is_below_and_the_old_hour_does_not_open_it_again(site, deliver):
    with_rules(site, HOURLY)
    start = NOW - timedelta(hours=3)
    deliver(1, [(*E1, start, 0.0), (*E1, start + timedelta(hours=1), 150.0)])
    assert watch(site) == 1
    deliver(2, [(*E1, start + timedelta(hours=2), 160.0)])
    assert watch(site) == 1
    assert [watch(site) for _ in range(3)] == [0, 0, 0]
    assert site.casebook.open_alerts() == []
    assert site.casebook.alerts().height == 1


def test_no_data_is_not_zero_and_closes_nothing(site, deliver):
    with_rules(site, HOURLY)
    start = NOW - timedelta(hours=3)
    deliver(1, [(*E1, start, 0.0), (*E1, start + timedelta(hours=1), 150.0)])
    watch(site)
    assert watch(site, NOW + timedelta(days=1)) == 0
    assert len(site.casebook.open_alerts()) == 1


def verdict(site: Site, **named: object) -> pl.DataFrame:
    row = {
        "enterprise": site.register.enterprises()["enterprise"][0], "product": "calcium_carbide", "indicator": "comprehensive_energy",
        "period_start": date(2025, 1, 1), "period_end": date(2025, 12, 31), "plant_status": "existing", "actual": 1000.0, "unit": "kgce/t",
        "basis": "calorific", "standard": "GB 21343-2023", "edition": "2023", "level_1": 805.0, "level_2": 823.0, "level_3": 940.0,
        "binding_level": 3, "level": "none", "verdict": "exceeds", "standing": "binding", "excess": 60.0, "excess_ratio": 60 / 940,
        "derivation": "d", "clause": "", "source": "s", "confidence": "medium", "covered_ratio": 1.0, "estimated_ratio": 0.0,
    }
    return conform(pl.DataFrame([row | named]), VERDICT).with_columns(closed=pl.lit(value=True))


@pytest.mark.parametrize(
    ("changed", "cases"),
    [
        ({}, 1), ({"standing": "unconfirmed"}, 0), ({"standing": "indicative"}, 0), ({"verdict": "incomplete"}, 0),
        ({"covered_ratio": 0.9}, 1), ({"covered_ratio": 0.89}, 0), ({"estimated_ratio": 0.05}, 1), ({"estimated_ratio": 0.06}, 0),
        ({"period_end": date(2025, 11, 30)}, 0), ({"period_start": date(2026, 1, 1), "period_end": date(2026, 2, 28)}, 0),
    ],
)
def test_only_a_binding_limit_exceeded_in_a_closed_year_on_complete_data_opens_a_case_as_suspected(site, changed, cases):
    with_rules(site, RATIO)
    site.derived.write_result("verdicts", verdict(site, **changed))
    for _ in range(2):
        Watcher(site, lambda: NOW).once()
    assert site.casebook.cases()["state"].to_list() == ["suspected"] * cases


def test_a_crash_between_alert_and_notice_leaves_both_or_neither(site, monkeypatch):
    from store import outbox

    with_rules(site, RATIO)
    site.derived.write_result("verdicts", verdict(site))
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "enqueue", lambda *_: (_ for _ in ()).throw(RuntimeError))
        with pytest.raises(RuntimeError):
            Watcher(site, lambda: NOW).once()
    assert site.casebook.alerts().height == 0
    assert site.casebook.cases().height == 0
    Watcher(site, lambda: NOW).once()
    assert (site.casebook.alerts().height, site.casebook.cases().height) == (1, 1)
    assert len(site.outbox.due(NOW + timedelta(hours=1))) == 2
    assert site.audit.verify().broken is None


def test_a_notice_that_cannot_be_delivered_is_tried_again_with_the_same_key(site, tmp_path):
    with_rules(site, RATIO)
    site.derived.write_result("verdicts", verdict(site))
    Watcher(site, lambda: NOW).once()
    keys: list[str] = []

    class Fails:
        name = "file"

        def send(self, notice: Notice) -> None:
            keys.append(notice.key)
            raise ChannelUnavailableError("file", "there", "no")

    assert Sender(site, {"file": Fails()}, lambda: NOW).once() == 0
    assert Sender(site, {"file": Fails()}, lambda: NOW).once() == 0  # not due yet
    assert len(keys) == 2
    later = NOW + timedelta(minutes=1)
    good = FileChannel(site.settings.alerts.channels[0], tmp_path)
    assert Sender(site, {"file": good}, lambda: later).once() == 2
    assert Sender(site, {"file": good}, lambda: later).once() == 0
    lines = [json.loads(line) for line in good.path.read_text().splitlines()]
    assert [line["key"] for line in lines] == keys
