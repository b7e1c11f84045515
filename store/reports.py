"""What people report: a maker enters rows, another person checks them, and of the checked rows of a key the last counts.

Every row is kept. It is known from its check until a later row of its key is checked, or one that takes it back (`withdrawn`).
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

import polars as pl
from sqlalchemy import Select, Table, func, insert, or_, select, update
from sqlalchemy.orm import Session

from config.errors import BadInputError, Problem
from config.schemas import INSTANT
from store import audit, sheets
from store.database import Database, frame_of
from store.models import ENTERPRISE, PARK
from store.register import ImportCount
from store.sheets import Field, Parse, Sheet

Values = Mapping[str, Any]
MADE: Final = pl.Schema({"maker": pl.String(), "made_at": INSTANT, "checker": pl.String(), "checked_at": INSTANT})
NO_NAME: Final = Problem("name", "is empty", "Say who enters or checks the figures.")


class Reports(ABC):
    """Reports of one kind, in a table of their own."""

    kind = "figure"  # as messages call a row, and several
    plural = "figures"
    table: Table
    content: pl.Schema  # what a row says
    key: tuple[str, ...]  # what a row is about
    fields: ClassVar[Mapping[str, Field]]
    others: Parse | None = None  # reads the cells of further columns

    def __init__(self, db: Database) -> None:
        self._db = db
        self._row = pl.Schema({"id": pl.Int64(), **self.content, **MADE})

    def apply(self, frame: pl.DataFrame, *, maker: str, at: datetime) -> ImportCount:
        """Enter a table in memory, as reported by `maker`.

        Raises:
            BadInputError: every problem with row and column; nothing was written.
        """
        problems: list[Problem] = []
        with self._db.session() as session:
            count = self.take(session, [sheets.sheet_of(self.plural, frame)], maker, at, self.plural, problems)
            if problems:
                raise BadInputError(problems)
            return count

    def check(self, rows: Sequence[int], *, checker: str, at: datetime) -> int:
        """Confirm reports by their ids; how many were not confirmed before.

        Raises:
            BadInputError: an id that does not exist, or a report that the checker made; nothing was written.
        """
        table = self.table.c
        with self._db.session() as session:
            found = {row.id: row for row in session.execute(select(table.id, table.maker, table.checked_at).where(table.id.in_(rows)))}
            problems = [
                Problem(f"{self.kind} {row}", "does not exist", "`tcewatch figures list` shows the ids.") if row not in found
                else Problem(f"{self.kind} {row}", f"was made by {found[row].maker}, who cannot check it too", "Let another person check it.")
                for row in rows if row not in found or audit.same_person(found[row].maker, checker)
            ]
            if problems or not _named(checker):
                raise BadInputError(problems or [NO_NAME])
            return self._confirm(session, [row for row in rows if found[row].checked_at is None], checker, at)

    def check_all(self, *, checker: str, at: datetime, maker: str | None = None) -> int:
        """Confirm all reports that wait for a check and that the checker did not make (with `maker`: that maker's); how many.

        Raises:
            BadInputError: `maker` is the checker.
        """
        if not _named(checker):
            raise BadInputError([NO_NAME])
        if maker is not None and audit.same_person(maker, checker):
            raise BadInputError([Problem("checker", f"{checker} made these figures", "Let another person check them.")])
        with self._db.session() as session:
            waiting = session.execute(select(self.table.c.id, self.table.c.maker).where(self.table.c.checked_at.is_(None))).all()
            of_others = [row for row in waiting if not audit.same_person(row.maker, checker)]
            chosen = [row.id for row in of_others if maker is None or audit.same_person(row.maker, maker)]
            return self._confirm(session, chosen, checker, at)

    def rows(self, *, enterprises: Collection[str] | None = None) -> pl.DataFrame:
        """Every report, the newest last, with `state`: unchecked, checked (it counts) or superseded (a later checked one counts)."""
        query = select(*(self.table.c[name] for name in self._row)).order_by(self.table.c.id)
        if enterprises is not None:
            query = query.where(self.table.c.enterprise.in_(sorted(enterprises)))
        checked = pl.col("checked_at").is_not_null()
        counts = pl.col("id") == pl.col("id").filter(checked).max().over(self.key)
        state = pl.when(~checked).then(pl.lit("unchecked")).when(counts).then(pl.lit("checked")).otherwise(pl.lit("superseded"))
        return self._db.frame(query, self._row).with_columns(state=state)

    def version(self) -> str:
        """Changes whenever a report is entered or checked."""
        query = select(func.count(), func.count(self.table.c.checked_at), func.max(self.table.c.checked_at)).select_from(self.table)
        with self._db.reading() as session:
            return "/".join(str(part) for part in session.execute(query).one())

    def take(
        self, session: Session, tables: Sequence[Sheet], maker: str, at: datetime, source: str, problems: list[Problem],
    ) -> ImportCount:
        """Enter the rows of these tables within a transaction; where there are `problems`, the caller must undo it."""
        if not _named(maker):
            problems.append(NO_NAME)
        written = [pair for sheet in tables if sheet.columns for pair in sheets.parse_rows(sheet, self.fields, problems, others=self.others)]
        table = self.table
        session.execute(select(table.c.id).order_by(table.c.id.desc()).limit(1).with_for_update())
        enterprises = {row[0] for row in session.execute(known(ENTERPRISE, "enterprise"))}
        parks = {row[0] for row in session.execute(known(PARK, "park"))}
        last = select(func.max(table.c.id)).group_by(table.c.key)
        latest = {row["key"]: row for row in session.execute(select(table).where(table.c.id.in_(last))).mappings()}
        fresh: dict[str, dict[str, Any]] = {}
        places: dict[str, str] = {}
        count = {"added": 0, "changed": 0, "unchanged": 0}
        for row, values in written:
            if values["enterprise"] is not None and values["enterprise"] not in enterprises:
                where = f"{row.where} column enterprise"
                problems.append(Problem(where, f"{values['enterprise']} is not in the register", "Add the enterprise to the register first."))
            report = self.stored(row.where, values, parks, problems)
            key = "/".join("" if report[name] is None else str(report[name]) for name in self.key)
            if key in places:
                problems.append(Problem(row.where, f"reports the same {self.kind} as {places[key]}", "Keep one of the two rows."))
                continue
            places[key] = row.where
            before = latest.get(key)
            if before is not None and all(before[name] == report[name] for name in self.content):
                count["unchanged"] += 1
                continue
            count["added" if before is None else "changed"] += 1
            fresh[key] = report | {"key": key, "maker": maker, "made_at": at}
        if fresh and not problems:
            session.execute(insert(table), list(fresh.values()))
            audit.append(session, by=maker, action=f"{self.plural.replace(' ', '_')}.import", subject=source, details=count)
        return ImportCount(**count)

    @abstractmethod
    def stored(self, where: str, values: Values, parks: Collection[str], problems: list[Problem], /) -> dict[str, Any]:
        """A row as it is stored; what does not hold together is added to `problems`."""

    def counting(self, session: Session, as_of: datetime | None = None) -> pl.DataFrame:
        """The checked reports that count now, or that counted at `as_of` as far as they were checked by then."""
        table = self.table.c
        checked = table.checked_at.is_not(None) if as_of is None else table.checked_at <= as_of
        last = select(func.max(table.id)).where(checked).group_by(table.key)
        return frame_of(session, select(*(table[name] for name in self._row)).where(table.id.in_(last)).order_by(table.id), self._row)

    def _confirm(self, session: Session, rows: Sequence[int], checker: str, at: datetime) -> int:
        if rows:
            session.execute(update(self.table).where(self.table.c.id.in_(rows)).values(checker=checker, checked_at=at))
            action, subject = f"{self.plural.replace(' ', '_')}.check", f"{len(rows)} {self.plural}"
            audit.append(session, by=checker, action=action, subject=subject, details={"ids": list(rows)})
        return len(rows)


def known(table: Table, *columns: str, as_of: datetime | None = None) -> Select[Any]:
    """The versions that are current, or that were at `as_of`."""
    open_end = table.c.known_to.is_(None)
    query = select(*(table.c[name] for name in columns))
    return query.where(open_end) if as_of is None else query.where(table.c.known_from <= as_of, or_(open_end, table.c.known_to > as_of))


def _named(name: str) -> bool:
    return bool(name.strip())
