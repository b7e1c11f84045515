"""The SQL database of register, people, figures, cases and audit: SQLite (several processes) or PostgreSQL."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
from sqlalchemy import Connection, DateTime, Dialect, Engine, Select, Table, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeDecorator

from config.errors import Problem, SettingsError, StoreFullError, StoreUnavailableError
from store.sqlite import use_wal

MIGRATIONS: Final = Path(__file__).parent / "migrations"
NEWEST: Final = max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))  # files are named by their revision
BUSY_TIMEOUT_MS: Final = 15_000
# By name, since each driver has classes of its own; sqlite3's plain DatabaseError is a file that is none or is damaged.
_CANNOT_BE_USED: Final = frozenset({"OperationalError", "InterfaceError", "DatabaseError", "AdminShutdown", "CannotConnectNow"})
_UPGRADE_LOCK: Final = 0x7463_6577  # any number that no other program takes as its advisory lock in this database


class UtcDateTime(TypeDecorator[datetime]):
    """An instant in UTC. SQLite keeps no offset, so it is put back on the way out; a naive value is a mistake of ours."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no offset; instants are stored in UTC")
        moved = value.astimezone(UTC)
        return moved.replace(tzinfo=None) if dialect.name == "sqlite" else moved

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the library's signature
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """One SQL database; every change is a transaction that is durable when it ends."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self.where = self._engine.url.render_as_string(hide_password=True)
        self._writing = self._engine.execution_options(tcewatch_begin="BEGIN IMMEDIATE")
        # One look at several tables sees one state of them; SQLite's transactions do that anyway.
        self._looking = self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="REPEATABLE READ")

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    def upgrade(self) -> None:
        """Bring the tables to this program's state; does nothing where they are. Several processes may call it at once.

        Raises:
            StoreUnavailableError: the database cannot be reached, or a newer program has already changed its tables.
        """
        with self._translated(), self._writing.begin() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
            begun = inspect(connection).has_table("alembic_version")
            current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if begun else None
            if current != NEWEST:
                self._migrate(connection, current)

    def _migrate(self, connection: Connection, current: str | None) -> None:
        from alembic import command  # half the time of a start, and needed at the first one only
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        scripts = Config()
        scripts.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        if current is not None and current not in {script.revision for script in ScriptDirectory.from_config(scripts).walk_revisions()}:
            raise StoreUnavailableError(
                self.where, f"its tables are of revision {current}, which this program does not know",
                "A newer tcewatch has used it: install that version, or restore a backup.",
            )
        scripts.attributes["connection"] = connection
        command.upgrade(scripts, "head")

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction that writes: committed when the block ends, undone when it raises.

        Raises:
            StoreUnavailableError: the database cannot be reached or stays locked; nothing was stored.
            StoreFullError: there is no room; nothing was stored.
        """
        with self._translated(), Session(self._writing) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads, and sees one state of the database throughout.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        with self._translated(), Session(self._looking) as session:
            yield session

    def frame(self, query: Select[Any], schema: Mapping[str, Any] | pl.Schema) -> pl.DataFrame:
        """The rows of a query as a table of that shape (columns by position)."""
        with self.reading() as session:
            return frame_of(session, query, schema)

    def ready(self) -> None:
        """Return where the database answers.

        Raises:
            StoreUnavailableError: it does not.
        """
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise  # a rule of the tables: the caller knows which
        except DBAPIError as error:
            cause = str(error.orig).strip().partition("\n")[0]
            if "is full" in cause or "No space left" in cause:
                raise StoreFullError(Path(self._engine.url.database or ""), cause) from error
            if error.connection_invalidated or type(error.orig).__name__ in _CANNOT_BE_USED:
                raise StoreUnavailableError(self.where, cause) from error
            raise


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """The database at `url`, its tables up to date, closed at the end."""
    database = Database(url)
    try:
        database.upgrade()
        yield database
    finally:
        database.close()


def frame_of(session: Session, query: Select[Any], schema: Mapping[str, Any] | pl.Schema) -> pl.DataFrame:
    """The rows of a query as a table of that shape (columns by position)."""
    rows = session.execute(query).fetchall()
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)  # column by column: much quicker than rows
    return pl.DataFrame([pl.Series(name, values, dtype) for (name, dtype), values in zip(schema.items(), columns, strict=True)])


def insert_new(session: Session, table: Table) -> Any:
    """An insert that leaves alone what is there already."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    return dialect.insert(table).on_conflict_do_nothing()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, pool_pre_ping=parsed.get_backend_name() != "sqlite")
        if engine.dialect.name not in {"sqlite", "postgresql"}:
            raise ArgumentError(f"{engine.dialect.name} is not supported")  # noqa: TRY301 - told in the same words as the library's own
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        remedy = "Write sqlite:////path/to/tcewatch.db or postgresql+psycopg://user:password@host/database."
        raise SettingsError([Problem("settings [store] database_url", f"is no address of a database that can be used ({error})", remedy)]) from error
    except ModuleNotFoundError as error:
        remedy = "Install it with `pip install 'tcewatch[postgres]'`; the address begins with postgresql+psycopg://."
        raise SettingsError([Problem("settings [store] database_url", f"needs the module {error.name}, which is not installed", remedy)]) from error
    if engine.dialect.name == "sqlite":
        if parsed.database:
            folder = Path(parsed.database).parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreUnavailableError(folder, error, "Create the folder or set [site] data_dir to one that can be written.") from error
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where sqlite3 guesses
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}").close()
    use_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for another writer; so a writer says so at once.
    connection.exec_driver_sql(connection.get_execution_options().get("tcewatch_begin", "BEGIN"))
