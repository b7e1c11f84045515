"""One segment of the journal: the tables of its file, the chain of its rows, and the archive that it is packed into."""

import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec
import zstandard

from store.sqlite import DamagedFileError

NO_CHAIN: Final = bytes(32)
_SCHEMA: Final = """
    CREATE TABLE origin (previous_id INTEGER NOT NULL, previous_chain BLOB NOT NULL);
    CREATE TABLE message (
        id INTEGER PRIMARY KEY, door TEXT NOT NULL, topic TEXT NOT NULL, identity TEXT, content_type TEXT, received_us INTEGER NOT NULL,
        mid INTEGER NOT NULL, retained INTEGER NOT NULL, lane INTEGER NOT NULL,
        mqtt_rows INTEGER NOT NULL, -- how many MQTT messages the journal had with this one: the redelivery window counts in them
        digest BLOB NOT NULL, chain BLOB NOT NULL, payload BLOB NOT NULL);
    CREATE INDEX redelivered ON message (mid, digest) WHERE mid > 0;
    CREATE INDEX history ON message (id) WHERE lane = 1;
    PRAGMA user_version = 2"""
_VERSION: Final = 2
_FROM_VERSION_1: Final = """
    ALTER TABLE message ADD COLUMN lane INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX history ON message (id) WHERE lane = 1;
    PRAGMA user_version = 2"""
_INSERT: Final = (
    "INSERT INTO message (id, door, topic, identity, content_type, received_us, mid, retained, lane, mqtt_rows, digest, chain, payload) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FIELDS: Final = "id, door, topic, identity, content_type, payload, received_us, retained, lane"
_FIELDS_1: Final = _FIELDS.replace("lane", "0 AS lane")  # of a segment of version 1: all live
Row = tuple[int, str, str, str | None, str | None, bytes, int, int, int]  # _FIELDS
_SKIPPABLE: Final = 0x184D2A50  # magic number of a frame that zstd skips (RFC 8878, 3.1.2)
_NOTE: Final = struct.Struct("<IIq")  # that frame: magic number, bytes that follow, last id before the segment
_FRAME_HEADER: Final = 18  # bytes of a zstd frame's header at most
_LEVEL: Final = 9
_canonical = msgspec.json.Encoder().encode  # a JSON array in UTF-8 without spaces


class Tail(NamedTuple):
    """The last row of a segment; mqtt_rows: how many MQTT messages the journal had with it."""

    id: int
    chain: bytes
    mqtt_rows: int


def storable(text: str) -> str:
    """SQLite takes no lone surrogate; a poisoned topic must not stop the journal."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def digest_of(topic: str, payload: bytes) -> bytes:
    """SHA-256 of a topic and its payload, by which a redelivery is known."""
    return hashlib.sha256(b"\0".join((topic.encode(), payload))).digest()


def chain_value(before: bytes, fields: tuple[object, ...], lane: int, digest: bytes) -> bytes:
    """A live message has the chain value of version 1, so that a segment of version 1 goes on as one of version 2."""
    return hashlib.sha256(before + _canonical((*fields, lane) if lane else fields) + digest).digest()


def version_of(db: sqlite3.Connection) -> int:
    """0: without tables; a file is there before its first transaction is."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def tail_of(db: sqlite3.Connection) -> Tail | None:
    """The last row; None where there is none."""
    row = db.execute("SELECT id, chain, mqtt_rows FROM message ORDER BY id DESC LIMIT 1").fetchone() if version_of(db) else None
    return Tail(*row) if row else None


def append(db: sqlite3.Connection, rows: Iterable[tuple[object, ...]], previous: tuple[int, bytes]) -> None:
    """Add rows (the columns of `message`); a segment of an older version becomes one of the newest, a new one tells id and chain before it."""
    if (version := version_of(db)) < _VERSION:
        for statement in (_FROM_VERSION_1 if version else _SCHEMA).split(";"):
            db.execute(statement)
        if not version:
            db.execute("INSERT INTO origin VALUES (?, ?)", previous)
    db.executemany(_INSERT, rows)


@contextmanager
def rows_of(db: sqlite3.Connection, lane: int | None, where: str, *values: int) -> Iterator[Iterable[Row]]:
    """The rows of a lane (None: of all) that a condition holds for."""
    if version_of(db) == 1:
        if lane:
            yield ()
            return
        query = f"SELECT {_FIELDS_1} FROM message WHERE {where}"  # noqa: S608 - constant names
    else:
        source = {None: "message WHERE", 0: "message WHERE lane = 0 AND", 1: "message INDEXED BY history WHERE lane = 1 AND"}[lane]
        query = f"SELECT {_FIELDS} FROM {source} {where}"  # noqa: S608 - constant names
    with closing(db.execute(query, values)) as rows:
        yield rows


def rows_with_chain(db: sqlite3.Connection) -> sqlite3.Cursor:
    """All rows in order, each with its packet id, digest and chain value behind it."""
    fields = _FIELDS_1 if version_of(db) == 1 else _FIELDS
    return db.execute(f"SELECT {fields}, mid, digest, chain FROM message ORDER BY id")  # noqa: S608 - constant names


def origin_of(db: sqlite3.Connection) -> tuple[int, bytes]:
    """Id and chain of the last message before the segment."""
    previous_id, previous_chain = db.execute("SELECT previous_id, previous_chain FROM origin").fetchone()
    return previous_id, previous_chain


def pack(plain: Path, archive: Path, previous_id: int) -> None:
    """Write the archive of a segment's file, durable when it returns."""
    with plain.open("rb") as source, archive.open("wb") as target:
        target.write(_NOTE.pack(_SKIPPABLE, _NOTE.size - 8, previous_id))
        size = os.fstat(source.fileno()).st_size
        zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).copy_stream(source, target, size=size)
        target.flush()
        os.fsync(target.fileno())


def previous_id_of(archive: IO[bytes]) -> int:
    """What an archive says of where its ids begin; it is read from its start.

    Raises:
        DamagedFileError: it does not begin as an archive does.
    """
    note = archive.read(_NOTE.size)
    if len(note) < _NOTE.size or (found := _NOTE.unpack(note))[:2] != (_SKIPPABLE, _NOTE.size - 8):
        raise DamagedFileError("it does not begin as an archive does")
    return int(found[2])


def unpacked_bytes(archive: IO[bytes]) -> int:
    """What the segment takes unpacked, by its archive."""
    archive.seek(_NOTE.size)
    return zstandard.frame_content_size(archive.read(_FRAME_HEADER))


def unpack(archive: IO[bytes], target: IO[bytes]) -> None:
    """Write the segment's file as it was packed."""
    archive.seek(_NOTE.size)
    zstandard.ZstdDecompressor().copy_stream(archive, target)
    target.flush()
