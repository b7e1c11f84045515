import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from config.errors import SettingsError, StoreFullError, StoreUnavailableError
from store.database import Database, opened
from store.models import CASE_HISTORY, CONFIRMATION, TOKEN, metadata


def token(name: str, at: datetime) -> dict[str, Any]:
    return {"name": name, "digest": name * 8, "roles": "[]", "scopes": "[]", "created_at": at}


def test_the_migrations_build_what_the_models_say(database: Database) -> None:
    with database.session() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_upgrading_again_changes_nothing(database: Database) -> None:
    database.upgrade()
    with database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM audit_head")).scalar_one() == 1


def test_processes_that_start_together_upgrade_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        try:
            with opened(f"sqlite:///{tmp_path}/new/tcewatch.db"):
                pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_database_that_a_newer_program_has_used_is_left_alone(database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnavailableError, match="newer tcewatch"):
        database.upgrade()


def test_an_instant_keeps_its_moment_whatever_its_offset(database: Database) -> None:
    at = datetime(2026, 1, 1, 8, 0, 0, 123456, tzinfo=timezone(timedelta(hours=8)))
    with database.session() as session:
        session.execute(insert(TOKEN).values(**token("a", at)))
    with database.reading() as session:
        found = session.execute(select(TOKEN.c.created_at)).scalar_one()
    assert found == at
    assert found.utcoffset() == timedelta(0)


def test_an_instant_without_offset_is_a_mistake(database: Database) -> None:
    with pytest.raises(Exception, match="has no offset"), database.session() as session:
        session.execute(insert(TOKEN).values(**token("a", datetime(2026, 1, 1))))  # noqa: DTZ001 - that is the point


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def fail_after_the_insert() -> None:
        with database.session() as session:
            session.execute(insert(TOKEN).values(**token("a", datetime(2026, 1, 1, tzinfo=UTC))))
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_the_insert()
    with database.reading() as session:
        assert session.execute(select(func.count()).select_from(TOKEN)).scalar_one() == 0


def test_sqlite_is_durable_patient_and_holds_to_its_references(database: Database) -> None:
    with database.reading() as session:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = {name: session.execute(text(f"PRAGMA {name}")).scalar_one() for name in names}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 15_000}
    with pytest.raises(IntegrityError), database.session() as session:
        session.execute(insert(CASE_HISTORY).values(
            case_file=9, state="suspected", at=datetime(2026, 1, 1, tzinfo=UTC), text_zh="", text_en="", recorded_by="x",
        ))


def test_writers_wait_for_each_other_even_when_they_read_first(database: Database) -> None:
    def add(name: str) -> Callable[[], None]:
        def work() -> None:
            for number in range(10):
                with database.session() as session:
                    rows = session.execute(select(func.count()).select_from(CONFIRMATION)).scalar_one()
                    session.execute(insert(CONFIRMATION).values(
                        product=name, indicator=str(number), standard=str(rows), confirmed_by="x", confirmed_on=datetime(2026, 1, 1).date(), copy="x",  # noqa: DTZ001 - a day
                    ))

        return work

    threads = [threading.Thread(target=add(name)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        seen = session.execute(select(CONFIRMATION.c.standard)).scalars().all()
    assert sorted(map(int, seen)) == list(range(30))


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite3:///x", "postgresql+nosuch://x/y"])
def test_an_address_that_cannot_be_used_says_how_one_looks(url: str) -> None:
    with pytest.raises(SettingsError, match="database_url"):
        Database(url)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is not a database, whatever its name says" * 100)
    database = Database(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(StoreUnavailableError, match=r"x\.db"):
        database.ready()
    database.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="data_dir"):
        Database(f"sqlite:///{tmp_path}/file/below/x.db")


def test_a_full_disk_is_told_as_such_and_nothing_is_stored(database: Database) -> None:
    rows = [token(f"t{number}", datetime(2026, 1, 1, tzinfo=UTC)) for number in range(1000)]

    def fill() -> None:
        with database.session() as session:
            pages = session.execute(text("PRAGMA page_count")).scalar_one()
            session.execute(text(f"PRAGMA max_page_count = {pages}"))  # SQLite's own way to be full
            session.execute(insert(TOKEN), rows)

    with pytest.raises(StoreFullError):
        fill()
    with database.reading() as session:
        assert session.execute(select(func.count()).select_from(TOKEN)).scalar_one() == 0


def test_a_database_locked_for_longer_than_patience_is_unavailable(database: Database, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "tcewatch.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with database.reading() as session:
            session.execute(text("PRAGMA busy_timeout = 1"))
        with pytest.raises(StoreUnavailableError, match="locked"), database.session() as session:
            session.execute(text("SELECT 1"))
        other.execute("ROLLBACK")
    other.close()


def test_the_password_of_an_address_is_never_shown() -> None:
    database = Database("postgresql+psycopg://user:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in database.where
    database.close()
