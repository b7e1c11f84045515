"""Grafana's data sources and board: they fit together, and their queries run on a real InfluxDB."""

import json
import re
import time
import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
SOURCES = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "tcewatch.yaml").read_text(encoding="utf-8"))["datasources"]
BOARD = json.loads((GRAFANA / "dashboards" / "park.json").read_text(encoding="utf-8"))
FLUX = [panel for panel in BOARD["panels"] if panel["datasource"]["type"] == "influxdb"]
VARIABLES = {variable["name"]: variable["query"]["query"] for variable in BOARD["templating"]["list"]}


def test_every_panel_and_variable_names_a_provisioned_data_source() -> None:
    known = {source["uid"]: source["type"] for source in SOURCES}
    used = [panel["datasource"] for panel in BOARD["panels"]] + [target["datasource"] for panel in BOARD["panels"] for target in panel["targets"]]
    used += [variable["datasource"] for variable in BOARD["templating"]["list"]]
    assert all(known[source["uid"]] == source["type"] for source in used)


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    places = (panel["gridPos"] for panel in BOARD["panels"])
    cells = Counter((x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24


def test_every_panel_says_what_it_shows_and_asks_for_something() -> None:
    for panel in BOARD["panels"]:
        assert panel["title"]
        assert panel["description"]
        assert panel["targets"]
        assert all(target.get("query") or target.get("expr") for target in panel["targets"])


def test_every_variable_of_a_query_is_defined() -> None:
    queries = [target["query"] for panel in FLUX for target in panel["targets"]] + list(VARIABLES.values())
    assert {name for query in queries for name in re.findall(r"\$\{(\w+)\}", query)} <= set(VARIABLES)


def test_the_board_is_where_its_provider_looks() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "tcewatch.yaml").read_text(encoding="utf-8"))["providers"]
    compose = yaml.safe_load((GRAFANA.parent / "compose.yaml").read_text(encoding="utf-8"))
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"


def post(influx: Any, path: str, body: str, kind: str) -> str:
    head = {"Authorization": f"Token {influx.token}", "Content-Type": kind, "Accept": "application/csv"}
    with urllib.request.urlopen(urllib.request.Request(influx.url + path, body.encode(), head), timeout=20) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def filled(influx: Any) -> Any:
    """An InfluxDB with a bucket of its own, and in it half a day of one register and a conflicting value."""
    head = {"Authorization": f"Token {influx.token}"}
    with urllib.request.urlopen(urllib.request.Request(f"{influx.url}/api/v2/orgs?org={influx.org}", headers=head), timeout=20) as answer:
        org_id = json.load(answer)["orgs"][0]["id"]
    influx = replace(influx, bucket="board")
    post(influx, "/api/v2/buckets", json.dumps({"orgID": org_id, "name": influx.bucket, "retentionRules": []}), "application/json")
    hour = int(time.time()) // 3600 * 3600
    series, rest = "reading,enterprise=BOARD,meter=E-1,register=main", "quality=0i,received_at=1i,message=1i"
    lines = [f"{series} value={100.0 + number},{rest} {(hour - 600 * number) * 1_000_000}" for number in range(30)]
    lines.append(f"{series},copy=1 value=7.0,{rest} {hour * 1_000_000}")
    post(influx, f"/api/v2/write?org={influx.org}&bucket={influx.bucket}&precision=us", "\n".join(lines), "text/plain")
    return influx


@pytest.mark.needs("influxd")
@pytest.mark.enable_socket
class TestQueries:
    """Each query, with the variables put in, on readings as the store writes them."""

    def rows(self, influx: Any, query: str) -> list[str]:
        query = query.replace("${enterprise}", "BOARD").replace("${meter}", "E-1").replace('"tcewatch"', f'"{influx.bucket}"')
        query = query.replace("v.timeRangeStart", "-24h").replace("v.timeRangeStop", "now()")
        answer = post(influx, f"/api/v2/query?org={influx.org}", query, "application/vnd.flux")
        return [line for line in answer.splitlines() if line.startswith(",_result")]

    @pytest.mark.parametrize("panel", FLUX, ids=[panel["title"] for panel in FLUX])
    def test_a_panel_shows_rows(self, filled: Any, panel: dict[str, Any]) -> None:
        for target in panel["targets"]:
            assert self.rows(filled, target["query"])

    def test_the_conflict_is_alone_in_its_panel(self, filled: Any) -> None:
        (panel,) = [panel for panel in FLUX if panel["title"] == "Conflicting values"]
        assert len(self.rows(filled, panel["targets"][0]["query"])) == 1

    @pytest.mark.parametrize(("name", "value"), [("enterprise", "BOARD"), ("meter", "E-1")])
    def test_a_variable_lists_what_is_stored(self, filled: Any, name: str, value: str) -> None:
        assert any(line.endswith(f",{value}") for line in self.rows(filled, VARIABLES[name]))
