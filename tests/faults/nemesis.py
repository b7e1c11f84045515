"""What breaks things: a network that can be cut, stalled and slowed, and a schedule of faults drawn from a seed."""

import asyncio
import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import polars as pl

from tests.faults.harness import Fleet, Plant, wait_for

_CHUNK = 4096


class Proxy:
    """Passes bytes on to a port of this machine, as long as it is let."""

    def __init__(self, to_port: int) -> None:
        self._to_port, self._bytes_per_s = to_port, 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.connections = 0
        self.port = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def cut(self) -> None:
        """End all connections at once; new ones are let through."""
        self._do(self._abort)

    def stall(self) -> None:
        """Let nothing through and say nothing, as a firewall that drops packets does; what was sent waits."""
        self._do(self._passing.clear)

    def heal(self) -> None:
        """Let everything through at full speed again."""
        self._bytes_per_s = 0.0
        self._do(self._passing.set)

    def slow(self, bytes_per_s: float) -> None:
        """Let so many bytes through in each direction of each connection."""
        self._bytes_per_s = bytes_per_s

    def close(self) -> None:
        """End."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, what: Callable[[], None]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (what(), done.set()))
        done.wait(10)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _open(self) -> int:
        self._passing = asyncio.Event()
        self._passing.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        self._passing.set()
        self._abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            await self._passing.wait()
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._to_port, limit=_CHUNK)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(onward)
        await asyncio.gather(self._pump(reader, onward), self._pump(onward_reader, writer))
        self._writers -= {writer, onward}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._bytes_per_s:
                    await asyncio.sleep(len(data) / self._bytes_per_s)
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort() if writer.transport.is_closing() else writer.close()


class Nemesis:
    """Does one thing after the other to a plant, mending each before the next, in an order that its seed decides.

    `collect` and `settle` are processes of their own; the collector reaches the broker through the proxy.
    """

    def __init__(self, seed: int, plant: Plant, fleet: Fleet, broker: Any, proxy: Proxy, influx: Any = None) -> None:
        self._chance, self._plant, self._fleet, self._broker, self._proxy, self._influx = random.Random(seed), plant, fleet, broker, proxy, influx
        self.done: list[str] = []
        self.deeds: dict[str, Callable[[], None]] = {
            "kill collect": lambda: self._again("collect", signal.SIGKILL),
            "kill settle": lambda: self._again("settle", signal.SIGKILL),
            "stop collect": lambda: self._again("collect", signal.SIGTERM),
            "stop settle": lambda: self._again("settle", signal.SIGTERM),
            "freeze collect": lambda: self._freeze("collect"),
            "freeze settle": lambda: self._freeze("settle"),
            "cut the network": proxy.cut,
            "stall the network": self._stall,
            "slow the network": self._slow,
            "restart the broker": lambda: self._broker_away("stop"),
            "kill the broker": lambda: self._broker_away("kill"),
            "poison": fleet.spoil,
            "send again": lambda: fleet.again(self._past(20)),
            "contradict": lambda: fleet.contradict(self._chance.randint(1, 5)),
            "keep back": lambda: fleet.keep_back(self._chance.randint(1, 5)) and None,
        }
        if influx is not None:
            self.deeds |= {"restart the database": lambda: self._database_away("stop"), "kill the database": lambda: self._database_away("kill")}

    def go_on_for(self, seconds: float) -> None:
        """Break and mend until the time is over; then everything runs and the network is whole."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = self._chance.choice(sorted(self.deeds))
            self.done.append(name)
            self.deeds[name]()
            for service, process in self._plant.running.items():
                assert process.poll() is None, f"{service} ended by itself: {process.returncode} after {self.done[-3:]}\n{self._plant.log()[-3000:]}"
            time.sleep(self._chance.uniform(0.2, 1.5))

    def _again(self, service: str, how: int) -> None:
        self._plant.end(service, how)
        time.sleep(self._chance.uniform(0, 1.0))
        self._plant.start(service)
        if self._chance.random() < 0.7:  # else the next fault meets it while it starts
            time.sleep(self._chance.uniform(1.0, 4.0))

    def _freeze(self, service: str) -> None:
        process = self._plant.running[service]
        process.send_signal(signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.5, 5.0))
        process.send_signal(signal.SIGCONT)

    def _stall(self) -> None:
        self._proxy.stall()
        time.sleep(self._chance.uniform(0.5, 6.0))
        self._proxy.heal()

    def _slow(self) -> None:
        self._proxy.slow(self._chance.choice([5_000, 50_000]))
        time.sleep(self._chance.uniform(1.0, 4.0))
        self._proxy.heal()

    def _broker_away(self, how: str) -> None:
        getattr(self._broker, how)()
        time.sleep(self._chance.uniform(0, 2.0))
        self._broker.start()

    def _database_away(self, how: str) -> None:
        getattr(self._influx, how)()
        time.sleep(self._chance.uniform(0, 3.0))
        self._influx.start()

    def _past(self, count: int) -> list[Any]:
        past = list(self._fleet.history.values())
        return self._chance.sample(past, min(count, len(past)))


def close_gaps(plant: Plant, fleet: Fleet, *, patience_s: float = 0.0, seconds: float = 60.0) -> int:
    """New messages show what is missing, and it is sent. How many messages were sent by hand, asked for by nobody for `patience_s`."""
    by_hand = 0
    deadline = time.monotonic() + seconds
    fleet.say(1)
    plant.rest(seconds=seconds)
    while not (gaps := _gaps(plant)).is_empty():
        assert time.monotonic() < deadline, f"still missing: {gaps}"
        asked = fleet.backfilled
        try:
            wait_for(lambda asked=asked: fleet.backfilled > asked or _gaps(plant).is_empty(), "asking", patience_s)
        except AssertionError:
            by_hand += int((gaps["to_seq"] - gaps["from_seq"] + 1).sum())
            fleet.fill(gaps)
        plant.rest(seconds=seconds)
    return by_hand


def _gaps(plant: Plant) -> pl.DataFrame:
    return plant.site.ledger.gaps().filter(~pl.col("lost"))
