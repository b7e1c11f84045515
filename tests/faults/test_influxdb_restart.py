"""A real InfluxDB that is killed and started again while readings are appended."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import StoreUnavailableError
from config.settings import InfluxSettings
from store.influxdb import InfluxReadingStore
from tests.contracts.influxd_server import InfluxServer
from tests.contracts.reading_store import counts, kept, names, readings

pytestmark = pytest.mark.needs("influxd")
BATCHES, KEYS, KILLS, SEED = 60, 400, 5, 20261121


def test_every_reading_is_stored_once_while_the_server_is_killed_again_and_again(program: Callable[[str], Path], tmp_path: Path) -> None:
    server = InfluxServer(program("influxd"), tmp_path)
    settings = InfluxSettings.model_validate({"url": server.url, "org": server.org, "bucket": server.bucket, "token": server.token, "timeout_s": 5})
    store, seeded, answered = InfluxReadingStore(settings, names), random.Random(SEED), threading.Event()
    stopped = threading.Event()

    def kill() -> None:
        for _ in range(KILLS):
            answered.wait()
            answered.clear()
            stopped.wait(seeded.uniform(0, 0.03))  # right after a 204, or in the middle of the next write
            server.kill()
            server.start()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for number in range(BATCHES):
            # A third of each batch repeats the one before, a third differs from it: copies, too, must not suffer.
            rows = [(number, key, number, float(key)) for key in range(KEYS)]
            rows += [(number, key, number - 1, float(key)) for key in range(KEYS // 3) if number]
            rows += [(number, key, number - 1, -1.0) for key in range(KEYS // 3) if number]
            batch, again = readings(*rows), KEYS // 3 if number else 0
            while True:
                try:
                    assert counts(store.append(batch)) == {number: (KEYS, again, again)}
                    break
                except StoreUnavailableError:
                    continue
            answered.set()
    finally:
        stopped.set()
        while killer.is_alive():
            answered.set()
            killer.join(0.05)
    server.kill()
    server.start()
    expected = [(key, number, 0, float(key), number) for number in range(BATCHES) for key in range(KEYS)]
    expected += [(key, number - 1, 1, -1.0, number) for number in range(1, BATCHES) for key in range(KEYS // 3)]
    assert kept(store) == sorted(expected)
    store.close()
    server.stop()
