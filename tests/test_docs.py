"""The documents say what is true: commands, options, settings, reasons, links and generated pages."""

import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer.main

from config import settings
from config.settings import ScreenSettings, Settings
from ingest import reasons
from ingest.decode import decode
from ingest.routes import Routes
from ingest.screen import screen
from portal.cli.main import build
from store.database import Database
from store.journal import Message
from store.register import RegisterStore

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "deploy" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLE = ROOT / "docs" / "guide" / "example-register"


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code(page: Path) -> Iterator[str]:
    """Every line of a fenced shell block and every inline code span."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (line.split("  #")[0] for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def invocations(page: Path) -> Iterator[list[str]]:
    """Words after `tcewatch` wherever a page shows the command."""
    for line in code(page):
        for part in re.split(r"&&|\||;|\n", line):
            if found := re.search(r"(?:^|[ /])(?:tcewatch|run --rm portal) (?=[a-z])(.*)", part.strip()):
                yield shlex.split(found[1].split(" > ")[0].rstrip("& "))


@pytest.fixture(scope="module")
def command() -> Any:
    return typer.main.get_command(build())


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_of_a_page_exists_with_its_options(page: Path, command: Any) -> None:
    for words in invocations(page):
        found, rest = command, list(words)
        while hasattr(found, "commands") and rest and not rest[0].startswith("-"):
            name = rest.pop(0)
            assert name in found.commands, f"tcewatch {' '.join(words)}"
            found = found.commands[name]
        options = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
        for word in rest:
            if (word := word.lstrip("[")).startswith("--"):
                assert word.partition("=")[0] in options, f"tcewatch {' '.join(words)}"


def test_the_operator_guide_names_every_command(command: Any) -> None:
    text = " ".join(page.read_text(encoding="utf-8") for page in PAGES)
    unnamed = [name for name in command.commands if not re.search(rf"tcewatch {name}\b|make {name}\b", text)]
    assert unnamed == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_make_target_of_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {found[1] for line in code(page) if (found := re.match(r"make ([a-z]+)\b", line.strip()))}
    assert asked <= targets


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 _-]", "", head.lower()).replace(" ", "-") for head in heads}, link


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_setting_of_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    asked = [(section.split("."), name) for section, name in re.findall(r"`\[([a-z.]+)\] ([a-z_]+)\b", text)]
    asked += [(parts[:-1], parts[-1]) for parts in (name.lower().split("__") for name in re.findall(r"\bTCEWATCH_([A-Z]+(?:__[A-Z_]+)+)", text))]
    for section, name in asked:
        fields = Settings.model_fields
        for part in section:
            model = fields[part].annotation
            assert model is not None
            fields = model.model_fields
        assert name in fields, f"[{'.'.join(section)}] {name}"


def test_the_generated_pages_are_current() -> None:
    for path, content in runpy.run_path(str(ROOT / "tools" / "docs.py"))["pages"]().items():
        assert path.read_text(encoding="utf-8") == content, f"{path.name} is old: make docs"


def test_reasons_that_the_guides_name_exist() -> None:
    for page in ("gateway.md", "operator.md"):
        text = (ROOT / "docs" / "guide" / page).read_text(encoding="utf-8")
        words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text))
        assert {word for word in words if word.startswith(("unknown_", "not_", "bad_"))} <= set(reasons.REASONS)


def test_every_dependency_stands_in_the_decision_with_its_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for name, extra in project["optional-dependencies"].items() if name != "dev" for line in extra)]
    table = (ROOT / "docs" / "decisions" / "0003-dependencies.md").read_text(encoding="utf-8").split("**Not chosen")[0]
    assert [name for line in wanted if (name := re.split(r"[\[<>=!;]", line)[0]) not in table] == []


def test_the_example_register_takes_the_readings_that_the_guide_sends(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'tcewatch.db'}")
    database.upgrade()
    now = datetime.now(UTC)
    register = RegisterStore(database)
    register.import_file(EXAMPLE, by="guide", known_from=now - timedelta(minutes=1))
    registers = register.registers(history=True)
    database.close()
    for page in ("README.md", "docs/guide/gateway.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        block = next(block for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if "mosquitto_pub" in block)
        topic = re.search(r"(?:own=|-t )(tce/v1/\d+/\w+/gw-1)", block)
        payload = re.search(r"-m '(.*?)}'\n", block, re.DOTALL)
        assert topic is not None
        assert payload is not None
        body = re.sub(r"'\$(?:now|\(.*?\))'", now.isoformat(timespec="seconds"), payload[1] + "}")
        decoded = decode([Message(1, "mqtt", f"{topic[1]}/readings", None, None, body.encode(), now, retained=False)], Routes([]))
        screened = screen(decoded.readings, registers, ScreenSettings())
        assert screened.accepted.height == 1, page
        assert screened.rejected["broken_rules"].explode().to_list() == (["unknown_meter"] if "E-009" in body else [])


def test_the_route_of_the_guide_is_a_valid_setting() -> None:
    text = (ROOT / "docs" / "guide" / "gateway.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (route,) = settings.build(tomllib.loads(block)).routes
    known = pl.read_csv(EXAMPLE / "gateway.csv", schema_overrides={"region": pl.String})
    assert (route.enterprise, route.gateway) in set(known.select("enterprise", "gateway").iter_rows())
