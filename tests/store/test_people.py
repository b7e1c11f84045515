import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import text

from config.errors import BadInputError
from store.audit import AuditLog
from store.database import Database
from store.people import People, Principal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _quick_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    monkeypatch.setattr(PasswordHash, "recommended", lambda: cheap)


@pytest.fixture
def people(database: Database) -> People:
    return People(database)


def test_the_first_person_must_be_an_administrator(people: People) -> None:
    with pytest.raises(BadInputError, match="no administrator"):
        people.add_user("viewer", PASSWORD, ["viewer"], None, NOW)
    people.add_user("boss", PASSWORD, ["admin"], None, NOW)
    people.add_user("viewer", PASSWORD, ["viewer"], ["north"], NOW)
    assert people.users().select("name", "roles", "parks").rows() == [("boss", ["admin"], None), ("viewer", ["viewer"], ["north"])]


@pytest.mark.parametrize(("length", "fits"), [(11, False), (12, True), (256, True), (257, False)])
def test_a_password_has_12_to_256_characters(people: People, length: int, fits: bool) -> None:
    if fits:
        people.add_user("boss", "密" * length, ["admin"], None, NOW)
        assert people.login("boss", "密" * length, NOW) == Principal("boss", frozenset({"admin"}), None)
    else:
        with pytest.raises(BadInputError, match=f"has {length} characters"):
            people.add_user("boss", "x" * length, ["admin"], None, NOW)


def test_every_problem_of_a_new_person_is_told_at_once(people: People) -> None:
    with pytest.raises(BadInputError) as caught:
        people.add_user("a\nb", "short", ["king", "admin"], None, NOW)
    assert [problem.where for problem in caught.value.problems] == ["role", "user name", "password"]


def test_a_name_is_given_once(people: People) -> None:
    people.add_user("boss", PASSWORD, ["admin"], None, NOW)
    with pytest.raises(BadInputError, match="exists"):
        people.add_user("boss", PASSWORD, ["admin"], None, NOW)


@pytest.mark.parametrize(("name", "password"), [
    ("boss", PASSWORD + "r"), ("boss", ""), ("ghost", PASSWORD), ("", ""), ("boss\x00", PASSWORD), ("boss", "\ud800" * 12), ("boss", "x" * 100_000),
])
def test_a_wrong_name_or_password_is_nobody(people: People, name: str, password: str) -> None:
    people.add_user("boss", PASSWORD, ["admin"], None, NOW)
    assert people.login(name, password, NOW) is None


def test_an_unknown_name_costs_as_much_hashing_as_a_wrong_password(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    people.add_user("boss", PASSWORD, ["admin"], None, NOW)
    checked: list[str] = []
    verify = people._hashes.verify

    def counted(password: str, hashed: str) -> bool:
        checked.append(hashed[:20])
        return verify(password, hashed)

    monkeypatch.setattr(people._hashes, "verify", counted)
    people.login("boss", "wrong password", NOW)
    people.login("ghost", "wrong password", NOW)
    assert len(checked) == 2
    assert checked[0] == checked[1]  # the same algorithm with the same cost


def test_what_is_stored_gives_neither_password_nor_token_back(people: People, database: Database) -> None:
    people.add_user("boss", PASSWORD, ["admin"], None, NOW)
    secret = people.add_token("machine", ["read"], None, NOW, None)
    with database.reading() as session:
        rows = [row for table in ("person", "token", "audit") for row in session.execute(text(f"SELECT * FROM {table}"))]
    stored = "\n".join(str(cell) for row in rows for cell in row)
    assert PASSWORD not in stored
    assert secret not in stored
    assert "$argon2id$" in stored
    assert hashlib.sha256(secret.encode()).hexdigest() in stored


def test_a_token_holds_at_least_32_random_bytes_and_never_repeats(people: People) -> None:
    texts = [people.add_token(f"t{number}", ["read"], None, NOW, None).removeprefix("tce_") for number in range(20)]
    assert len(set(texts)) == 20
    assert min(map(len, texts)) >= 43  # 32 bytes in base64


def test_a_token_stands_for_its_scopes_and_parks(people: People) -> None:
    secret = people.add_token("machine", ["readings", "alerts"], ["north"], NOW, None)
    principal = people.token(secret, NOW)
    assert principal == Principal("token:machine", frozenset({"viewer"}), frozenset({"north"}), frozenset({"readings", "alerts"}))
    assert principal.allows("readings")
    assert not principal.allows("verdicts")


def test_the_scope_read_is_all_scopes_and_a_person_has_no_such_bound(people: People) -> None:
    principal = people.token(people.add_token("machine", ["read"], None, NOW, None), NOW)
    assert principal is not None
    assert principal.allows("verdicts")
    assert Principal("boss", frozenset({"admin"}), None).allows("verdicts")


@pytest.mark.parametrize(("after", "holds"), [(timedelta(days=1) - timedelta(microseconds=1), True), (timedelta(days=1), False)])
def test_a_token_ends_at_its_expiry(people: People, after: timedelta, holds: bool) -> None:
    secret = people.add_token("machine", ["read"], None, NOW, NOW + timedelta(days=1))
    assert (people.token(secret, NOW + after) is not None) == holds


def test_a_revoked_token_is_refused_and_cannot_be_revoked_again(people: People) -> None:
    secret = people.add_token("machine", ["read"], None, NOW, None)
    people.revoke_token("machine", NOW)
    assert people.token(secret, NOW) is None
    with pytest.raises(BadInputError, match="no token 'machine' in use"):
        people.revoke_token("machine", NOW)


@pytest.mark.parametrize("given", ["", "tce_", "tce_x", "\x00", "\ud800"])
def test_a_token_that_nobody_made_is_nobody(people: People, given: str) -> None:
    assert people.token(given, NOW) is None


def test_a_token_needs_known_scopes_a_free_name_and_an_end_that_is_to_come(people: People) -> None:
    people.add_token("machine", ["read"], None, NOW, None)
    for name, scopes, end, said in (
        ("machine", ["read"], None, "exists"), ("b", ["write"], None, "'write' is not known"), ("b", [], None, "none is given"),
        ("b", ["read"], NOW, "has passed"),
    ):
        with pytest.raises(BadInputError, match=said):
            people.add_token(name, scopes, None, NOW, end)


def test_people_and_tokens_leave_audit_records(people: People, database: Database) -> None:
    people.add_user("boss", PASSWORD, ["admin"], None, NOW, by="root")
    people.add_token("machine", ["read"], None, NOW, None, by="boss")
    people.revoke_token("machine", NOW, by="boss")
    assert AuditLog(database).entries().select("by", "action", "subject").rows() == [
        ("root", "user.add", "boss"), ("boss", "token.add", "machine"), ("boss", "token.revoke", "machine"),
    ]
