"""One clear sentence that says what to do, and the exit code of the contract, for what goes wrong at the start."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from portal.cli.init import TEMPLATE

TCEWATCH = Path(sys.executable).with_name("tcewatch")


def call(*words: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TCEWATCH, *words], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_wrong_option_is_a_usage_error(tmp_path):
    assert call("run", "--nonsense", folder=tmp_path).returncode == 2


def without_the_extra_demo(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.modules['amqtt'] = None; from portal.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_after_a_plain_install_the_help_lists_every_command(tmp_path):
    done = without_the_extra_demo("--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_after_a_plain_install_demo_tells_what_it_lacks_and_how_to_get_it(tmp_path):
    done = without_the_extra_demo("demo", "--port", "0", "--no-browser", folder=tmp_path)
    assert done.returncode == 3
    assert "make demo" in done.stderr
    assert "--mqtt" in done.stderr
    assert "Traceback" not in done.stderr


def test_init_writes_settings_that_load_and_does_not_overwrite_them(tmp_path):
    assert call("init", folder=tmp_path).returncode == 0
    assert (tmp_path / "tcewatch.toml").read_text() == TEMPLATE
    again = call("init", folder=tmp_path)
    assert again.returncode == 3
    assert "exists already" in again.stderr


def test_all_problems_of_settings_are_told_at_once_without_a_traceback(tmp_path):
    (tmp_path / "tcewatch.toml").write_text('[mqtt]\nport = 70000\nkeepalive_s = 60\nhots = "x"\n[site]\nzone = "Mars/Base"\n')
    done = call("run", folder=tmp_path)
    assert done.returncode == 3
    for word in ("mqtt.port", "mqtt.keepalive_s", "mqtt.hots", "site.zone"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_secret_is_not_shown_in_a_problem(tmp_path):
    done = call("check", folder=tmp_path, TCEWATCH_MQTT__PORT="x", TCEWATCH_MQTT__PASSWORD="canary-5461")
    assert done.returncode == 3
    assert "canary-5461" not in done.stderr + done.stdout


@pytest.mark.enable_socket
def test_a_port_in_use_is_told_with_the_setting_to_change(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "tcewatch.toml").write_text(f"[portal]\nport = {taken.getsockname()[1]}\n")
        done = call("run", folder=tmp_path)
    assert done.returncode == 4
    assert "in use" in done.stderr
    assert "[portal] port" in done.stderr


@pytest.mark.enable_socket
def test_a_service_without_the_portal_has_health_and_does_not_call_it_portal_and_ends_on_sigterm(tmp_path):
    (tmp_path / "tcewatch.toml").write_text("[log]\nformat = 'json'\n")
    process = subprocess.Popen([TCEWATCH, "run", "send"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        running = json.loads(process.stderr.readline())
        assert running["services"] == ["send", "health"]
        with urllib.request.urlopen(f"{running['address']}/health/live", timeout=30) as answer:
            assert json.load(answer) == {"status": "ok", "parts": {"send": "ok", "health": "ok"}}
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def test_check_lists_broker_register_people_and_routes_together(tmp_path):
    route = '[[routes]]\ntopic = "{0}"\nenterprise = "e"\ngateway = "g"\nprofile = "{1}"\n'
    (tmp_path / "tcewatch.toml").write_text(route.format("a", "nope") + route.format("b", "mapping") + 'mapping = "map.toml"\n[mqtt]\nport = 1\n')
    (tmp_path / "map.toml").write_text('meter = "sn"\n[fields]\nep = { register = "r", unit = "furlong" }\n')
    done = call("check", folder=tmp_path)
    assert done.returncode == 3
    for told in (
        "cannot be reached", "tcewatch register import", "tcewatch user add",
        "route a: there is no profile nope", "map.toml meter: starts with sn", "map.toml fields.ep.unit: is no known unit",
    ):
        assert told in done.stdout


@pytest.mark.parametrize(
    ("setting", "said"), [("", "ok       disk"), ("warn_free_mb = 999999999\n", "warning  disk"), ("reserve_mb = 999999999\n", "PROBLEM  disk")]
)
def test_check_tells_how_the_disk_is(tmp_path, setting, said):
    (tmp_path / "tcewatch.toml").write_text(f"[mqtt]\nport = 1\n[retention]\n{setting}")
    assert said in call("check", folder=tmp_path).stdout


def test_a_bad_register_file_lists_its_rows_and_writes_nothing(tmp_path):
    folder = tmp_path / "register"
    folder.mkdir()
    (folder / "region.csv").write_text("region\n159901\n15\n")
    (folder / "enterprise.csv").write_text("enterprise,name_zh,park\n91159901MA0EXAMP1X,甲,p1\n")
    done = call("register", "import", folder, folder=tmp_path)
    assert done.returncode == 3
    for word in ("region.csv", "row 3", "enterprise.csv", "row 2"):
        assert word in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_told_by_run_and_nothing_is_half_written(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], check=False, capture_output=True).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        (tmp_path / "tcewatch.toml").write_text(f'[site]\ndata_dir = "{small / "data"}"\n[portal]\nport = 0\n')
        (small / "filler").write_bytes(b"x" * 200_000)
        done = call("run", folder=tmp_path)
        assert done.returncode == 4, done.stderr
        assert "full" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_readings_of_a_file_go_through_the_journal_and_twice_they_are_duplicates(tmp_path):
    folder = tmp_path / "register"
    folder.mkdir()
    (folder / "region.csv").write_text("region\n159901\n")
    (folder / "park.csv").write_text("park,region\np1,159901\n")
    (folder / "enterprise.csv").write_text("enterprise,name_zh,park\n91159901MA0EXAMP1D,甲,p1\n")
    (folder / "meter.csv").write_text("enterprise,meter,medium\n91159901MA0EXAMP1D,E-1,electricity\n")
    (folder / "register.csv").write_text("enterprise,meter,register,unit,kind\n91159901MA0EXAMP1D,E-1,main,kWh,cumulative\n")
    assert call("register", "import", folder, folder=tmp_path).returncode == 0
    (tmp_path / "r.csv").write_text(
        "enterprise,meter,register,read_at,value\n"
        "91159901MA0EXAMP1D,E-1,main,2026-01-01T00:00:00+08:00,1\n91159901MA0EXAMP1D,E-1,main,2026-01-01T01:00:00+08:00,3\n"
        "91159901MA0EXAMP1D,E-9,main,2026-01-01T01:00:00+08:00,3\n"
    )
    first = call("readings", "import", "r.csv", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "decoded 3, stored 2, duplicate 0, conflicting 0, rejected 1" in first.stdout
    assert "decoded 3, stored 0, duplicate 2, conflicting 0, rejected 1" in call("readings", "import", "r.csv", folder=tmp_path).stdout
