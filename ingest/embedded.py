"""A broker inside this process (amqtt, MQTT 3.1.1), for the demo: no other server is needed.

It keeps nothing on disk and nothing for an anonymous client that is away; real sites run Mosquitto.
"""

import asyncio
import logging
import socket
import threading
from typing import Final

from amqtt.broker import Broker

from config.errors import BrokerUnavailableError, PortInUseError

_STARTED_WITHIN_S: Final = 10.0


class EmbeddedBroker:
    """An anonymous broker on this machine's loopback, in a thread with an event loop of its own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None

    def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and return the port.

        Args:
            host: an address of this machine.
            port: 0 = any free port.

        Raises:
            PortInUseError: another program listens there.
            BrokerUnavailableError: it did not start.
        """
        port = _free(host, port)
        self._thread = threading.Thread(target=self._run, args=(host, port), name="embedded-broker", daemon=True)
        self._thread.start()
        if not self._started.wait(_STARTED_WITHIN_S) or self._failure is not None:
            raise BrokerUnavailableError(host, port, self._failure or "it did not start in time") from self._failure
        return port

    def stop(self) -> None:
        """Close all connections and end the thread; does nothing where it does not run."""
        if self._thread is None or self._loop is None or self._leave is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._leave.set)
            self._thread.join(_STARTED_WITHIN_S)
        self._thread = None

    def _run(self, host: str, port: int) -> None:
        for name in ("amqtt", "transitions"):  # a client that goes away is no news
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        try:
            asyncio.run(self._serve(host, port))
        except Exception as error:  # noqa: BLE001 - told by start()
            self._failure = error
            self._started.set()

    async def _serve(self, host: str, port: int) -> None:
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        broker = _Broker({
            "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}", "max_connections": 0}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        })
        await broker.start()
        self._started.set()
        await self._leave.wait()
        await broker.shutdown()


class _Broker(Broker):  # type: ignore[misc]  # amqtt ships no types
    """Closes each connection that it has done with: the library leaves one open whose client it was still greeting when it had to stop."""

    async def stream_connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str) -> None:
        try:
            await super().stream_connected(reader, writer, listener_name)
        finally:
            writer.close()


def _free(host: str, port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUseError("embedded broker", host, port, "[mqtt] port") from error
        return int(probe.getsockname()[1])
