"""The compose file, the container's recipe and the settings that go with them; no container engine runs here."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from config import settings
from pipeline.services import SERVICES

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MADE_BY_THE_SITE = {"./certs"}  # certificates are never in a repository
OUR_IMAGE = "tcewatch:0.1.0"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ours(compose: dict[str, Any]) -> dict[str, Any]:
    return {name: service for name, service in compose["services"].items() if service["image"] == OUR_IMAGE}


def test_the_compose_file_fits_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.Draft201909Validator(schema).validate(compose)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft201909Validator(schema).validate({"services": {"x": {"imaeg": "y"}}})


def test_every_service_of_tcewatch_runs_apart(ours: dict[str, Any]) -> None:
    assert sorted(ours) == sorted([*SERVICES, "portal"])
    for name, service in ours.items():
        assert service["command"][:2] == ["run", name]


def test_a_health_check_asks_the_port_that_its_service_listens_on(ours: dict[str, Any]) -> None:
    for service in ours.values():
        port = service["command"][3] if "--health-port" in service["command"] else "8765"
        assert f"http://127.0.0.1:{port}/health/live" in service["healthcheck"]["test"][-1]


def test_every_folder_and_file_that_is_mounted_exists(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert source in MADE_BY_THE_SITE or (DEPLOY / source).exists(), f"{name}: {source}"
            else:
                assert source in compose["volumes"], f"{name}: {source}"


def test_what_services_wait_for_exists_and_tells_its_health(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for other in service.get("depends_on", {}):
            assert "healthcheck" in compose["services"][other]


def test_images_are_pinned_and_the_broker_is_new_enough(compose: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in compose["services"].items()}
    assert all(re.search(r":v?[0-9]", image) for image in images.values())
    assert tuple(map(int, images["mosquitto"].rpartition(":")[2].split("."))) >= (2, 0, 22)


def test_only_the_gateways_listener_is_open_to_the_outside(compose: dict[str, Any]) -> None:
    open_ports = {port for service in compose["services"].values() for port in service.get("ports", []) if not port.startswith("127.0.0.1:")}
    assert open_ports == {"8883:8883"}


def test_every_secret_is_asked_for_and_none_is_written_down(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    wanted = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    example = dict(line.split("=") for line in (DEPLOY / "env.example").read_text(encoding="utf-8").splitlines() if "=" in line)
    assert wanted == set(example)
    assert set(example.values()) == {""}
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN", name):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?.*\}", value), name


def test_the_settings_load_and_point_at_the_other_services(compose: dict[str, Any], ours: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ours["portal"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{[A-Z_]+:\?[^}]*\}", "secret", value))
    loaded = settings.load(DEPLOY / "tcewatch" / "tcewatch.toml")
    assert loaded.mqtt.host in compose["services"]
    assert f"listener {loaded.mqtt.port}\n" in (DEPLOY / "mosquitto" / "mosquitto.conf").read_text(encoding="utf-8")
    assert f"user {loaded.mqtt.username}\n" in (DEPLOY / "mosquitto" / "acl").read_text(encoding="utf-8")
    assert loaded.store.readings == "influxdb"
    influx = compose["services"]["influxdb"]["environment"]
    assert (loaded.store.influxdb.url, loaded.store.influxdb.org, loaded.store.influxdb.bucket) == (
        "http://influxdb:8086", influx["DOCKER_INFLUXDB_INIT_ORG"], influx["DOCKER_INFLUXDB_INIT_BUCKET"],
    )
    assert loaded.database_url == "postgresql+psycopg://tcewatch:secret@postgres/tcewatch"
    mounted = {volume.split(":")[1] for volume in ours["portal"]["volumes"]}
    assert str(loaded.data_dir) in mounted
    assert "/etc/tcewatch/tcewatch.toml" in mounted


def test_the_settings_without_secrets_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TCEWATCH_STORE__INFLUXDB__TOKEN", raising=False)
    with pytest.raises(settings.SettingsError, match="token"):
        settings.load(DEPLOY / "tcewatch" / "tcewatch.toml")


def test_the_dockerfile_copies_what_exists_and_what_the_build_may_see() -> None:
    seen = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")]
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in shlex.split(line)[1:-1]]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name in seen, name
    assert set(copied) == set(seen)
    assert "USER tcewatch" in lines
