"""Plants and fleets of fault tests, ended whatever happens."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.influxd_server import InfluxServer
from tests.faults.harness import Fleet, Plant, make_plant


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Callable[..., Plant]]:
    """`plant(port, "[mqtt] ...", influx=...)`: a site on the broker at that port."""
    made: list[Plant] = []

    def make(port: int, more: str = "", influx: Any = None) -> Plant:
        made.append(make_plant(tmp_path, port, more, influx))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def fleet() -> Iterator[Callable[..., Fleet]]:
    """`fleet(port)`: gateways on the broker at that port."""
    made: list[Fleet] = []

    def make(port: int, **how: Any) -> Fleet:
        made.append(Fleet(port, **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def own_influx(program: Callable[[str], Path], tmp_path: Path) -> Iterator[InfluxServer]:
    """A real InfluxDB of the test's own, to be broken."""
    folder = tmp_path / "influxd"
    folder.mkdir()
    server = InfluxServer(program("influxd"), folder)
    yield server
    server.stop()
