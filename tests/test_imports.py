"""The import rule holds on the tree, and each of its contracts notices a violation."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
PACKAGES = SETTINGS["root_packages"]
LAYERS, CORE, MQTT, DATABASES, HTTP = (contract["name"] for contract in SETTINGS["contracts"])


def lint_imports(tree: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    # Its own folder comes first on the path, so a copy of the tree is looked at and not the installed one.
    command = [Path(sys.executable).with_name("lint-imports"), "--config", tree / "pyproject.toml", "--cache-dir", cache, "--no-logo"]
    environment = dict(os.environ, COLUMNS="240")
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in PACKAGES:
        python_only = [path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts]
        for path in python_only:
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return copy


def test_every_import_contract_holds(tree: Path, tmp_path: Path) -> None:
    report = lint_imports(tree, tmp_path)
    assert report.returncode == 0, report.stdout
    assert f"Contracts: {len(SETTINGS['contracts'])} kept, 0 broken" in report.stdout


@pytest.mark.parametrize(
    ("package", "line", "contract"),
    [
        ("config", "import store", LAYERS),
        ("store", "import ingest", LAYERS),
        ("ingest", "import alerts", LAYERS),
        ("alerts", "import monitors", LAYERS),
        ("pipeline", "import portal", LAYERS),
        ("monitors", "import store", CORE),
        ("pipeline", "import paho.mqtt.client", MQTT),
        ("alerts", "import aiomqtt", MQTT),
        ("pipeline", "import sqlite3", DATABASES),
        ("portal", "from sqlalchemy import select", DATABASES),
        ("store", "import jinja2", HTTP),
        ("pipeline", "import fastapi", HTTP),
    ],
)
def test_a_planted_violation_breaks_its_contract(package: str, line: str, contract: str, tree: Path, tmp_path: Path) -> None:
    planted = tree / package / "planted.py"
    planted.write_text(f'"""Planted."""\n\n{line}\n')
    try:
        report = lint_imports(tree, tmp_path)
    finally:
        planted.unlink()
    assert report.returncode == 1, report.stdout + report.stderr
    assert f"{contract} BROKEN" in report.stdout
    assert f"{package}.planted ->" in report.stdout
