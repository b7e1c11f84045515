"""`tcewatch check`: settings, tables, register, broker and stores; all problems at once."""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta

from config.errors import BadInputError, Problem, ServiceUnavailableError, StoreFullError, TcewatchError
from config.lawbook import MODELS, problems_of, rows_of
from config.settings import Settings
from ingest.collector import Probe, probe
from ingest.routes import Routes
from pipeline.collect import routed
from pipeline.site import Site
from portal.cli.common import EXIT_BAD_INPUT, EXIT_UNAVAILABLE, JsonOption, SettingsOption, settings_from, show_json
from store.database import Database
from store.readings import ReadingStore


def command(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Check everything that a run needs and list every problem."""
    loaded = settings_from(settings)  # a file that cannot be read leaves nothing else to check
    site = Site(loaded)
    results = [_checked(name, part) for name, part in _parts(loaded, site).items()]
    site.close()
    if as_json:
        show_json([asdict(result) for result in results])
    else:
        for result in results:
            state = "PROBLEM" if result.problems else "warning" if result.warnings else "ok"
            lines = [f"{state:8} {result.part}: {result.detail}", *result.problems, *result.warnings]
            print("\n         ".join(lines))
    if wrong := [result for result in results if result.problems]:
        sys.exit(EXIT_UNAVAILABLE if all(result.away for result in wrong) else EXIT_BAD_INPUT)


@dataclass(frozen=True)
class _Result:
    part: str
    detail: str = ""
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # it works, and should be looked at
    away: bool = False  # something cannot be reached, as against something to be mended


def _parts(settings: Settings, site: Site) -> dict[str, Callable[[], str | Probe]]:
    return {
        "settings": lambda: "read",
        "tables": lambda: _tables(site),
        "database": lambda: _ready(site.database),
        "register": lambda: _register(site),
        "people": lambda: _people(site),
        "disk": lambda: _disk(site),
        "journal": lambda: f"{site.journal.last_id()} messages",
        "readings": lambda: f"{settings.store.readings} {_readings(settings, site.readings())}",
        "routes": lambda: f"{len(Routes(settings.routes).topics)} topics of other formats",
        "broker": lambda: probe(settings.mqtt, routed(settings)),
    }


def _tables(site: Site) -> str:
    folder = site.settings.site.tables_dir
    if problems := problems_of(folder):
        raise BadInputError(problems)
    return ", ".join(f"{name} {len(rows_of(name, folder))}" for name in MODELS) + " rows"


def _ready(store: Database | ReadingStore) -> str:
    store.ready()
    return "ready"


def _disk(site: Site) -> Probe:
    site.check_reserve()
    free_mb, warn_mb = site.free_mb(), site.settings.retention.warn_free_mb
    warning = f"Less than {warn_mb} MB are free; enlarge the disk or move archives of the journal away."
    return Probe(f"{free_mb:,.0f} MB free", (warning,) if free_mb < warn_mb else ())


def _readings(settings: Settings, store: ReadingStore) -> str:
    state, kept = _ready(store), store.keeps_for()
    if kept is not None and kept < timedelta(days=settings.screen.max_age_days):
        raise BadInputError([Problem(
            f"bucket {settings.store.influxdb.bucket}", f"keeps readings for {kept.days} days, and {settings.screen.max_age_days} are accepted",
            "Readings are deleted that nothing else shows, and older ones are refused. Keep them for ever: "
            "influx bucket update --id ID --retention 0; or lower [screen] max_age_days.",
        )])
    return state


def _register(site: Site) -> str:
    registers = site.register.registers()
    if registers.is_empty():
        raise BadInputError([Problem("register", "is empty", "Import it with `tcewatch register import FILE`; every reading is refused until then.")])
    gateways = set(site.register.gateways().select("enterprise", "gateway").iter_rows())
    strays = [route for route in site.settings.routes if (route.enterprise, route.gateway) not in gateways]
    if strays:
        raise BadInputError([
            Problem(f"route {route.topic}", f"gateway {route.gateway} of {route.enterprise} is not registered", "Register it or mend the route.")
            for route in strays
        ])
    return f"{registers.height} registers of {registers['enterprise'].n_unique()} enterprises"


def _people(site: Site) -> str:
    users = site.people.users().height
    if not users:
        raise BadInputError([Problem("people", "nobody can log in yet", "Add the first administrator with `tcewatch user add NAME --role admin`.")])
    return f"{users} users"


def _checked(name: str, part: Callable[[], str | Probe]) -> _Result:
    try:
        found = part()
        return _Result(name, found.found, warnings=found.warnings) if isinstance(found, Probe) else _Result(name, found)
    except BadInputError as error:
        return _Result(name, problems=tuple(str(problem) for problem in error.problems))
    except TcewatchError as error:
        return _Result(name, problems=(str(error),), away=isinstance(error, ServiceUnavailableError | StoreFullError))
