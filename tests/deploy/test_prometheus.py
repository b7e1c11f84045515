"""Prometheus' rules and scrape settings: metrics that exist, services that exist, and promtool where it is there."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = [
    rule for group in yaml.safe_load((PROMETHEUS / "tcewatch.rules.yml").read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
EXPORTED = re.findall(r'(Counter|Gauge)MetricFamily\("(\w+)"', (ROOT / "portal" / "metrics.py").read_text(encoding="utf-8"))
METRICS = {f"{name}_total" if kind == "Counter" else name for kind, name in EXPORTED}


def test_every_rule_and_panel_asks_for_metrics_that_are_exported() -> None:
    board = (ROOT / "deploy" / "grafana" / "dashboards" / "park.json").read_text(encoding="utf-8")
    asked = " ".join([rule["expr"] for rule in RULES] + re.findall(r'"expr": "(.*)"', board))
    names = {name for name in re.findall(r"\btcewatch_\w+", asked) if not name.endswith("_")}
    assert names
    assert names <= METRICS


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_every_alert_says_what_happened_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["action"].endswith(".")


def test_every_target_is_a_service_and_its_port() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = dict(target.split(":") for job in jobs for static in job["static_configs"] for target in static["targets"])
    assert set(targets) == {name for name, service in compose.items() if service["image"].startswith("tcewatch:")}
    for name, port in targets.items():
        assert f"127.0.0.1:{port}/" in compose[name]["healthcheck"]["test"][-1]


def test_promtool_finds_nothing_wrong_and_the_rules_fire_when_they_should(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here (apt-get install prometheus)")
    for file in PROMETHEUS.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "token").write_text("token")
    tests = (Path(__file__).parent / "rules_test.yml").read_text(encoding="utf-8").replace("RULES", "tcewatch.rules.yml")
    (tmp_path / "rules_test.yml").write_text(tests)
    for words in (["check", "config", "prometheus.yml"], ["check", "rules", "tcewatch.rules.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run([promtool, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
