"""The service units, checked by systemd itself where it is there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
HARDENING = {
    "NoNewPrivileges": "true", "ProtectSystem": "strict", "ProtectHome": "true", "PrivateTmp": "true", "PrivateDevices": "true",
    "CapabilityBoundingSet": "", "RestrictSUIDSGID": "true", "SystemCallFilter": "@system-service",
}


def values(name: str) -> dict[str, str]:
    lines = (UNITS / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Za-z]+=", line))


@pytest.mark.parametrize("name", ["tcewatch.service", "tcewatch@.service"])
class TestUnit:
    def test_systemd_finds_nothing_wrong(self, name: str, tmp_path: Path) -> None:
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            pytest.skip("no systemd-analyze here")
        text = (UNITS / name).read_text(encoding="utf-8").replace("/opt/tcewatch/.venv/bin/tcewatch", shutil.which("true") or "")
        instance = tmp_path / name.replace("@", "@collect")
        instance.write_text(text)
        done = subprocess.run([analyze, "verify", "--man=no", instance], capture_output=True, text=True, check=False, timeout=60)
        assert done.stderr == ""
        assert done.returncode == 0

    def test_it_is_started_again_and_stops_on_sigterm(self, name: str) -> None:
        unit = values(name)
        assert unit["Restart"] == "always"
        assert "KillSignal" not in unit  # SIGTERM is the default
        assert int(unit["TimeoutStopSec"]) > 10  # the services are given ten seconds
        assert unit["ExecStart"].split()[1] == "run"

    def test_it_is_shut_in(self, name: str) -> None:
        unit = values(name)
        assert {key: unit[key] for key in HARDENING} == HARDENING
        assert unit["User"] == "tcewatch"


def test_the_two_units_differ_in_their_description_and_their_service_only() -> None:
    whole, apart = values("tcewatch.service"), values("tcewatch@.service")
    assert {key for key in whole if whole[key] != apart.get(key)} == {"Description", "ExecStart"}
    assert apart["ExecStart"] == f"{whole['ExecStart']} %i"
