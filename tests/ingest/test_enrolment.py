"""Names, passwords, the broker's two files, and certificates."""

import os
import shutil
import stat
import subprocess
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import BadInputError
from ingest import certificates
from ingest.enrolment import AccessFiles, Identity, new_password, password_hash
from tests.faults.shipped import write_authority

SHIPPED = (Path(__file__).resolve().parents[2] / "deploy" / "mosquitto" / "acl").read_text(encoding="utf-8")
ONE, TWO = Identity("150600", "91150600EXAMPLE001", "gw-1"), Identity("150600", "91150600EXAMPLE002", "gw-1")
LONGER = Identity("150600", "91150600EXAMPLE001", "gw-10")
NOW = datetime(2026, 11, 20, 4, tzinfo=UTC)


@pytest.fixture
def files(tmp_path: Path) -> AccessFiles:
    (tmp_path / "acl").write_text(SHIPPED)
    return AccessFiles(tmp_path)


def test_a_name_is_unique_over_enterprises_and_a_topic_of_the_contract() -> None:
    assert len({ONE.user, TWO.user, LONGER.user}) == 3
    assert ONE.publishes[0] == "tce/v1/150600/91150600EXAMPLE001/gw-1/readings"
    assert set(ONE.publishes) & set(ONE.subscribes) == set()


@pytest.mark.parametrize("words", [
    ("15060", "91150600EXAMPLE001", "gw-1"), ("150600", "short", "gw-1"), ("150600", "91150600EXAMPLE001", "gw/1"),
    ("150600", "91150600EXAMPLE001", "+"), ("150600", "91150600EXAMPLE001", "gw\nuser tcewatch"),
    ("150600", "91150600EXAMPLE001", "x" * 65), ("150600", "91150600EXAMPLE001", ""),
])
def test_a_name_that_fits_no_topic_is_refused(words: tuple[str, str, str]) -> None:
    with pytest.raises(BadInputError, match="makes no topic"):
        Identity(*words)


def test_what_is_granted_is_taken_back_without_a_trace(files: AccessFiles, tmp_path: Path) -> None:
    files.grant(TWO, "second")
    before = [(tmp_path / name).read_text().strip() for name in ("acl", "passwords")]
    files.grant(ONE, "first")
    files.grant(LONGER, None)
    acl = (tmp_path / "acl").read_text()
    assert acl.startswith(SHIPPED)
    assert acl.count(f"user {ONE.user}\n") == acl.count(f"user {LONGER.user}\n") == 1
    assert f"topic write {ONE.root}/readings\n" in acl
    assert f"topic read {ONE.root}/receipts\n" in acl
    assert files.revoke(ONE.user)
    assert files.revoke(LONGER.user)
    assert not files.revoke(ONE.user)
    assert [(tmp_path / name).read_text().strip() for name in ("acl", "passwords")] == before


def test_a_second_grant_replaces_topics_and_password(files: AccessFiles, tmp_path: Path) -> None:
    files.grant(ONE, "first")
    old = (tmp_path / "passwords").read_text()
    moved = Identity("150700", ONE.enterprise, ONE.gateway)
    files.grant(moved, "second")
    acl, passwords = (tmp_path / "acl").read_text(), (tmp_path / "passwords").read_text()
    assert ONE.root not in acl
    assert acl.count(moved.root) == 6
    assert passwords.count("\n") == 1
    assert passwords != old
    files.grant(moved, None)  # from a password to a certificate
    assert (tmp_path / "passwords").read_text() == ""


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from([ONE, TWO, LONGER]), st.sampled_from(["grant", "cert", "revoke"])), max_size=8))
def test_the_files_hold_what_the_last_word_on_each_was(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Identity, str]]) -> None:
    folder = tmp_path_factory.mktemp("access")
    (folder / "acl").write_text(SHIPPED)
    files, last = AccessFiles(folder), {}
    for identity, what in steps:
        last[identity.user] = what
        if what == "revoke":
            files.revoke(identity.user)
        else:
            files.grant(identity, "x" if what == "grant" else None)
    acl = (folder / "acl").read_text()
    named = [line.removeprefix("user ") for line in acl.splitlines() if line.startswith("user ")]
    assert sorted(named) == sorted(["tcewatch", *(user for user, what in last.items() if what != "revoke")])
    assert len([line for line in acl.splitlines() if line.startswith("topic ")]) == SHIPPED.count("\ntopic ") + 6 * (len(named) - 1)
    held = (folder / "passwords").read_text().splitlines() if (folder / "passwords").exists() else []
    assert sorted(line.split(":")[0] for line in held) == sorted(user for user, what in last.items() if what == "grant")


def test_the_files_keep_who_may_read_them(files: AccessFiles, tmp_path: Path) -> None:
    (tmp_path / "acl").chmod(0o640)
    files.grant(ONE, "first")
    assert stat.S_IMODE((tmp_path / "acl").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "passwords").stat().st_mode) == 0o600
    (tmp_path / "passwords").chmod(0o660)
    if os.geteuid() == 0:
        os.chown(tmp_path / "passwords", 1234, 1235)
    files.grant(TWO, "second")
    kept = (tmp_path / "passwords").stat()
    assert stat.S_IMODE(kept.st_mode) == 0o660
    assert os.geteuid() != 0 or (kept.st_uid, kept.st_gid) == (1234, 1235)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acl", "passwords"]


def test_a_write_that_fails_leaves_the_file_as_it_was(files: AccessFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.grant(ONE, "first")
    before = {name: (tmp_path / name).read_bytes() for name in ("acl", "passwords")}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ingest.enrolment.os.fsync", full)
    with pytest.raises(BadInputError, match="No space left"):
        files.grant(TWO, "second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"acl: cannot be read .* access_dir"):
        AccessFiles(tmp_path).grant(ONE, "first")


def test_a_password_is_long_random_and_plain_to_type() -> None:
    some = {new_password() for _ in range(50)}
    assert len(some) == 50
    assert all(len(one) == 32 and one.replace("-", "").replace("_", "").isalnum() for one in some)


@pytest.mark.skipif(shutil.which("mosquitto_passwd") is None, reason="no mosquitto_passwd here")
def test_a_password_is_hashed_as_mosquitto_passwd_does(tmp_path: Path) -> None:
    theirs = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", theirs, "someone", "a secret"], check=True, capture_output=True)
    user, _, hashed = theirs.read_text().strip().partition(":")
    assert user == "someone"
    assert password_hash("a secret", b64decode(hashed.split("$")[3])) == hashed
    assert password_hash("a secret") != password_hash("a secret")


# --- certificates ---

@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    folder = tmp_path_factory.mktemp("authority")
    write_authority(folder)
    return (folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes()


def test_a_signed_certificate_says_who_and_until_when(authority: tuple[bytes, bytes]) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    key, request = certificates.new_request(ONE.user)
    facts = certificates.examine(certificates.sign(request, *authority, at=now, days=3), authority[0])
    assert facts == (ONE.user, now - timedelta(hours=1), now + timedelta(days=3), True, True)
    assert b"BEGIN PRIVATE KEY" in key


def test_a_certificate_of_another_authority_is_told(authority: tuple[bytes, bytes], tmp_path: Path) -> None:
    write_authority(tmp_path)
    _, request = certificates.new_request(ONE.user)
    signed = certificates.sign(request, *authority, at=datetime.now(UTC), days=3)
    assert certificates.examine(signed, (tmp_path / "ca.pem").read_bytes()).issued_by_ca is False
    assert certificates.examine(signed, None).issued_by_ca is None
    assert certificates.examine(signed + (tmp_path / "ca.pem").read_bytes(), authority[0]).issued_by_ca is True


def test_what_cannot_sign_is_told_at_once(authority: tuple[bytes, bytes], tmp_path: Path) -> None:
    write_authority(tmp_path)
    _, request = certificates.new_request(ONE.user)
    server, server_key, ca = ((tmp_path / name).read_bytes() for name in ("server.pem", "server.key", "ca.pem"))
    now = datetime.now(UTC)
    for pair, what in (((server, server_key), "no certificate of an authority"), ((ca, authority[1]), "is not the key"),
                       ((b"x", authority[1]), "cannot be read as a certificate"), ((authority[0], b"x"), "cannot be read as a private key")):
        with pytest.raises(BadInputError, match=what):
            certificates.sign(request, *pair, at=now, days=3)
    with pytest.raises(BadInputError, match="beyond the end of the CA's own"):
        certificates.sign(request, *authority, at=now, days=30)


def test_a_name_longer_than_a_certificate_carries_is_refused() -> None:
    fits = Identity("150600", ONE.enterprise, "x" * 45)
    assert certificates.new_request(fits.user).request
    with pytest.raises(BadInputError, match="65 characters"):
        certificates.new_request(Identity("150600", ONE.enterprise, "x" * 46).user)
