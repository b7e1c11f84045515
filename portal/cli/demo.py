"""`tcewatch demo`: a park at work on this machine, from published readings to verdicts, alerts and pages."""

import secrets
import signal
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import Progress

from config import calendar
from config import settings as site_settings
from config.errors import BadInputError, Problem
from config.settings import Settings
from ingest.simulate import Publisher
from pipeline.evaluate import Evaluator
from pipeline.roll import Roller
from pipeline.services import SERVICES, Services, build
from pipeline.site import Site
from pipeline.watch import Watcher
from portal import log as logs
from portal.app import create_app
from portal.cli.common import EXIT_FAULT, show_json
from portal.cli.run import http_service, listen
from portal.demo import generate, park
from store.journal import HISTORY, Arrival

SEED = 20251231
HISTORY_BATCH = 40
CATCH_UP_S = 30.0
USER = "demo"


def command(
    seconds: Annotated[float | None, typer.Option(help="Stop by itself after so many seconds from readiness.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the pages in a browser.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
    port: Annotated[int, typer.Option(help="Port of the pages (0: any free).")] = 8765,
    data_dir: Annotated[Path | None, typer.Option(help="Keep the data here (default: a temporary folder).")] = None,
    mqtt: Annotated[str | None, typer.Option(help="A real broker: mqtt://[user:password@]host:port (default: embedded).")] = None,
    influxdb: Annotated[str | None, typer.Option(help="A real InfluxDB 2: http://host:port; token in TCEWATCH_STORE__INFLUXDB__TOKEN.")] = None,
    influxdb_org: Annotated[str, typer.Option(help="Its organisation.")] = "tcewatch",
    influxdb_bucket: Annotated[str, typer.Option(help="Its bucket.")] = "tcewatch",
) -> None:
    """Show a demo park at work; everything on this machine, no other server needed."""
    stop, halt = threading.Event(), threading.Event()  # of the services; of the replay, which ends first so that all of it is settled
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: halt.set())
    listener = listen("127.0.0.1", port, "portal")
    with _folder(data_dir) as folder, _broker(mqtt) as address:
        settings = _settings(folder, address, influxdb, influxdb_org, influxdb_bucket)
        logs.configure(settings.log)
        site = Site(settings)
        password = _furnish(site)
        running = Services(build(site, SERVICES, stop), stop)
        running.add(http_service(create_app(site, services=running), listener))
        running.start()
        url = "http://{}:{}/".format(*listener.getsockname())
        print(f"Pages: {url}  user: {USER}  password: {password}", file=sys.stderr if as_json else sys.stdout, flush=True)
        if browser and sys.stdout.isatty():
            webbrowser.open(url)
        show = _Show(site, address, halt)
        show_thread = threading.Thread(target=show.run, name="show", daemon=True)
        show_thread.start()
        died = running.wait(lambda: halt.is_set() or show.failed is not None or (seconds is not None and show.ready_for(seconds)))
        halt.set()
        show_thread.join(CATCH_UP_S)
        complete = died is None and show.failed is None and show.settled()
        stopped = running.end()
        if died is not None or show.failed is not None:
            raise died or show.failed or RuntimeError("the demo ended by itself")
        Roller(site).once()
        Evaluator(site, _now).once()
        Watcher(site, _now).once()
        if as_json:
            show_json(_summary(site, show.published))
        else:
            _print_summary(_summary(site, show.published))
        site.close()
        if not (stopped and (complete or seconds is None)):
            print("tcewatch: the demo could not settle everything that it had published.", file=sys.stderr)
            sys.exit(EXIT_FAULT)


class _Show:
    """Loads the history, then replays the park through MQTT; counts what it publishes."""

    def __init__(self, site: Site, address: tuple[str, int, str | None, str | None], halt: threading.Event) -> None:
        self.site = site
        self.failed: BaseException | None = None
        self.ready_at: float | None = None
        self._history = 0
        self._publisher = Publisher(*address)
        self._halt = halt

    @property
    def published(self) -> int:
        return self._history + self._publisher.published

    def ready_for(self, seconds: float) -> bool:
        return self.ready_at is not None and time.monotonic() - self.ready_at >= seconds

    def run(self) -> None:
        try:
            self._play()
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            self.failed = error

    def settled(self) -> bool:
        """Wait until everything published has been settled; False where it is not in time."""
        deadline = time.monotonic() + CATCH_UP_S
        while time.monotonic() < deadline:
            totals = self.site.ledger.totals()
            if totals.received + totals.missing >= self.published and not self.site.waiting():
                return True
            time.sleep(0.1)
        return False

    def _play(self) -> None:
        now = _now()
        zone = self.site.settings.site.zone
        today = calendar.local_day(now, zone)
        yesterday = today - timedelta(days=1)
        self._load(park.history_start(today), yesterday)
        if self._halt.is_set():
            return
        self.ready_at = time.monotonic()
        print("History loaded; the replay runs.", file=sys.stderr, flush=True)
        for step in generate.replay(calendar.day_span(yesterday, zone)[0], _now, seed=SEED):
            if self._halt.is_set():
                break
            self._publisher.publish(step.messages)
            self._halt.wait(step.pause_s)
        self._publisher.close()

    def _load(self, first: date, end: date) -> None:
        ledger, journal = self.site.ledger, self.site.journal
        days = (end - first).days
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("history", total=days)
            batch: list[Arrival] = []
            for message in generate.history(first, end, seed=SEED):
                if self._halt.is_set():
                    break
                batch.append(Arrival("file", message.topic, None, None, message.payload, _now(), lane=HISTORY))
                if len(batch) == HISTORY_BATCH:
                    self._history += len(journal.append(batch))
                    batch.clear()
            if batch:
                self._history += len(journal.append(batch))
            last = journal.last_id()
            evaluator = Evaluator(self.site, _now)
            while not self._halt.is_set():
                done = last - self.site.waiting()
                ledger.set_state("history_progress", f'{{"done": {done}, "total": {last}}}')
                bar.update(task, completed=done * days // max(last, 1))
                if done >= last and ledger.dirty().is_empty() and evaluator.is_current():
                    break
                time.sleep(0.2)
            ledger.set_state("history_progress", "")


def _furnish(site: Site) -> str:
    """Register, figures, confirmations, and a login with a fresh password."""
    at = _now()
    site.register.apply(park.register_tables(), by=USER, known_from=at)
    for maker, checker, frame in park.figures(calendar.local_day(at, site.settings.site.zone)):
        site.figures.apply(frame, maker=maker, at=at)
        site.figures.check_all(maker=maker, checker=checker, at=at)
    site.reported.budgets.apply(park.budgets(calendar.local_day(at, site.settings.site.zone)), maker=park.MAKER, at=at)
    site.reported.budgets.check_all(checker=park.CHECKER, at=at)
    for row in park.confirmations():
        site.confirmations.add(**row)
    password = secrets.token_urlsafe(9)
    site.people.add_user(USER, password, roles=["admin"], parks=None, at=at)
    return password


def _settings(folder: Path, address: tuple[str, int, str | None, str | None], influxdb: str | None, org: str, bucket: str) -> Settings:
    host, port, user, password = address
    tables = folder / "tables"
    tables.mkdir(exist_ok=True)
    for name, text in park.example_tables().items():
        (tables / name).write_text(text, encoding="utf-8")
    values: dict[str, Any] = {
        "site": {"name_zh": park.NAME_ZH, "name_en": park.NAME_EN, "data_dir": folder / "data", "tables_dir": tables},
        "mqtt": {
            "host": host, "port": port, "username": user, "password": password, "protocol": "3.1.1",  # the embedded broker speaks no MQTT 5
            "client_id": f"tcewatch-demo-{secrets.token_hex(4)}",
        },
        "routes": park.routes(),
        "roll": {"interval_s": 0.5, "evaluate_interval_s": 2.0},
        "log": {"level": "warning"},
    }
    if influxdb is not None:
        values["store"] = {"readings": "influxdb", "influxdb": {"url": influxdb, "org": org, "bucket": bucket}}
    return site_settings.build(values, where="demo")


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is None:
        with tempfile.TemporaryDirectory(prefix="tcewatch-demo-") as folder:
            yield Path(folder)
        return
    if given.exists() and any(given.iterdir()):
        raise BadInputError([Problem(str(given), "is not empty", "Name a new or empty folder: the demo starts from nothing.")])
    given.mkdir(parents=True, exist_ok=True)
    yield given


@contextmanager
def _broker(url: str | None) -> Iterator[tuple[str, int, str | None, str | None]]:
    if url is not None:
        parts = urlsplit(url if "//" in url else f"mqtt://{url}")
        if parts.scheme != "mqtt" or parts.hostname is None:
            raise BadInputError([Problem("--mqtt", f"{url!r} is no broker address", "Write mqtt://host:1883 or mqtt://user:password@host:1883.")])
        yield parts.hostname, parts.port or 1883, parts.username, parts.password
        return
    try:
        from ingest.embedded import EmbeddedBroker  # here: its library belongs to the extra `demo`, every other command works without
    except ModuleNotFoundError as error:
        raise BadInputError([Problem(
            "tcewatch demo", f"the broker that it starts is not installed here ({error.name})",
            "`make demo` installs it (extra `demo`); or name a broker that runs: --mqtt mqtt://127.0.0.1:1883.",
        )]) from error
    broker = EmbeddedBroker()
    port = broker.start()
    try:
        yield "127.0.0.1", port, None, None
    finally:
        broker.stop()


def _summary(site: Site, published: int) -> dict[str, Any]:
    totals = site.ledger.totals()
    verdicts = site.derived.read_result("verdicts")
    return {
        "messages": {
            "published": published, "received": totals.received, "decoded": totals.decoded_messages,
            "undecodable": totals.undecodable, "missing": totals.missing,
        },
        "readings": {
            "decoded": totals.decoded, "stored": totals.stored, "duplicate": totals.duplicate,
            "conflicting": totals.conflicting, "rejected": totals.rejected,
        },
        "verdicts": [] if verdicts is None else verdicts.to_dicts(),
        "alerts": site.casebook.alerts().to_dicts(),
        "cases": site.casebook.cases().to_dicts(),
    }


def _print_summary(summary: dict[str, Any]) -> None:
    for what in ("messages", "readings"):
        print(f"{what}: " + ", ".join(f"{name} {count}" for name, count in summary[what].items()))
    print(", ".join(f"{what} {len(summary[what])}" for what in ("verdicts", "alerts", "cases")))


def _now() -> datetime:
    return datetime.now(UTC)

