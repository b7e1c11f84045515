"""Settings -> adapters -> services: start, health, stop. A service whose thread dies ends the process."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from pipeline.loop import Loop
from pipeline.site import Site as Site

if TYPE_CHECKING:
    from ingest.collector import Collector
    from pipeline.settle import Settler

SERVICES = ("collect", "settle", "roll", "evaluate", "watch", "send", "retention")
STOP_WITHIN_S = 10.0
LEAVE_WITHIN_S = 0.3  # once a service has died, so long for what others have in hand
log = structlog.get_logger("services")


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """How one service is: alive = its thread runs; ready = nothing keeps it from its work now."""

    name: str
    alive: bool
    ready: bool
    detail: str
    since: datetime
    figures: Mapping[str, int]  # counts by name, for the metrics


@dataclass
class Service:
    """A named loop of its own thread."""

    name: str
    run: Callable[[threading.Event], None]
    problem: Callable[[], str] = lambda: ""  # one sentence on what keeps it from its work, else ""
    notice: Callable[[], str] = lambda: ""  # one sentence on what somebody should look at though it works, else ""
    figures: Callable[[], Mapping[str, int]] = dict
    thread: threading.Thread | None = None
    error: BaseException | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))


class Services:
    """Runs services until told to stop, or until one of them dies."""

    def __init__(self, services: Sequence[Service], stop: threading.Event) -> None:
        self._services = list(services)
        self.stop = stop

    def add(self, service: Service) -> None:
        """One more service, before the start."""
        self._services.append(service)

    def start(self) -> None:
        """Start every service in a thread of its own."""
        for service in self._services:
            service.thread = threading.Thread(target=self._guard, args=(service,), name=service.name, daemon=True)
            service.since = datetime.now(UTC)
            service.thread.start()

    def wait(self, until: Callable[[], bool] = lambda: False) -> BaseException | None:
        """Return when told to stop, when `until` holds or when a service has died (then: of what)."""
        while not self.stop.wait(0.1) and not until():
            dead = self._dead()
            if dead is not None and (dead.error is not None or not self.stop.is_set()):  # told to stop just now, it may have ended as it should
                return dead.error or RuntimeError(f"service {dead.name} ended by itself")
        return None

    def end(self, within_s: float = STOP_WITHIN_S) -> bool:
        """Tell every service to stop and wait for it; False where one did not stop in time."""
        self.stop.set()
        deadline = time.monotonic() + within_s
        for service in self._services:
            if service.thread is not None:
                service.thread.join(max(0.0, deadline - time.monotonic()))
        return not any(service.thread is not None and service.thread.is_alive() for service in self._services)

    def health(self) -> dict[str, ServiceHealth]:
        """Every service by name."""
        return {service.name: _health(service) for service in self._services}

    def _guard(self, service: Service) -> None:
        try:
            service.run(self.stop)
        except BaseException as error:  # whatever it is, the process must not go on deaf
            service.error = error
            log.exception("service died", service=service.name, error=repr(error))

    def _dead(self) -> Service | None:
        return next((one for one in self._services if one.thread is not None and not one.thread.is_alive()), None)


def _health(service: Service) -> ServiceHealth:
    alive = service.thread is not None and service.thread.is_alive()
    problem = service.problem() if alive else repr(service.error) if service.error else "not running"
    return ServiceHealth(service.name, alive, alive and not problem, problem or service.notice(), service.since, service.figures())


def build(site: Site, names: Sequence[str], stop: threading.Event) -> list[Service]:
    """The named services of a site. Each brings its own modules: a process that runs one of them need not load what the others use."""
    services: list[Service] = []
    for name in names:
        match name:
            case "collect":
                from pipeline.collect import collectors

                live, history = collectors(site, stop)
                services += [_collecting("collect", live), _collecting("backfill", history)]
            case "settle":
                from pipeline import settle
                from pipeline.answer import speaking

                services.append(_settling(settle.Settler(site), settle.PAUSE_S))
                services.append(Service("receipts", speaking(site)))
            case "roll":
                from pipeline.roll import Roller

                services.append(_loop("roll", Roller(site).once, site.settings.roll.interval_s))
            case "evaluate":
                from pipeline.evaluate import Evaluator

                services.append(_loop("evaluate", Evaluator(site, _now).once, site.settings.roll.evaluate_interval_s))
            case "watch":
                from pipeline import watch

                services.append(_loop("watch", watch.Watcher(site, _now).once, watch.PAUSE_S))
            case "send":
                from alerts.channels.file import FileChannel
                from pipeline import send

                channels = {one.name: FileChannel(one, site.data_dir) for one in site.settings.alerts.channels}
                services.append(_loop("send", send.Sender(site, channels, _now).once, send.PAUSE_S, more=bool))
            case "retention":
                services.append(_archiving(site))
            case _:
                raise ValueError(f"no service {name!r}; there are {', '.join(SERVICES)}")
    return services


def _loop(name: str, once: Callable[[], int | None], pause_s: float, *, more: Callable[[int], bool] = lambda _worked: False) -> Service:
    loop = Loop(name, once, pause_s, more=more)
    return Service(name, loop.run, lambda: loop.problem)


def _settling(settler: "Settler", pause_s: float) -> Service:
    def notice() -> str:
        damaged = ", ".join(settler.site.journal.damaged())
        return damaged and f"the journal has damaged segments, which are set aside: {damaged}. Keep them elsewhere; see the operator guide"

    service = _loop("settle", settler.once, pause_s, more=lambda _worked: settler.is_behind)
    service.notice = notice
    return service


def _archiving(site: Site) -> Service:
    from pipeline import retention

    archivist = retention.Archivist(site, _now)
    loop = Loop("retention", archivist.once, retention.PAUSE_S, more=bool)
    return Service("retention", loop.run, lambda: loop.problem, lambda: archivist.notice)


def _collecting(name: str, one: "Collector") -> Service:
    def figures() -> dict[str, int]:
        return {} if one.broker_dropped is None else {"broker_messages_dropped": one.broker_dropped}

    return Service(name, lambda _stop: one.run(), lambda: one.problem, lambda: one.notice, figures)


def _now() -> datetime:
    return datetime.now(UTC)
