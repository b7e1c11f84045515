import random
import sqlite3
from pathlib import Path

import pytest

from store import audit
from store.audit import AuditLog
from store.database import Database

RECORDS = 8


@pytest.fixture
def log(database: Database) -> AuditLog:
    for number in range(RECORDS):
        with database.session() as session:
            audit.append(session, by="张三", action="test.do", subject=f"thing {number}", details={"number": number, "name": "示例"})
    return AuditLog(database)


def by_hand(folder: Path, *statements: str) -> None:
    with sqlite3.connect(folder / "tcewatch.db") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_an_untouched_chain_holds_and_its_records_are_numbered_without_gap(log: AuditLog) -> None:
    found = log.verify()
    assert (found.checked, found.broken) == (RECORDS, None)
    assert log.entries()["seq"].to_list() == list(range(1, RECORDS + 1))
    assert log.entries(after=3, limit=2)["seq"].to_list() == [4, 5]
    assert log.head() == log.entries()["hash"][-1]


def test_an_empty_chain_holds(database: Database) -> None:
    assert AuditLog(database).verify().broken is None


@pytest.mark.parametrize("seq", [1, 4, RECORDS])
@pytest.mark.parametrize("column", ["at", "by", "action", "subject", "details", "hash"])
def test_a_record_altered_by_hand_is_the_first_that_is_named(log: AuditLog, tmp_path: Path, column: str, seq: int) -> None:
    value = "'2020-01-01 00:00:00.000000'" if column == "at" else f'"{column}" || \' \''
    by_hand(tmp_path, f'UPDATE audit SET "{column}" = {value} WHERE seq = {seq}')
    assert (log.verify().checked, log.verify().broken) == (seq - 1, seq)


@pytest.mark.parametrize(("statements", "broken", "said"), [
    (["DELETE FROM audit WHERE seq = 1"], 1, "is missing"),
    (["DELETE FROM audit WHERE seq = 5"], 5, "is missing"),
    ([f"DELETE FROM audit WHERE seq = {RECORDS}"], RECORDS, "cut off"),
    (["DELETE FROM audit"], 1, "cut off"),
    (["DELETE FROM audit WHERE seq = 5", "UPDATE audit SET seq = seq - 1 WHERE seq > 5"], 5, "altered"),
    (["UPDATE audit_head SET hash = 'x'"], RECORDS + 1, "cut off or altered"),
    (["DELETE FROM audit_head"], RECORDS + 1, "cut off or altered"),
    ([f"INSERT INTO audit SELECT {RECORDS + 1}, at, by, action, subject, details, hash FROM audit WHERE seq = {RECORDS}"], RECORDS + 1, "altered"),
])
def test_a_record_removed_moved_or_put_in_by_hand_is_named(log: AuditLog, tmp_path: Path, statements: list[str], broken: int, said: str) -> None:
    by_hand(tmp_path, *statements)
    found = log.verify()
    assert found.broken == broken
    assert said in found.what


def test_every_one_of_many_random_edits_is_found(log: AuditLog, tmp_path: Path) -> None:
    chance = random.Random(20260101)
    with sqlite3.connect(tmp_path / "tcewatch.db") as connection:
        for _ in range(100):
            seq, column = chance.randint(1, RECORDS), chance.choice(["by", "action", "subject", "details", "hash"])
            before = connection.execute(f'SELECT "{column}" FROM audit WHERE seq = {seq}').fetchone()[0]
            place = chance.randrange(len(before))
            after = before[:place] + chr((ord(before[place]) + chance.randint(1, 90)) % 0x3000 or 1) + before[place + 1:]
            connection.execute(f'UPDATE audit SET "{column}" = ? WHERE seq = ?', (after, seq))
            connection.commit()
            assert log.verify().broken == seq, (column, before, after)
            connection.execute(f'UPDATE audit SET "{column}" = ? WHERE seq = ?', (before, seq))
            connection.commit()
    connection.close()
    assert log.verify().broken is None
