"""A file of the site's own tables is added whole with its record, or not at all."""

import hashlib
import json
from pathlib import Path

import pytest

from config.errors import BadInputError, StoreUnavailableError
from store import audit, law_files
from store.audit import AuditLog
from store.database import Database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "law"
    made.mkdir()
    return made


def added(db: Database) -> list[str]:
    return AuditLog(db).entries().filter(action="tables.add")["subject"].to_list()


def test_a_file_stands_in_the_folder_as_it_came_and_the_audit_chain_says_who_added_it(database: Database, folder: Path) -> None:
    law_files.add(database, folder, "limits-2027.csv", b"\xef\xbb\xbfa,b\r\n", by="Li", rows={"limits": 2})
    assert [path.name for path in folder.iterdir()] == ["limits-2027.csv"]
    assert (folder / "limits-2027.csv").read_bytes() == b"\xef\xbb\xbfa,b\r\n"
    entry = AuditLog(database).entries().row(-1, named=True)
    assert (entry["by"], entry["action"], entry["subject"]) == ("Li", "tables.add", "limits-2027.csv")
    assert json.loads(entry["details"]) == {"rows": {"limits": 2}, "sha256": hashlib.sha256(b"\xef\xbb\xbfa,b\r\n").hexdigest()}
    assert AuditLog(database).verify().broken is None


def test_no_file_is_overwritten_and_what_was_refused_leaves_no_record(database: Database, folder: Path) -> None:
    law_files.add(database, folder, "a.toml", b"old", by="Li", rows={})
    with pytest.raises(BadInputError, match="none is overwritten"):
        law_files.add(database, folder, "a.toml", b"new", by="Li", rows={})
    assert (folder / "a.toml").read_bytes() == b"old"
    assert (added(database), len(list(folder.iterdir()))) == (["a.toml"], 1)


def test_without_its_record_a_file_is_not_added(database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(audit, "append", full)
    with pytest.raises(StoreUnavailableError):
        law_files.add(database, folder, "a.csv", b"x", by="Li", rows={})
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="tables_dir"):
        law_files.add(database, tmp_path / "nowhere", "a.csv", b"x", by="Li", rows={})
    assert added(database) == []
