"""One site's adapters, built from its settings; each is loaded and opened on first use, and all are closed together."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import StoreFullError, StoreUnavailableError
from config.settings import Settings
from store.journal import Journal

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from store.audit import AuditLog
    from store.casebook import Casebook
    from store.confirmations import Confirmations
    from store.database import Database
    from store.derived import DerivedTables
    from store.edits import Edits
    from store.figures import Figures
    from store.fleet import Fleet
    from store.ledger import Ledger
    from store.outbox import Outbox
    from store.people import People
    from store.projects import Minutes
    from store.quarantine import Quarantine
    from store.readings import ReadingStore
    from store.register import RegisterStore
    from store.repairs import Repairs
    from store.signs import SignNotes
    from store.supplies import Reported


class Site:
    """Everything that a service, a command or a page of one site works with."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._readings: ReadingStore | None = None

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir

    @cached_property
    def database(self) -> Database:
        """The register, people, figures, cases: its schema is brought up to date on first use."""
        from store.database import Database

        self._make(self.data_dir)
        database = Database(self.settings.database_url)
        database.upgrade()
        return database

    @cached_property
    def register(self) -> RegisterStore:
        from store.register import RegisterStore

        return RegisterStore(self.database, zone=self.settings.site.zone)

    @cached_property
    def people(self) -> People:
        from store.people import People

        return People(self.database)

    @cached_property
    def figures(self) -> Figures:
        from store.figures import Figures

        return Figures(self.database)

    @cached_property
    def edits(self) -> Edits:
        from store.edits import Edits

        return Edits(self.database, self._make(self.data_dir / "evidence"), zone=self.settings.site.zone)

    @cached_property
    def reported(self) -> Reported:
        from store.supplies import Reported

        return Reported(self.database)

    @cached_property
    def repairs(self) -> Repairs:
        from store.repairs import Repairs

        return Repairs(self.database)

    @cached_property
    def sign_notes(self) -> SignNotes:
        from store.signs import SignNotes

        return SignNotes(self.database)

    @cached_property
    def minutes(self) -> Minutes:
        from store.projects import Minutes

        return Minutes(self.database, self.edits)

    @cached_property
    def quarantine(self) -> Quarantine:
        from store.quarantine import Quarantine

        return Quarantine(self.database)

    @cached_property
    def casebook(self) -> Casebook:
        from store.casebook import Casebook

        return Casebook(self.database)

    @cached_property
    def outbox(self) -> Outbox:
        from store.outbox import Outbox

        return Outbox(self.database)

    @cached_property
    def audit(self) -> AuditLog:
        from store.audit import AuditLog

        return AuditLog(self.database)

    @cached_property
    def confirmations(self) -> Confirmations:
        from store.confirmations import Confirmations

        return Confirmations(self.database)

    @cached_property
    def journal(self) -> Journal:
        return Journal(self._make(self.data_dir / "journal"), reserve_bytes=self.settings.retention.reserve_mb << 20)

    @cached_property
    def ledger(self) -> Ledger:
        from store.ledger import Ledger

        return Ledger(self._make(self.data_dir) / "ledger.sqlite")

    @cached_property
    def fleet(self) -> Fleet:
        from store.fleet import Fleet

        return Fleet(self._make(self.data_dir) / "gateways.sqlite", zone=self.settings.site.zone)

    @cached_property
    def derived(self) -> DerivedTables:
        from store.derived import DerivedTables

        return DerivedTables(self._make(self.data_dir / "derived"))

    def free_mb(self) -> float:
        """Free space of the disk that holds data_dir, in MB.

        Raises:
            StoreUnavailableError: the folder cannot be reached.
        """
        folder = self._make(self.data_dir)
        try:
            return shutil.disk_usage(folder).free / (1 << 20)
        except OSError as error:
            raise StoreUnavailableError(folder, error, "Check that the disk of [site] data_dir is there.") from error

    def check_reserve(self) -> None:
        """Return if more of the disk is free than is kept in reserve.

        Raises:
            StoreFullError: less is.
            StoreUnavailableError: the folder cannot be reached.
        """
        reserve_mb, free_mb = self.settings.retention.reserve_mb, self.free_mb()
        if free_mb < reserve_mb:
            raise StoreFullError(self.data_dir, f"{free_mb:.0f} MB are free and {reserve_mb} MB are kept in reserve")

    def waiting(self) -> int:
        """Messages in the journal that are not settled yet."""
        return sum(self.journal.count(cursor, lane) for lane, cursor in self.ledger.cursors().items())

    def limits(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """LIMIT: the shipped rows and the site's own; with `as_of`, those known then."""
        from config import limit_tables

        return limit_tables.limits(self.settings.site.tables_dir, as_of)

    def benchmarks(self) -> pl.DataFrame:
        """BENCHMARK: the shipped rows and the site's own."""
        from config import benchmarks

        return benchmarks.benchmarks(self.settings.site.tables_dir)

    def energy_figures(self) -> pl.DataFrame:
        """ENERGY_FIGURE: the shipped rows and the site's own."""
        from config import energy_figures

        return energy_figures.energy_figures(self.settings.site.tables_dir)

    def coefficients(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """COEFFICIENT: the shipped rows and the site's own; with `as_of`, those known then."""
        from config import coal_equivalents

        return coal_equivalents.coefficients(self.settings.site.tables_dir, as_of)

    def figure_rules(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """FIGURE_RULE: the shipped rows and the site's own; with `as_of`, those known then."""
        from config import data_rules

        return data_rules.figure_rules(self.settings.site.tables_dir, as_of)

    def quality_weights(self) -> pl.DataFrame:
        """QUALITY_WEIGHT: the shipped rows and the site's own."""
        from config import data_rules

        return data_rules.quality_weights(self.settings.site.tables_dir)

    def holidays(self) -> pl.DataFrame:
        """HOLIDAY: the shipped rows and the site's own."""
        from config import calendar

        return calendar.holidays(self.settings.site.tables_dir)

    def calibration_intervals(self) -> pl.DataFrame:
        """CALIBRATION_INTERVAL: the site's own rows."""
        from config import data_rules

        return data_rules.calibration_intervals(self.settings.site.tables_dir)

    def sign_rules(self) -> pl.DataFrame:
        """SIGN_RULE: the shipped rows and the site's own."""
        from config import signs

        return signs.sign_rules(self.settings.site.tables_dir)

    def metering_requirements(self) -> pl.DataFrame:
        """METERING_REQUIREMENT: the site's own rows."""
        from config import papers

        return papers.metering_requirements(self.settings.site.tables_dir)

    def statistical_codes(self) -> pl.DataFrame:
        """STATISTICAL_CODE: the shipped rows and the site's own."""
        from config import papers

        return papers.statistical_codes(self.settings.site.tables_dir)

    def readings(self) -> ReadingStore:
        """The reading store; with DuckDB only one process can have it open.

        Raises:
            StoreUnavailableError: it cannot be opened or reached now.
        """
        if self._readings is None:
            if self.settings.store.readings == "duckdb":
                from store.duckdb import DuckDbReadingStore

                self._readings = DuckDbReadingStore(self._make(self.data_dir) / "readings.duckdb")
            else:
                from store.influxdb import InfluxReadingStore

                self._readings = InfluxReadingStore(self.settings.store.influxdb, self.register.names)
        return self._readings

    def beside(self, folder: Path) -> Site:
        """A site in another folder, on DuckDB, that shares this one's database and journal."""
        section = self.settings.site.model_copy(update={"data_dir": folder})
        store = self.settings.store.model_copy(update={"readings": "duckdb"})
        other = Site(self.settings.model_copy(update={"site": section, "store": store}))
        other.__dict__.update(database=self.database, journal=self.journal)
        return other

    def close(self) -> None:
        """Close whatever was opened."""
        if self._readings is not None:
            self._readings.close()
            self._readings = None
        for name in ("journal", "ledger", "fleet", "database"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def _make(self, folder: Path) -> Path:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailableError(folder, error, "Create the folder or set [site] data_dir to one that can be written.") from error
        return folder
