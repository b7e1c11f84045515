"""Somebody else writes other types into our bucket: what cannot be stored is refused, everything else goes on, and nothing of ours is hidden."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.settings import InfluxSettings
from store.influxdb import InfluxReadingStore
from tests.contracts.influxd_server import InfluxServer
from tests.contracts.reading_store import at, counts, kept, names, readings

pytestmark = pytest.mark.needs("influxd")
WEEK = 4 * 24 * 7  # quarters of an hour
OURS = "enterprise=91150000EXAMPLE00,meter=M-1,register=active_import"
_number = itertools.count()


@pytest.fixture(scope="module")
def server(program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    server = InfluxServer(program("influxd"), tmp_path_factory.mktemp("influxd"))
    yield server
    server.stop()


@pytest.mark.parametrize("foreign", [
    'reading,enterprise=0,meter=y,register=z value="x"',
    'reading,enterprise=x,meter=y,register=z value=7i',
    'reading value=true',
    f'reading,{OURS} value="x"',
    f'reading,{OURS} value=1i',
    'reading,enterprise=x,meter=y,register=z value=1,quality=1.5',
    'reading,enterprise=x,meter=y,register=z value=1,message="a"',
])
@pytest.mark.parametrize("comes", [0, 1])
def test_a_week_that_began_with_another_type_refuses_its_readings_and_no_others(server: InfluxServer, foreign: str, comes: int) -> None:
    bucket = server.new_bucket(f"foreign-{next(_number)}")
    settings = InfluxSettings.model_validate({"url": server.url, "org": server.org, "bucket": bucket, "token": server.token})
    batches = [
        readings((10, 1, 1, 1.0), (10, 2, 1, 2.0)), readings((20, 1, WEEK + 1, 1.0), (20, 2, WEEK + 1, 1.0)),
        readings((30, 1, 2 * WEEK + 1, 1.0), (30, 2, 2 * WEEK + 1, 2.0)),
    ]
    store = InfluxReadingStore(settings, names)
    for number, batch in enumerate(batches):
        if number == comes:
            store._send(f"{foreign} {at(WEEK + 4).timestamp() * 1e6:.0f}".encode())
        appended = store.append(batch)
        assert ["field type conflict" in reason for reason in appended.refused["reason"]] == ([True, True] if number == 1 else [])
    store.close()
    # A process that starts now sees what there is, and tells repeats and conflicts on both sides of that week.
    store = InfluxReadingStore(settings, names)
    assert [counts(store.append(batch)) for batch in batches] == [{10: (2, 0, 0)}, {}, {30: (2, 0, 0)}]
    assert counts(store.append(readings((40, 1, 1, 5.0), (40, 2, 2 * WEEK + 1, 5.0)))) == {40: (0, 0, 2)}
    after = 2 * WEEK + 1
    assert kept(store) == kept(store, [1, 2]) == [
        (1, 1, 0, 1.0, 10), (1, 1, 1, 5.0, 40), (1, after, 0, 1.0, 30), (2, 1, 0, 2.0, 10), (2, after, 0, 2.0, 30), (2, after, 1, 5.0, 40),
    ]
    assert store.latest().select("register_key", "value", "message").rows() == [(1, 1.0, 30), (2, 2.0, 30)]
    store.close()
