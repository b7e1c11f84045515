"""The house around the code: what is shipped, who owns our names, how a checkout is installed."""

import importlib.metadata
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
in_git = pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="not a git checkout")


def tracked(*folders: str) -> list[str]:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--", *folders], capture_output=True, check=True).stdout.decode()
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def foreign_owners() -> dict[str, set[str]]:
    """Our top-level names that another installed distribution provides too."""
    owners = {name: set(found) - {"tcewatch"} for name, found in importlib.metadata.packages_distributions().items() if name in PACKAGES}
    return {name: found for name, found in owners.items() if found}


def test_no_other_distribution_provides_one_of_our_top_level_names() -> None:
    assert foreign_owners() == {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin == str(ROOT / name / "__init__.py")


def test_a_distribution_that_takes_one_of_our_names_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "intruder-1.0.dist-info"
    planted.mkdir()
    (planted / "METADATA").write_text("Metadata-Version: 2.1\nName: intruder\nVersion: 1.0\n")
    (planted / "top_level.txt").write_text("config\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert foreign_owners() == {"config": {"intruder"}}


@in_git
def test_the_wheel_holds_every_tracked_file_of_our_packages_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, capture_output=True, check=True, timeout=120
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = set(tracked(*PACKAGES))
    assert shipped - names == set()
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, f"tcewatch-{PROJECT['project']['version']}.dist-info"}
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


@in_git
def test_the_demo_data_stay_small() -> None:
    assert sum((ROOT / name).stat().st_size for name in tracked("portal/demo")) <= 3_000_000


@in_git
def test_tracked_files_name_no_registry_host_and_no_folder_of_one_machine() -> None:
    assert runpy.run_path(str(ROOT / "tools" / "no_hosts.py"))["findings"](ROOT) == []


@in_git
def test_a_registry_host_in_a_tracked_file_is_noticed(tmp_path: Path) -> None:
    slash = "/"  # put in below, since this file is looked at too
    host, folder = f"https:{slash}{slash}mirror.example{slash}simple{slash}", f"{slash}root{slash}notes"
    (tmp_path / "a.txt").write_text(f"see {host}\nfine\nsee {folder}\n")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "add", "a.txt"], check=True)
    found = runpy.run_path(str(ROOT / "tools" / "no_hosts.py"))["findings"](tmp_path)
    assert found == ["a.txt:1 names a package registry", "a.txt:3 names a folder of one machine"]


def test_every_constraint_has_a_version_and_a_hash() -> None:
    for name in ("constraints.txt", "tools/uv.txt"):
        entries = re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text(encoding="utf-8").strip())
        assert len(entries) >= 1
        for entry in entries:
            assert re.match(r"[a-z0-9_.-]+==\S+", entry), entry
            assert "--hash=sha256:" in entry, entry


def test_every_dependency_is_in_the_constraints() -> None:
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    wanted += PROJECT["build-system"]["requires"]
    names = {re.split(r"[\[<>=!;, ]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names - pinned == set()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
class TestMakefile:
    """The targets, without running the long ones."""

    def make(self, *words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
        return subprocess.run(["make", *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def test_help_names_every_target(self) -> None:
        phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert phony is not None
        listed = [line.split()[1] for line in self.make().stdout.splitlines()]
        assert sorted(listed) == sorted(phony.group(1).split())

    def test_a_missing_python_gives_one_sentence_that_says_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "tools").mkdir()
        shutil.copy(ROOT / "Makefile", tmp_path)
        for name in ("pyproject.toml", "constraints.txt", "tools/uv.txt"):
            shutil.copy(ROOT / name, tmp_path / name)
        done = self.make("demo", "PYTHON=", cwd=tmp_path)
        assert done.returncode != 0
        first = done.stderr.splitlines()[0]
        assert first.startswith("tcewatch needs Python 3.11 or later; here is")
        assert "make demo PYTHON=" in first
        assert not (tmp_path / ".venv").exists()


def test_ci_run_can_be_started() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
