"""What the broker's configuration says. That a real Mosquitto does so is in tests/faults/test_abuse.py."""

import re
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto"
CONF = (SOURCE / "mosquitto.conf").read_text(encoding="utf-8")
OPTIONS = dict(re.findall(r"^([a-z_]+) +(\S+)$", CONF, re.MULTILINE))


def test_the_limits_say_what_the_contract_needs() -> None:
    assert int(OPTIONS["max_queued_messages"]) >= 1_000_000  # never 0: before 2.0.22 that could mean none
    assert 65_536 < int(OPTIONS["max_packet_size"]) <= 70_000
    assert int(OPTIONS["memory_limit"]) > int(OPTIONS["max_queued_bytes"])
    assert OPTIONS["persistence"] == OPTIONS["autosave_on_changes"] == OPTIONS["set_tcp_nodelay"] == "true"
    assert "retain_available" not in OPTIONS
    assert "2.0.22" in CONF.split("listener")[0]


def test_the_access_list_names_no_gateway_and_gives_the_platform_what_it_publishes() -> None:
    lines = [line for line in (SOURCE / "acl").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if line.startswith("user ")] == ["user tcewatch"]
    assert not [line for line in lines if line.startswith("pattern ")]
    assert {"topic write tce/v1/+/+/+/receipts", "topic write tce/v1/+/+/+/requests"} <= set(lines)
