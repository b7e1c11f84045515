from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from alerts.compose import notices
from config.findings import AlertEvent, CaseOpened, Notice, OpenAlert
from store import audit, outbox
from store.audit import AuditLog
from store.casebook import Casebook, identity
from store.database import Database
from store.models import ALERT
from store.outbox import Outbox

STEEL, COKE = "91150400MA0EXAMP0J", "91150400MA0EXAMP1M"
AT = datetime(2026, 1, 1, tzinfo=UTC)
OPENED = AlertEvent(
    "opened", "near", f"{STEEL}/E-1/main", STEEL, "warning", 0.97, 0.95, "", "2025", AT, "接近限额", "near the limit", {"limit": 1.0, "unit": None},
)
UPDATED = replace(OPENED, kind="updated", value=0.99, period="2026-01", at=AT + timedelta(days=1))
CLOSED = replace(OPENED, kind="closed", value=0.90, period="2026-02", at=AT + timedelta(days=2))
CASE = CaseOpened(
    COKE, "coke", "comprehensive", "GB 21342-2013", "2013", date(2025, 1, 1), date(2025, 12, 31), AT, "疑似", "suspected", {"excess": 3.2},
)


@pytest.fixture
def book(database: Database) -> Casebook:
    return Casebook(database)


def told(database: Database) -> list[str]:
    return [queued.notice.key for queued in Outbox(database).due(AT + timedelta(days=999), 99)]


def test_an_event_its_notice_and_its_audit_record_are_written_together(book: Casebook, database: Database) -> None:
    book.record([OPENED, CASE], [*notices(OPENED, ["file", "mail"]), *notices(CASE, ["file"])], by="watch")
    assert book.open_alerts() == [OpenAlert(1, "near", OPENED.subject, STEEL, "warning", 0.97, "2025", AT, 0.95, "", OPENED.facts)]
    assert book.case_keys() == {CASE.key}
    assert told(database) == [f"{identity(OPENED)}/file", f"{identity(OPENED)}/mail", f"{identity(CASE)}/file"]
    assert AuditLog(database).entries().select("by", "action", "subject").rows() == [
        ("watch", "alert.opened", f"near/{OPENED.subject}"), ("watch", "case.opened", CASE.key),
    ]


@pytest.mark.parametrize("fails", ["enqueue", "append"])
def test_where_one_of_the_three_fails_none_is_written(book: Casebook, database: Database, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the plug was pulled")

    monkeypatch.setattr(outbox if fails == "enqueue" else audit, fails, fail)
    with pytest.raises(OSError, match="plug"):
        book.record([OPENED, CASE], notices(OPENED, ["file"]), by="watch")
    monkeypatch.undo()
    assert book.open_alerts() == []
    assert book.cases().is_empty()
    assert told(database) == []
    assert AuditLog(database).verify().checked == 0


def test_a_second_opening_is_ignored_with_its_notices(book: Casebook, database: Database) -> None:
    book.record([OPENED], notices(OPENED, ["file"]), by="watch")
    again = replace(OPENED, at=AT + timedelta(hours=1), value=1.2)
    book.record([again, CASE], [*notices(again, ["file"]), *notices(CASE, ["file"])], by="watch")
    assert [alert.value for alert in book.open_alerts()] == [0.97]
    assert told(database) == [f"{identity(OPENED)}/file", f"{identity(CASE)}/file"]


def test_a_case_is_opened_once_for_its_key(book: Casebook, database: Database) -> None:
    for at in (AT, AT + timedelta(days=9)):
        book.record([replace(CASE, at=at)], notices(CASE, ["file"]), by="watch")
    assert book.cases().select("key", "state", "opened_at", "line").rows() == [(CASE.key, "suspected", AT, None)]
    book.record([replace(CASE, line="2")], [], by="watch")
    assert book.cases()["line"].to_list() == ["2", None]
    assert told(database) == [f"{identity(CASE)}/file"]


def test_an_alert_moves_closes_and_may_open_again(book: Casebook) -> None:
    for event in (OPENED, UPDATED, CLOSED):
        book.record([event], notices(event, ["file"]), by="watch")
    assert book.open_alerts() == []
    assert book.judged() == {("near", OPENED.subject): "2026-02"}
    book.record([replace(OPENED, at=AT + timedelta(days=3), period="2026-03")], [], by="watch")
    assert book.judged() == {}
    found = book.alerts()
    assert found.select("id", "period", "value", "closed_at").rows() == [(2, "2026-03", 0.97, None), (1, "2026-02", 0.90, CLOSED.at)]
    alert = book.alert(1)
    assert alert is not None
    assert alert[1].select("kind", "value").rows() == [("opened", 0.97), ("updated", 0.99), ("closed", 0.90)]


def test_the_period_last_judged_is_that_of_the_newest_closed_alert(book: Casebook) -> None:
    for period in ("2025", "2026"):
        for kind in ("opened", "closed"):
            book.record([replace(OPENED, kind=kind, period=period)], [], by="watch")
    assert book.judged() == {("near", OPENED.subject): "2026"}


def test_events_about_no_open_alert_and_repeated_updates_change_nothing(book: Casebook, database: Database) -> None:
    book.record([CLOSED], notices(CLOSED, ["file"]), by="watch")
    assert told(database) == []
    book.record([OPENED, UPDATED, UPDATED], [], by="watch")
    alert = book.alert(1)
    assert alert is not None
    assert alert[1]["kind"].to_list() == ["opened", "updated"]
    assert AuditLog(database).entries().height == 2


def test_the_database_itself_allows_one_open_alert_only(book: Casebook, database: Database) -> None:
    book.record([OPENED], [], by="watch")
    row = {"rule": "near", "subject": OPENED.subject, "enterprise": STEEL, "severity": "warning", "value": 1.0, "bound": 1.0, "unit": "",
           "period": "2025", "opened_at": AT, "updated_at": AT, "text_zh": "", "text_en": "", "facts": "{}"}
    with database.session() as session:
        session.execute(insert(ALERT).values(**row, closed_at=AT))
    with pytest.raises(IntegrityError), database.session() as session:
        session.execute(insert(ALERT).values(**row))


def test_alerts_and_cases_come_in_pages_and_only_those_of_given_enterprises(book: Casebook) -> None:
    book.record([replace(OPENED, subject=f"s{number}", enterprise=STEEL if number % 2 else COKE) for number in range(6)], [], by="watch")
    book.record([replace(CLOSED, subject="s5"), CASE], [], by="watch")
    assert book.alerts(limit=2)["id"].to_list() == [6, 5]
    assert book.alerts(limit=9, after=5)["id"].to_list() == [4, 3, 2, 1]
    assert book.alerts(open_only=True, enterprises=[STEEL])["id"].to_list() == [4, 2]
    assert book.alerts(enterprises=[]).is_empty()
    assert book.cases(enterprises=[STEEL]).is_empty()
    assert book.cases(enterprises=[COKE]).height == 1


def test_a_case_shows_its_frozen_evidence_and_its_history(book: Casebook) -> None:
    book.record([CASE], [], by="watch")
    case = book.case(1)
    assert case is not None
    assert (case[0]["facts"], case[0]["period_end"]) == ('{"excess": 3.2}', date(2025, 12, 31))
    assert case[1].select("state", "at", "recorded_by").rows() == [("suspected", AT, "watch")]
    assert book.case(2) is None
    assert book.alert(1) is None


@pytest.mark.parametrize("event", [OPENED, CLOSED, CASE])
def test_the_keys_of_notices_begin_with_the_identity_of_their_event(event: AlertEvent | CaseOpened) -> None:
    assert [notice.key for notice in notices(event, ["file"])] == [f"{identity(event)}/file"]


# --- outbox -----------------------------------------------------------------------------------------------------------

def notice(key: str, at: datetime = AT) -> Notice:
    return Notice(key, "file", "标题", "title", "正文", "body", at, {"limit": 1.0, "clause": "4.1", "none": None})


def test_a_notice_comes_out_as_it_went_in_when_its_time_has_come(book: Casebook, database: Database) -> None:
    box = Outbox(database)
    book.record([], [notice("a"), notice("b", AT + timedelta(hours=1))], by="watch")
    [queued] = box.due(AT, 10)
    assert (queued.notice, queued.tries) == (notice("a"), 0)
    assert [one.notice.key for one in box.due(AT + timedelta(hours=1), 10)] == ["a", "b"]
    assert [one.notice.key for one in box.due(AT + timedelta(hours=1), 1)] == ["a"]


def test_a_notice_is_queued_once_for_its_channel_and_key(book: Casebook, database: Database) -> None:
    for _ in range(2):
        book.record([], [notice("a"), replace(notice("a"), channel="mail")], by="watch")
    assert Outbox(database).counts() == {"waiting": 2, "delivered": 0, "given_up": 0}


def test_what_failed_is_tried_again_at_its_time_and_what_was_delivered_never(book: Casebook, database: Database) -> None:
    box = Outbox(database)
    book.record([], [notice("a"), notice("b"), notice("c")], by="watch")
    box.delivered(1, AT)
    box.failed(2, "500", AT + timedelta(minutes=5))
    box.failed(3, "404", None)
    assert box.due(AT + timedelta(minutes=5) - timedelta(microseconds=1), 10) == []
    assert [(one.id, one.tries) for one in box.due(AT + timedelta(minutes=5), 10)] == [(2, 1)]
    assert box.counts() == {"waiting": 1, "delivered": 1, "given_up": 1}
    box.failed(1, "late answer", AT)
    assert box.counts()["delivered"] == 1


# --- audit ------------------------------------------------------------------------------------------------------------

def test_an_audit_record_belongs_to_its_transaction(database: Database) -> None:
    def fail_after_the_record() -> None:
        with database.session() as session:
            audit.append(session, by="x", action="a", subject="s")
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_the_record()
    assert AuditLog(database).verify().checked == 0
    assert AuditLog(database).head() == ""
