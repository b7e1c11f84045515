"""`tcewatch run [SERVICE ...]`: all services in one process, or the named ones apart."""

import fcntl
import gc
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TextIO

import structlog
import typer

from config.errors import BadInputError, PortInUseError, Problem, StoreUnavailableError
from pipeline.services import LEAVE_WITHIN_S, SERVICES, STOP_WITHIN_S, Service, Services, build
from pipeline.site import Site
from portal import log as logs
from portal.cli.common import SettingsOption, settings_from

ALL = (*SERVICES, "portal")
log = structlog.get_logger("run")


def command(
    services: Annotated[list[str] | None, typer.Argument(help=f"Which services: {', '.join(ALL)} (default: all in one process).")] = None,
    settings: SettingsOption = None,
    health_port: Annotated[int, typer.Option(help="Port of /health and /metrics where the portal is not among the services (0: any free).")] = 0,
) -> None:
    """Run the services until told to stop (SIGTERM, Ctrl-C)."""
    wanted = tuple(dict.fromkeys(services or ALL))
    if stray := [name for name in wanted if name not in ALL]:
        raise BadInputError([Problem("run", f"{name!r} is no service", f"Services are {', '.join(ALL)}.") for name in stray])
    loaded = settings_from(settings)
    logs.configure(loaded.log)
    site = Site(loaded)
    locks = [hold(site.data_dir, name) for name in wanted]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    host, port = loaded.portal.host, loaded.portal.port if "portal" in wanted else health_port
    listener = listen(host, port, "portal" if "portal" in wanted else "health port")
    site.journal.keep_ids_above(max(site.ledger.cursors().values()))  # were the journal's tail lost, its ids must not name other messages
    if set(wanted) & {"settle", "roll"}:
        site.readings()  # a store that another process holds is told before anything starts
    running = Services(build(site, [name for name in wanted if name != "portal"], stop), stop)
    if "portal" in wanted:
        from portal.app import create_app

        running.add(http_service(create_app(site, services=running), listener))
    else:
        running.add(health_service(site, running, listener))
    sys.exit(serve(running, site, listener, locks))


def serve(running: Services, site: Site, listener: socket.socket, locks: Sequence[object]) -> int:
    """Run to the end; 0 after a clean stop, 1 where a service died or did not stop."""
    address = "http://{}:{}".format(*listener.getsockname()[:2])
    # A batch is tens of thousands of tuples: looking through them for cycles again and again takes a fifth of the processor time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    running.start()
    log.info("running", address=address, services=list(running.health()))
    died = running.wait()
    clean = running.end(STOP_WITHIN_S if died is None else LEAVE_WITHIN_S)
    if died is not None or not clean:
        log.error("stopped", because=repr(died) if died else "a service did not stop in time")
        os._exit(1)  # a thread may hang: never connected but deaf
    site.close()
    del locks
    gc.unfreeze()  # what stays frozen is never cleared, and the extension modules complain of it at the exit
    log.info("stopped")
    return 0


def http_service(app: object, listener: socket.socket) -> Service:
    """The pages as a service beside the others."""
    return Service("portal", lambda stop: _serve_http(app, listener, stop))


def health_service(site: Site, running: Services, listener: socket.socket) -> Service:
    """Health and metrics alone, loaded when somebody asks for the first time: a service that nobody asks has its processor to itself."""
    def run(stop: threading.Event) -> None:
        while not select.select([listener], [], [], 0.2)[0]:
            if stop.is_set():
                return
        from portal.health import health_app

        _serve_http(health_app(site, services=running), listener, stop)

    return Service("health", run)


def _serve_http(app: object, listener: socket.socket, stop: threading.Event) -> None:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2))  # type: ignore[arg-type]

    def leave() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=leave, daemon=True).start()
    server.run(sockets=[listener])


def listen(host: str, port: int, what: str) -> socket.socket:
    """A socket that listens there.

    Raises:
        PortInUseError: another program does.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise PortInUseError(what, host, port, "[portal] port" if what == "portal" else "--health-port") from error
    return listener


def is_held(data_dir: Path, service: str) -> bool:
    """Whether a process runs that service on those data."""
    try:
        hold(data_dir, service).close()
    except StoreUnavailableError:
        return True
    return False


def hold(data_dir: Path, service: str) -> TextIO:
    """Keep others from running the same service on the same data; held until the process ends.

    Raises:
        StoreUnavailableError: another process runs it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    file = (data_dir / f"{service}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        remedy = "Stop that one first; a site needs no second."
        raise StoreUnavailableError(data_dir, f"another process runs {service} on it", remedy) from error
    return file
