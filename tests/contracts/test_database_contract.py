"""What the SQL stores promise on SQLite they promise on PostgreSQL."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from config.errors import BadInputError, StoreUnavailableError
from config.findings import AlertEvent, CaseOpened, Notice
from store.audit import AuditLog
from store.casebook import Casebook, identity
from store.confirmations import Confirmations
from store.database import Database
from store.edits import Edits
from store.figures import Figures
from store.models import ALERT, AUDIT, PARK, metadata
from store.outbox import Outbox
from store.people import People
from store.quarantine import Quarantine
from store.register import ImportCount, RegisterStore

STEEL = "91150400MA0EXAMP0J"
AT = datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
OPENED = AlertEvent("opened", "near", "subject", STEEL, "warning", 0.97, 0.95, "", "2025", AT, "接近", "near", {"limit": 1.0})
CASE = CaseOpened(STEEL, "coke", "comprehensive", "GB 21342-2013", "2013", date(2025, 1, 1), date(2025, 12, 31), AT, "疑似", "suspected")


def _other_user() -> str | None:
    """PostgreSQL refuses to run as root; then a user without rights runs it."""
    return None if os.geteuid() != 0 else "postgres" if "postgres:" in Path("/etc/passwd").read_text() else "nobody"


@pytest.fixture(scope="module")
def postgres(program: Callable[[str], Path]) -> Iterator[str]:
    """The address of a PostgreSQL of our own, reached by a Unix socket."""
    tools, user = program("postgresql").parent, _other_user()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path must be short, and that user must be able to come to it
    data = folder / "data"
    if user is not None:
        shutil.chown(folder, user)
    run: dict[str, Any] = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL, "check": True, "env": {"LC_ALL": "C.UTF-8"}}
    settings = "-c fsync=off -c listen_addresses='' -c max_connections=40 -c timezone=Asia/Shanghai"
    try:
        subprocess.run([tools / "initdb", "-D", data, "-U", "tester", "--auth=trust", "--encoding=UTF8", "--no-sync"], **run)
        subprocess.run([tools / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", f"{settings} -k {folder}", "start"], **run)
        yield f"postgresql+psycopg://tester@/postgres?host={folder}"
    finally:
        with suppress(subprocess.CalledProcessError):
            subprocess.run([tools / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/tcewatch.db"
    address: str = request.getfixturevalue("postgres")
    empty = Database(address)
    with empty.session() as session:
        session.execute(text("DROP SCHEMA public CASCADE"))
        session.execute(text("CREATE SCHEMA public"))
    empty.close()
    return address


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    one = Database(url)
    one.upgrade()
    yield one
    one.close()


def tables(multiplier: float = 40.0) -> dict[str, pl.DataFrame]:
    return {
        "region": pl.DataFrame({"region": ["150400"]}),
        "park": pl.DataFrame({"park": ["north"], "region": ["150400"], "name_zh": ["北园"]}),
        "enterprise": pl.DataFrame({"enterprise": [STEEL], "name_zh": ["示例钢铁"], "park": ["north"], "key_unit": [True]}),
        "gateway": pl.DataFrame({"enterprise": [STEEL], "gateway": ["gw-1"], "region": ["150400"]}),
        "meter": pl.DataFrame({
            "enterprise": [STEEL], "meter": ["E-1"], "gateway": ["gw-1"], "medium": ["electricity"], "calibrated_on": [date(2025, 5, 1)],
        }),
        "register": pl.DataFrame({
            "enterprise": [STEEL], "meter": ["E-1"], "register": ["import"], "unit": ["kWh"], "kind": ["cumulative"], "modulus": [0.1],
            "multiplier": [multiplier], "valid_from": [AT],
        }),
        "assignment": pl.DataFrame({"enterprise": [STEEL], "meter": ["E-1"], "register": ["import"], "carrier": ["electricity"]}),
        "event": pl.DataFrame({
            "enterprise": [STEEL], "meter": ["E-1"], "register": ["import"], "at": [AT], "event": ["reset"], "opening_value": [0.0],
        }),
    }


def together(*works: Callable[[], object]) -> list[BaseException]:
    """Run all at the same time; what they raised."""
    raised: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the test looks at whatever it is
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_the_migrations_build_what_the_models_say(database: Database) -> None:
    with database.session() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_services_that_start_together_upgrade_once(url: str) -> None:
    databases = [Database(url) for _ in range(4)]
    assert together(*(one.upgrade for one in databases)) == []
    for one in databases:
        one.close()


def test_a_database_answers_or_says_that_it_does_not(database: Database) -> None:
    database.ready()
    away = Database("postgresql+psycopg://tester@/none?host=/nowhere")
    with pytest.raises(StoreUnavailableError):
        away.ready()
    away.close()


def test_the_register_keeps_versions_and_gives_back_what_it_was_given(database: Database) -> None:
    store = RegisterStore(database)
    assert store.apply(tables(), by="x", known_from=AT) == ImportCount(added=8)
    assert store.apply(tables(), by="x", known_from=AT) == ImportCount(unchanged=8)
    later = AT + timedelta(days=1)
    assert store.apply(tables(60.0), by="x", known_from=later) == ImportCount(changed=1, unchanged=7)
    rows = store.registers(history=True)
    assert rows.select("register_key", "multiplier", "modulus", "gateway", "valid_from", "known_from", "known_to").rows() == [
        (1, 40.0, 0.1, "gw-1", AT, AT, later), (1, 60.0, 0.1, "gw-1", AT, later, None),
    ]
    assert store.events().select("at", "opening_value").rows() == [(AT, 0.0)]
    assert store.enterprises().select("key_unit", "park").rows() == [(True, "north")]
    assert store.meters()["calibrated_on"].to_list() == [date(2025, 5, 1)]
    assert store.version() == "2"


def test_imports_at_the_same_time_take_turns_and_keys_stay_dense(database: Database) -> None:
    store = RegisterStore(database)
    store.apply(tables(), by="x", known_from=AT)

    def add(number: int) -> Callable[[], object]:
        register = tables()["register"].with_columns(register=pl.lit(f"r{number}"))
        return lambda: store.apply({"register": register}, by="x", known_from=AT)

    assert together(*(add(number) for number in range(6))) == []
    assert store.names()["register_key"].to_list() == list(range(1, 8))
    assert AuditLog(database).verify().broken is None


def test_what_is_wrong_leaves_nothing_behind(database: Database) -> None:
    store = RegisterStore(database)
    wrong = tables() | {"meter": tables()["meter"].with_columns(gateway=pl.lit("gw-9"))}
    with pytest.raises(BadInputError, match="there is no gateway"):
        store.apply(wrong, by="x", known_from=AT)
    assert store.enterprises().is_empty()
    assert store.names().is_empty()


def test_only_one_version_is_current(database: Database) -> None:
    RegisterStore(database).apply(tables(), by="x", known_from=AT)
    row = {"key": "north", "park": "north", "region": "150400", "known_from": AT, "recorded_by": "x"}
    with pytest.raises(IntegrityError), database.session() as session:
        session.execute(insert(PARK).values(**row))
    with database.session() as session:
        session.execute(insert(PARK).values(**row, known_to=AT))


def test_figures_count_once_checked(database: Database) -> None:
    RegisterStore(database).apply(tables(), by="x", known_from=AT)
    figures = Figures(database)
    rows = pl.DataFrame({
        "enterprise": [STEEL] * 2, "period": ["2025"] * 2, "figure": ["value_added_10k_cny", "output"], "value": [0.1, 7.0],
        "unit": [None, "t"], "product": [None, "coke"],
    })
    figures.apply(rows, maker="Li", at=AT)
    assert figures.values().is_empty()
    assert figures.check_all(checker="Wang", at=AT) == 2
    assert figures.values()["value_added_10k_cny"].to_list() == [0.1]
    assert figures.outputs().select("product", "output", "output_unit").rows() == [("coke", 7.0, "t")]
    assert figures.rows()["state"].to_list() == ["checked", "checked"]


def estimate(hours: int) -> pl.DataFrame:
    spans = {"start": [AT], "end": [AT + timedelta(hours=hours)]}
    return pl.DataFrame({"register_key": [1], "kind": ["estimate"], **spans, "value": [0.1], "method": ["manual"], "reason": ["停电"]})


def test_edits_count_once_checked_and_tell_what_changed(database: Database, tmp_path: Path) -> None:
    RegisterStore(database).apply(tables(), by="x", known_from=AT)
    edits, now = Edits(database, tmp_path, zone="Asia/Shanghai"), AT + timedelta(days=1)
    sha256 = edits.keep_evidence(b"photo", name="照片.jpg", by="Li", at=now)
    later = estimate(1).with_columns(start=AT + timedelta(hours=2), end=AT + timedelta(hours=3))
    ids = edits.propose(pl.concat([estimate(1), later]), maker="Li", at=now)
    [other] = edits.propose(estimate(1).with_columns(evidence=pl.lit(sha256), start=AT + timedelta(hours=5), end=now), maker="Li", at=now)
    assert edits.effective().is_empty()
    assert edits.check([*ids, other], checker="Wang", at=now) == 3
    row = edits.effective().select("register_key", "start", "end", "value", "reason", "known_from", "known_to").row(0)
    assert row == (1, AT, AT + timedelta(hours=1), 0.1, "停电", now, None)
    version = edits.version()
    edits.withdraw(ids[:1], by="Wang", at=now, reason="x")
    assert edits.check(ids[:1], checker="Li", at=now + timedelta(hours=1)) == 1
    assert edits.version() > version
    assert edits.effective(now)["edit"].to_list() == [*ids, other]
    assert edits.effective()["edit"].to_list() == [ids[1], other]
    assert (edits.verify_evidence().checked, edits.verify_evidence().broken) == (1, {})


def test_of_contradicting_edits_that_are_checked_at_once_one_counts(database: Database, tmp_path: Path) -> None:
    RegisterStore(database).apply(tables(), by="x", known_from=AT)
    edits, now = Edits(database, tmp_path, zone="Asia/Shanghai"), AT + timedelta(days=1)
    ids = [edits.propose(estimate(hours), maker="Li", at=now)[0] for hours in range(1, 6)]

    def check(number: int) -> Callable[[], object]:
        return lambda: edits.check([number], checker="Wang", at=now)

    raised = together(*(check(number) for number in ids))
    assert [type(error) for error in raised] == [BadInputError] * 4
    assert edits.effective().height == 1
    assert together(*(lambda: edits.keep_evidence(b"photo", name="a", by="Li", at=now) for _ in range(4))) == []
    assert AuditLog(database).entries().filter(pl.col("action") == "edits.evidence").height == 1
    assert AuditLog(database).verify().broken is None


def test_quarantine_keeps_bytes_and_pages(database: Database) -> None:
    quarantine = Quarantine(database)
    rows = pl.DataFrame({
        "message": [7] * 3000, "index": range(-1, 2999), "kind": ["rejected"] * 3000, "reasons": [["unknown_meter", "future"]] * 3000,
        "value": [1e308] * 3000, "raw": [b"\x00\xff'"] * 3000, "topic": ["a\x00b"] * 3000, "received_at": [AT] * 3000,
    })
    quarantine.add(rows)
    quarantine.add(rows)
    assert quarantine.counts().rows() == [("rejected", "future", 3000), ("rejected", "unknown_meter", 3000)]
    page = quarantine.page(after=(7, 2), limit=2, filters={"reason": "future"})
    assert page.select("index", "raw_size", "received_at").rows() == [(3, 3, AT), (4, 3, AT)]
    found = quarantine.get(7, -1)
    assert found is not None
    assert bytes(found["raw"]) == b"\x00\xff'"


def test_quarantine_is_searched_and_keeps_to_its_quota(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.quarantine.KEPT_A_DAY", 2)
    quarantine = Quarantine(database)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    of_gateway = {"reasons": ["unknown_meter"], "enterprise": "A", "gateway": "GW-1", "received_at": at, "kind": "rejected", "raw": b""}
    quarantine.add(pl.DataFrame([{"message": 1, "index": index, "meter": f"E-{index}", **of_gateway} for index in range(5)]))
    quarantine.add(pl.DataFrame([{"message": 2, "index": -1, "kind": "undecodable", "reasons": ["not_json"], "raw": "\x00厂%".encode()}]))
    assert quarantine.page().select("message", "index", "readings").rows() == [(2, -1, None), (1, -2, 3), (1, 0, None), (1, 1, None)]
    for sought, found in (("厂", [2]), ("%", [2]), ("E-1", [1]), ("E_1", [])):
        assert quarantine.page(filters={"text": sought})["message"].to_list() == found, sought
    quarantine.mark_replayed({1: 3}, [(1, 0)], by="someone", details={})
    assert quarantine.page(filters={"replayed": True, "since": at})["replayed_as"].to_list() == [3]


def test_quarantine_takes_any_instant_that_a_broken_clock_can_say(database: Database) -> None:
    at = pl.Series([-10**18, -62_135_510_400_000_000, 0, 253_402_000_000_000_000, 10**18], dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    rows = pl.DataFrame({"message": [1] * 5, "index": range(5), "kind": ["rejected"] * 5, "reasons": [["future"]] * 5, "read_at": at})
    Quarantine(database).add(rows)
    assert Quarantine(database).page()["read_at"].is_null().to_list() == [True, False, False, False, True]


def test_people_log_in_and_tokens_end(database: Database) -> None:
    people = People(database)
    people.add_user("boss", "correct horse battery", ["admin"], None, AT)
    assert people.login("boss", "correct horse battery", AT) is not None
    assert people.login("bo\x00ss", "correct horse battery", AT) is None
    with pytest.raises(BadInputError, match="exists"):
        people.add_user("boss", "correct horse battery", ["admin"], None, AT)
    secret = people.add_token("machine", ["read"], ["north"], AT, AT + timedelta(days=1))
    assert people.token(secret, AT) is not None
    assert people.token(secret, AT + timedelta(days=1)) is None
    people.revoke_token("machine", AT)
    assert people.token(secret, AT) is None


def test_an_alert_is_opened_once_however_many_find_it(database: Database) -> None:
    book = Casebook(database)

    def find(number: int) -> Callable[[], object]:
        event = replace(OPENED, at=AT + timedelta(seconds=number))
        notice = Notice(f"{identity(event)}/file", "file", "标题", "title", "正文", "body", AT)
        return lambda: book.record([event, CASE], [notice], by="watch")

    assert together(*(find(number) for number in range(5))) == []
    assert len(book.open_alerts()) == 1
    assert book.cases().height == 1
    assert Outbox(database).counts() == {"waiting": 1, "delivered": 0, "given_up": 0}
    found = AuditLog(database).verify()
    assert (found.checked, found.broken) == (2, None)
    columns = [column for column in ALERT.c if column.name != "id"]
    with pytest.raises(IntegrityError), database.session() as session:
        session.execute(insert(ALERT).from_select(columns, select(*columns)))


def test_an_alert_moves_and_closes(database: Database) -> None:
    book = Casebook(database)
    closed = replace(OPENED, kind="closed", period="2026-01", at=AT + timedelta(days=1))
    book.record([OPENED, replace(OPENED, kind="updated", value=1.0), closed], [], by="watch")
    assert book.open_alerts() == []
    assert book.judged() == {("near", "subject"): "2026-01"}
    assert book.alerts().select("value", "closed_at").rows() == [(0.97, closed.at)]


def test_notices_wait_for_their_time(database: Database) -> None:
    box = Outbox(database)
    Casebook(database).record([], [Notice(str(number), "file", "标题", "title", "正文", "body", AT, {"x": 1.5}) for number in range(3)], by="watch")
    box.delivered(1, AT)
    box.failed(2, "500", AT + timedelta(minutes=5))
    assert [(queued.id, queued.tries, queued.notice.facts) for queued in box.due(AT, 9)] == [(3, 0, {"x": 1.5})]
    assert [queued.tries for queued in box.due(AT + timedelta(minutes=5), 9)] == [1, 0]
    box.failed(3, "404", None)
    assert box.counts() == {"waiting": 1, "delivered": 1, "given_up": 1}


def test_a_record_altered_by_hand_is_named(database: Database) -> None:
    confirmations = Confirmations(database)
    for number in range(5):
        confirmations.add("coke", str(number), "GB 21342-2013", "Zhao", date(2026, 1, 1), "print")
    assert confirmations.frame().height == 5
    with database.session() as session:
        session.execute(update(AUDIT).where(AUDIT.c.seq == 3).values(at=AUDIT.c.at, by="Qian"))
    assert AuditLog(database).verify().broken == 3
    with database.session() as session:
        session.execute(update(AUDIT).where(AUDIT.c.seq == 3).values(by="Zhao"))
    assert AuditLog(database).verify().broken is None
    with database.reading() as session:
        assert session.execute(select(func.count()).select_from(AUDIT)).scalar_one() == 5
