"""`tcewatch gateway enroll` and `gateway check` as people use them."""

import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from typer.testing import CliRunner, Result

from config import settings as site_settings
from config.errors import BadInputError
from ingest.enrolment import password_hash
from pipeline.site import Site
from portal.cli.gateway import app
from store.journal import Arrival
from tests.faults.shipped import write_authority

ROOT = Path(__file__).resolve().parents[2]
ENTERPRISE, USER = "91159901MA0EXAMP83", "91159901MA0EXAMP83_gw-1"
TOPIC = f"tce/v1/159901/{ENTERPRISE}/gw-1"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings, the example register and the first access list."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "acl").write_bytes((ROOT / "deploy" / "mosquitto" / "acl").read_bytes())
    (tmp_path / "tcewatch.toml").write_text('[mqtt]\naccess_dir = "broker"\ngateway_url = "mqtts://mqtt.example"\n')
    with_register(tmp_path)
    return tmp_path


def opened(folder: Path) -> Site:
    return Site(site_settings.load(folder / "tcewatch.toml"))


def with_register(folder: Path) -> None:
    one = opened(folder)
    one.register.import_file(ROOT / "docs" / "guide" / "example-register", by="tests", known_from=datetime(2024, 1, 1, tzinfo=UTC))
    one.close()


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def told(*words: str) -> dict[str, Any]:
    done = call(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def audited(folder: Path) -> list[tuple[str, str, str]]:
    one = opened(folder)
    rows = one.audit.entries().select("action", "subject", "details").rows()
    assert one.audit.verify().broken is None
    one.close()
    return [row for row in rows if row[0].startswith("gateway.")]


def test_enrolling_tells_all_that_an_integrator_enters_and_writes_the_hash_only(site: Path) -> None:
    found = told("enroll", ENTERPRISE, "gw-1")
    assert (found["host"], found["port"], found["tls"], found["user"], found["client_id"]) == ("mqtt.example", 8883, "yes", USER, USER)
    assert found["publish"] == [f"{TOPIC}/{kind}" for kind in ("readings", "backfill", "state", "sandbox")]
    assert found["subscribe"] == [f"{TOPIC}/receipts", f"{TOPIC}/requests"]
    assert "reload mosquitto" in found["reload"]
    name, _, hashed = (site / "broker" / "passwords").read_text().strip().partition(":")
    assert (name, hashed) == (USER, password_hash(found["password"], b64decode(hashed.split("$")[3])))
    everything = b"".join(path.read_bytes() for path in site.rglob("*") if path.is_file())
    assert found["password"].encode() not in everything
    assert audited(site) == [("gateway.enroll", f"{ENTERPRISE}/gw-1", json.dumps({"by": "password", "region": "159901", "user": USER}))]


def test_a_gateway_of_another_format_gets_the_topics_of_its_routes(site: Path) -> None:
    routes = f'[[routes]]\ntopic = "shelly/#"\nenterprise = "{ENTERPRISE}"\ngateway = "gw-1"\nprofile = "shelly"\n'
    with (site / "tcewatch.toml").open("a") as settings:
        settings.write(routes + routes.replace("gw-1", "gw-2").replace("shelly/#", "other/#"))
    found = told("enroll", ENTERPRISE, "gw-1")
    assert found["publish"][-1] == found["subscribe"][-1] == "shelly/#"
    acl = (site / "broker" / "acl").read_text()
    assert "topic write shelly/#\n" in acl
    assert "topic read shelly/#\n" in acl
    assert "other/#" not in acl


def test_as_text_the_password_is_shown_once_and_what_to_do_next_stands_apart(site: Path) -> None:
    done = call("enroll", ENTERPRISE, "gw-1")
    assert done.exit_code == 0
    assert done.stdout.count("password") == 1
    assert f"publish           {TOPIC}/readings\n" in done.stdout
    assert "cannot be shown again" in done.stderr
    assert "reload mosquitto" in done.stderr


def test_enrolling_again_makes_another_password_and_revoking_takes_all_away(site: Path) -> None:
    first, second = told("enroll", ENTERPRISE, "gw-1"), told("enroll", ENTERPRISE, "gw-1")
    assert first["password"] != second["password"]
    assert (site / "broker" / "passwords").read_text().count("\n") == 1
    assert told("enroll", ENTERPRISE, "gw-1", "--revoke")["user"] == USER
    assert (site / "broker" / "passwords").read_text() == ""
    assert USER not in (site / "broker" / "acl").read_text()
    assert [row[0] for row in audited(site)] == ["gateway.enroll", "gateway.enroll", "gateway.revoke"]
    again = call("enroll", ENTERPRISE, "gw-1", "--revoke")
    assert isinstance(again.exception, BadInputError)
    assert len(audited(site)) == 3


def test_a_gateway_that_is_not_registered_is_not_let_in(site: Path) -> None:
    for words in (("enroll", ENTERPRISE, "gw-9"), ("enroll", "91159901MA0EXAMP84", "gw-1"), ("check", ENTERPRISE, "gw-9")):
        done = call(*words)
        assert isinstance(done.exception, BadInputError)
        assert "is not in the register" in str(done.exception)
        assert not (site / "broker" / "passwords").exists()
    assert audited(site) == []


def test_without_a_folder_to_write_to_it_says_which_setting_is_missing(site: Path) -> None:
    (site / "tcewatch.toml").write_text("[mqtt]\n")
    done = call("enroll", ENTERPRISE, "gw-1", "--cert")
    assert "[mqtt] access_dir" in str(done.exception)
    assert list(site.glob("*.key")) == []
    (site / "tcewatch.toml").write_text('[mqtt]\naccess_dir = "nowhere"\n')
    assert "nowhere/acl" in str(call("enroll", ENTERPRISE, "gw-1").exception)
    assert audited(site) == []  # what was not done is in no audit


def test_a_key_and_a_request_are_for_the_owners_eyes_and_no_password_remains(site: Path) -> None:
    told("enroll", ENTERPRISE, "gw-1")
    found = told("enroll", ENTERPRISE, "gw-1", "--cert")
    assert "password" not in found
    assert (site / "broker" / "passwords").read_text() == ""
    assert f"user {USER}\n" in (site / "broker" / "acl").read_text()
    request = x509.load_pem_x509_csr(Path(found["request_file"]).read_bytes())
    assert request.subject.rfc4514_string() == f"CN={USER}"
    assert request.is_signature_valid
    assert Path(found["key_file"]).stat().st_mode & 0o777 == 0o600


def test_an_authority_signs_at_once_and_the_report_knows_its_certificate(site: Path) -> None:
    write_authority(site)
    found = told("enroll", ENTERPRISE, "gw-1", "--cert", "--ca-cert", "ca.pem", "--ca-key", "ca.key", "--days", "5", "--out", "new/keys")
    assert "request_file" not in found
    assert Path(found["key_file"]).parent == Path("new/keys")  # made where it was not there
    report = told("check", ENTERPRISE, "gw-1", "--certificate", found["certificate_file"], "--ca-cert", "ca.pem")
    verdicts = {one["id"]: one["verdict"] for one in report["checks"]}
    assert verdicts == {"arrival": "fail", "certificate": "warn"}  # five days are left
    bad = call("enroll", ENTERPRISE, "gw-1", "--cert", "--ca-cert", "ca.pem", "--ca-key", "server.key")
    assert "is not the key of --ca-cert" in str(bad.exception)


@pytest.mark.parametrize("words", [["--ca-cert", "x"], ["--cert", "--ca-key", "x"], ["--cert", "--revoke"], ["--ca-cert", "x", "--ca-key", "x"]])
def test_options_that_do_not_go_together_are_refused(site: Path, words: list[str]) -> None:
    assert call("enroll", ENTERPRISE, "gw-1", *words).exit_code == 2


def payload(seq: int) -> bytes:
    at = (datetime.now(UTC) - timedelta(seconds=2)).isoformat()
    reading = {"meter": "E-001", "register": "active_import", "ts": at, "value": 1}
    return json.dumps({"v": 1, "epoch": "e", "seq": seq, "readings": [reading]}).encode()


def test_a_check_looks_at_what_the_gateway_sent_lately_in_the_journal(site: Path) -> None:
    one, now = opened(site), datetime.now(UTC)
    one.journal.append([
        Arrival("mqtt", f"{TOPIC}/readings", None, None, payload(1), now - timedelta(hours=1)),
        Arrival("mqtt", f"{TOPIC}/readings", None, None, payload(7), now), Arrival("mqtt", f"{TOPIC}/sandbox", None, None, payload(1), now),
        Arrival("mqtt", TOPIC.replace("gw-1", "gw-2") + "/readings", None, None, payload(1), now), Arrival("mqtt", "elsewhere", None, None, b"", now),
    ])
    one.close()
    lately, longer = told("check", ENTERPRISE, "gw-1"), told("check", ENTERPRISE, "gw-1", "--seconds", "7200")
    assert (lately["messages"], longer["messages"]) == (2, 3)
    assert {found["id"]: found["verdict"] for found in lately["checks"]}["sequence"] == "warn"  # the epoch is no instant
    text = call("check", ENTERPRISE, "gw-1")
    assert text.exit_code == 0  # a verdict is data
    assert "WARN        Sequence 序号" in text.stdout
    assert "不是带时区偏移的ISO时间" in text.stdout


@pytest.mark.parametrize(("content", "messages"), [
    (payload(1), 1), (payload(1) + b"\n" + payload(2) + b"\n", 2), (f"{TOPIC}/sandbox ".encode() + payload(1) + b"\n", 1), (b"{", 1),
    (json.dumps(json.loads(payload(1)), indent=1).encode(), 1),
], ids=["one", "lines", "log", "broken", "many lines of one"])
def test_a_check_reads_payloads_from_a_file(site: Path, content: bytes, messages: int) -> None:
    (site / "sent").write_bytes(content)
    found = told("check", ENTERPRISE, "gw-1", "--file", "sent")
    assert found["messages"] == messages
    verdicts = {one["id"]: one["verdict"] for one in found["checks"]}
    assert verdicts["clock"] == "not_checked"
    assert verdicts["schema"] == ("fail" if len(content) < 2 else "pass")
