from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from config import settings as site_settings
from config.errors import StoreFullError
from pipeline.rebuild import rebuilt
from pipeline.retention import Archivist
from pipeline.roll import Roller
from pipeline.settle import Settler
from pipeline.site import Site
from pipeline.watch import Watcher
from store.journal import Arrival
from tests.small_disk import small_disk

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
E1 = ("E-1", "active_import")


def settle_all(site: Site) -> None:
    while Settler(site).once():
        pass


def archived(site: Site) -> list[str]:
    return sorted(path.name[8:10] for path in (site.data_dir / "journal").glob("*.zst"))


@pytest.fixture
def days(site, deliver):
    """A message on each of twelve days, from 1 June on."""
    for day in range(12):
        deliver(day + 1, [(*E1, NOON + day * DAY, 100.0 * day)])
    return site


@pytest.mark.parametrize(("after_days", "expected"), [(7, ["01", "02", "03", "04"]), (8, ["01", "02", "03"]), (10, ["01"]), (11, [])])
def test_settled_days_older_than_so_many_are_archived(days, after_days, expected):
    settle_all(days)
    days.settings = days.settings.model_copy(update={"retention": site_settings.RetentionSettings(archive_after_days=after_days)})
    archivist = Archivist(days, lambda: datetime(2025, 6, 12, 23, 59, tzinfo=UTC))
    assert sum(archivist.once() for _ in range(6)) == len(expected)
    assert archived(days) == expected


def test_the_day_that_is_written_to_is_never_archived_however_old(days):
    settle_all(days)
    archivist = Archivist(days, lambda: NOON + 400 * DAY)
    while archivist.once():
        pass
    assert archived(days) == [f"{day:02}" for day in range(1, 12)]
    assert days.journal.append([Arrival("mqtt", "t", None, None, b"", NOON + 11 * DAY)]) == [13]
    assert days.journal.verify(settled=12) == (13, ())


def test_what_is_not_settled_is_not_archived(days):
    archivist = Archivist(days, lambda: NOON + 400 * DAY)
    assert archivist.once() == 0
    days.ledger.settle(days.ledger.settlements(0, 0), 3)
    assert archivist.once() == 0  # history may wait among them
    days.ledger.settle(days.ledger.settlements(0, 0), 3, lane=1)
    while archivist.once():
        pass
    assert archived(days) == ["01", "02", "03"]


def test_rebuilding_from_archives_gives_the_same_tables(days, tmp_path):
    settle_all(days)
    while Roller(days).once():
        pass
    before = days.derived.hashes()
    archivist = Archivist(days, lambda: NOON + 400 * DAY)
    while archivist.once():
        pass
    shadow = rebuilt(days, tmp_path / "again", upto=days.ledger.cursors())
    assert shadow.derived.hashes() == before
    assert days.derived.read("daily", date(2025, 6, 1), date(2025, 6, 12)).collect().height > 0
    shadow.readings().close()


def test_a_damaged_day_stays_and_is_told_and_the_others_go_on(days):
    settle_all(days)
    path = days.data_dir / "journal" / "2025-06-02.sqlite"
    path.write_bytes(b"no database" * 100)
    archivist = Archivist(days, lambda: NOON + 400 * DAY)
    while archivist.once():
        pass
    assert "2025-06-02" in archivist.notice
    assert archived(days) == ["01", *(f"{day:02}" for day in range(3, 12))]
    assert path.exists()


# --- the disk -----------------------------------------------------------------------------------------------------------

def on_disk(new_site, folder: Path, **retention: int) -> Site:
    site = new_site(folder)
    site.settings = site.settings.model_copy(update={"retention": site_settings.RetentionSettings(**retention)})
    return site


def test_a_disk_that_runs_short_raises_an_alert_stops_acknowledging_and_goes_on(new_site, tmp_path, arrive):
    with small_disk(tmp_path / "disk", megabytes=40) as disk:
        site = on_disk(new_site, disk, warn_free_mb=20, reserve_mb=8)
        watcher = Watcher(site, lambda: NOON)
        arrive(site, 1, [(*E1, NOON, 1.0)])
        assert watcher.once() == 0

        def leave_free(megabytes: float) -> None:
            ballast = disk / "ballast"
            ballast.unlink(missing_ok=True)
            ballast.write_bytes(bytes(int((site.free_mb() - megabytes) * (1 << 20))))

        for free_mb, severity in ((21, None), (18, "warning"), (7, "critical"), (19, "warning"), (20.5, "warning"), (23, None)):
            leave_free(free_mb)
            watcher.once()
            assert [(one.severity, one.enterprise) for one in site.casebook.open_alerts()] == ([(severity, "")] if severity else []), free_mb
            if severity == "critical":
                with pytest.raises(StoreFullError, match="kept in reserve"):
                    arrive(site, 2, [(*E1, NOON, 1.0)])
                with pytest.raises(StoreFullError):
                    site.check_reserve()
            else:
                arrive(site, 2, [(*E1, NOON, 1.0)])
                site.check_reserve()
        texts = site.casebook.alerts()
        assert texts["text_zh"][0].startswith("数据盘")
        assert site.outbox.counts()["waiting"] == 2  # one notice when it opens, one when it closes
        (disk / "ballast").unlink()
        site.close()


def test_an_alert_on_the_disk_says_what_it_has_and_what_it_needs(site):
    site.settings = site.settings.model_copy(update={"retention": site_settings.RetentionSettings(warn_free_mb=10**9)})
    watcher = Watcher(site, lambda: NOON)
    assert (watcher.once(), watcher.once()) == (1, 0)  # once, not each time
    alert, history = site.casebook.alert(site.casebook.open_alerts()[0].id)
    assert (alert["rule"], alert["subject"], alert["unit"], alert["bound"], history.height) == ("platform/free-space", "data_dir", "MB", 1e9, 1)
    assert "1,000,000,000 MB" in alert["text_en"]
