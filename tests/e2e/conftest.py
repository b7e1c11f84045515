"""A site whose services run as separate `tcewatch` processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from config import settings as site_settings
from pipeline.site import Site

TCEWATCH = Path(sys.executable).with_name("tcewatch")
ENTERPRISES = ("91159901MA0EXAMP1D", "91159901MA0EXAMP4N")


def register_tables() -> dict[str, pl.DataFrame]:
    meters = [(enterprise, f"E-{number}") for enterprise in ENTERPRISES for number in range(1, 4)]
    return {
        "region": pl.DataFrame({"region": ["159901"]}),
        "park": pl.DataFrame({"park": ["p1"], "region": ["159901"]}),
        "enterprise": pl.DataFrame([{"enterprise": code, "name_zh": f"示例{code[-1]}", "park": "p1"} for code in ENTERPRISES]),
        "gateway": pl.DataFrame([{"enterprise": code, "gateway": "GW-01", "region": "159901"} for code in ENTERPRISES]),
        "meter": pl.DataFrame([{"enterprise": code, "meter": meter, "gateway": "GW-01", "medium": "electricity"} for code, meter in meters]),
        "register": pl.DataFrame([
            {"enterprise": code, "meter": meter, "register": "active_import", "unit": "kWh", "kind": "cumulative"} for code, meter in meters
        ]),
        "assignment": pl.DataFrame([
            {"enterprise": code, "meter": meter, "register": "active_import", "carrier": "electricity"} for code, meter in meters
        ]),
    }


@dataclass
class Processes:
    """A site's settings file and the processes that run on it."""

    settings: Path
    environment: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def site(self) -> Site:
        return Site(site_settings.load(self.settings))

    def start(self, *words: str, launcher: Path | None = None) -> subprocess.Popen[bytes]:
        command = [TCEWATCH] if launcher is None else [sys.executable, launcher]
        with self.settings.with_name("log").open("ab") as log:
            process = subprocess.Popen([*command, *words, "--settings", self.settings], env=os.environ | self.environment, stdout=log, stderr=log)
        self.running.append(process)
        return process

    def call(self, *words: str | Path) -> dict[str, object]:
        done = subprocess.run([TCEWATCH, *words, "--json"], env=os.environ | self.environment, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return dict(json.loads(done.stdout))

    def log(self) -> str:
        return self.settings.with_name("log").read_text()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Callable[..., Processes]]:
    """`processes(port, "[store] ...")`: a site on the broker at that port, with its register, further settings as TOML."""
    made: list[Processes] = []

    def make(mqtt_port: int, more: str = "", environment: dict[str, str] | None = None) -> Processes:
        settings = tmp_path / "tcewatch.toml"
        settings.write_text(f"[mqtt]\nport = {mqtt_port}\n[roll]\ninterval_s = 0.3\nevaluate_interval_s = 0.5\n{more}")
        one = Processes(settings, environment or {})
        with pytest.MonkeyPatch.context() as patch:
            for name, value in one.environment.items():
                patch.setenv(name, value)
            site = one.site()
        site.register.apply(register_tables(), by="test", known_from=datetime(2025, 1, 1, tzinfo=UTC))
        site.close()
        made.append(one)
        return one

    yield make
    for one in made:
        for process in one.running:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=20)
