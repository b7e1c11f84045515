"""Our own SQLite files (journal, ledger): opened alike, and their errors told alike."""

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, Literal

import tenacity

from config.errors import StoreFullError, StoreUnavailableError

BUSY_TIMEOUT_S: Final = 10.0
_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


class DamagedFileError(Exception):
    """SQLite says that the file is malformed or no database; the caller knows what that means."""


@tenacity.retry(
    retry=tenacity.retry_if_exception_message(match="database is locked"), wait=tenacity.wait_random(0.01, 0.05),
    stop=tenacity.stop_after_delay(10.0), reraise=True,
)
def use_wal(db: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait by itself where several open a new file at once."""
    db.execute("PRAGMA journal_mode = WAL").close()


def connect(path: Path, *, synchronous: Literal["FULL", "NORMAL"], create: bool = True) -> sqlite3.Connection:
    """Open a file in WAL mode, for use under a lock from any thread; transactions are begun by hand.

    Raises:
        StoreUnavailableError: it cannot be opened (with create=False: it is not there).
        StoreFullError: there is no room even to open it.
        DamagedFileError: it is no database.
    """
    with told(path):
        uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA page_size = 16384")
            use_wal(db)
            db.execute(f"PRAGMA synchronous = {synchronous}")
            db.execute("PRAGMA wal_autocheckpoint = 2000")
        except BaseException:
            db.close()
            raise
    return db


def opened_copy(path: Path) -> sqlite3.Connection:
    """Open a file to read from that nobody changes; it may be unlinked while it is open.

    Raises:
        StoreUnavailableError: it cannot be opened.
        DamagedFileError: it is no database.
    """
    with told(path):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA user_version").close()
        except BaseException:
            db.close()
            raise
    return db


def sync(path: Path) -> None:
    """Make a file, or a renaming in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing; the write lock is taken at once, so that what is read inside stays true until the end."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite rolls back by itself on some errors
            db.execute("ROLLBACK")
        raise


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours.

    Raises:
        StoreFullError, StoreUnavailableError, DamagedFileError.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_space(path.parent)):
            raise StoreFullError(path, error) from error
        if code in _CORRUPT or str(error).startswith("Could not decode"):  # text that nobody wrote so; Python says it without a code
            raise DamagedFileError(f"{path.name}: {error}") from error
        if isinstance(error, sqlite3.OperationalError):
            raise StoreUnavailableError(path, error, "Check that the folder is there, writable and held by no stuck process.") from error
        raise


def _no_space(folder: Path) -> bool:
    """Whether a write of one page fails here for want of room; SQLite tells some of those as a plain I/O error."""
    probe = folder / f".room-{id(folder):x}"
    try:
        probe.write_bytes(bytes(65_536))
    except OSError as error:
        return error.errno in NO_SPACE
    finally:
        probe.unlink(missing_ok=True)
    return False


class SharedFile:
    """A SQLite file of ours that several threads and processes hold open. What it holds can be made again, so it is not synced each time."""

    if_damaged: ClassVar[str]  # what to do

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._lock = path, threading.Lock()
        try:
            self._db = connect(path, synchronous="NORMAL")
        except DamagedFileError as error:
            raise StoreUnavailableError(path, error, self.if_damaged) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock, told(self._path):
                yield self._db
        except DamagedFileError as error:
            raise StoreUnavailableError(self._path, error, self.if_damaged) from error

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._read() as db, transaction(db):
            yield db
