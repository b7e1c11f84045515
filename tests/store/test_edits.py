"""Edits: who may agree to what, what counts when, and that evidence stays what it was."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from config.errors import BadInputError, StoreUnavailableError
from config.schemas import EDIT
from store import edits as module
from store.audit import AuditLog
from store.database import Database
from store.edits import Edits
from store.models import EVIDENCE
from store.register import RegisterStore

STEEL = "91150400MA0EXAMP0J"
AT = datetime(2026, 3, 1, tzinfo=UTC)
NOW = AT + timedelta(days=2)
LATER = NOW + timedelta(hours=1)
ESTIMATE = {"kind": "estimate", "end": AT + timedelta(hours=6), "value": 12.0, "low": 10.0, "high": 15.0, "method": "manual"}
EXCLUDE = {"kind": "exclude", "end": AT + timedelta(hours=1)}
REPLACE = {"kind": "replace", "value": 5.0}
CONFIRM = {"kind": "confirm", "end": AT + timedelta(hours=1)}


def row(**values: Any) -> dict[str, Any]:
    return {"enterprise": STEEL, "meter": "E-1", "register": "import", "start": AT, "reason": "photo of the display", **values}


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), infer_schema_length=None)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    one = Database(f"sqlite:///{tmp_path}/tcewatch.db")
    one.upgrade()
    registers = [("import", False), ("net", True)]
    RegisterStore(one).apply({
        "region": pl.DataFrame({"region": ["150400"]}),
        "park": pl.DataFrame({"park": ["north"], "region": ["150400"]}),
        "enterprise": pl.DataFrame({"enterprise": [STEEL], "name_zh": ["示例钢铁"], "park": ["north"]}),
        "gateway": pl.DataFrame({"enterprise": [STEEL], "gateway": ["gw-1"], "region": ["150400"]}),
        "meter": pl.DataFrame({"enterprise": [STEEL], "meter": ["E-1"], "gateway": ["gw-1"], "medium": ["electricity"]}),
        "register": pl.DataFrame([
            {"enterprise": STEEL, "meter": "E-1", "register": name, "unit": "kWh", "kind": "cumulative", "net": net} for name, net in registers
        ]),
    }, by="x", known_from=AT)
    yield one
    one.close()


@pytest.fixture
def edits(database: Database, tmp_path: Path) -> Edits:
    folder = tmp_path / "evidence"
    folder.mkdir()
    return Edits(database, folder, zone="Asia/Shanghai")


def proposed(edits: Edits, *rows: dict[str, Any], maker: str = "Wang Li") -> list[int]:
    return edits.propose(frame(*rows), maker=maker, at=NOW)


@pytest.mark.parametrize(("register", "kind", "taken"), [
    ("pressure", EXCLUDE, True), ("pressure", REPLACE, True), ("pressure", ESTIMATE, False), ("pressure", CONFIRM, False),
    ("half", EXCLUDE, False), ("half", REPLACE, False), ("half", ESTIMATE, True), ("half", CONFIRM, False),
])
def test_an_edit_without_any_effect_on_its_kind_of_register_is_refused(
    edits: Edits, database: Database, register: str, kind: dict[str, Any], taken: bool,
) -> None:
    more: list[dict[str, Any]] = [
        {"register": "pressure", "unit": "kPa_abs", "kind": "state", "formula": None},
        {"register": "half", "unit": "kWh", "kind": "derived", "formula": "0.5 * E-1.import"},
    ]
    RegisterStore(database).apply({"register": pl.DataFrame([{"enterprise": STEEL, "meter": "E-1", **one} for one in more])}, by="x", known_from=AT)
    if taken:
        assert proposed(edits, row(**kind, register=register)) == [1]
    else:
        assert "column kind" in refusal(edits.propose, frame(row(**kind, register=register)), maker="Wang Li", at=NOW)


def refusal(work: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(BadInputError) as raised:
        work(*arguments, **named)
    return str(raised.value)


def test_an_edit_counts_from_the_check_by_another_person_until_a_withdrawal_is_checked(edits: Edits) -> None:
    assert (edits.version(), edits.effective().to_dicts()) == (0, [])
    [one] = proposed(edits, row(**ESTIMATE))
    assert edits.effective().is_empty()
    assert edits.version() == 0
    assert edits.waiting()["state"].to_list() == ["waiting"]
    assert edits.check([one], checker="Zhao", at=LATER) == 1
    counting = edits.effective()
    assert counting.schema == EDIT
    assert counting.select("edit", "register_key", "value", "maker", "checker", "known_from").row(0) == (one, 1, 12.0, "Wang Li", "Zhao", LATER)
    assert edits.waiting().is_empty()
    assert edits.withdraw([one], by="Zhao", at=LATER, reason="the meter's own log was found") == 1
    assert edits.effective()["edit"].to_list() == [one]  # until another person agrees
    ended = LATER + timedelta(hours=1)
    assert edits.check([one], checker="Wang Li", at=ended) == 1
    assert edits.effective().is_empty()
    assert edits.rows()["state"].to_list() == ["withdrawn"]
    assert [edits.effective(at).height for at in (NOW, LATER, ended - timedelta(microseconds=1), ended)] == [0, 1, 1, 0]
    assert edits.effective(LATER).equals(counting)  # as it was seen then
    assert edits.history(one)["step"].to_list() == ["proposed", "checked", "withdrawal_asked", "withdrawn"]
    assert edits.history(one)["by"].to_list() == ["Wang Li", "Zhao", "Zhao", "Wang Li"]


@pytest.mark.parametrize("checker", ["Wang Li", "wang li ", "ＷＡＮＧ Li", "Wang  Li", "Wang\u200b Li"])
def test_nobody_agrees_to_what_is_their_own(edits: Edits, checker: str) -> None:
    ids = proposed(edits, row(**EXCLUDE), row(**REPLACE))
    assert "made by Wang Li, who cannot check it too" in refusal(edits.check, ids, checker=checker, at=LATER)
    assert "made by Wang Li" in refusal(edits.refuse, ids, checker=checker, at=LATER, reason="no")
    assert edits.effective().is_empty()
    edits.check(ids, checker="Zhao", at=LATER)
    edits.withdraw(ids, by="Wang Li", at=LATER, reason="a mistake")
    assert "asked to be withdrawn by Wang Li" in refusal(edits.check, ids, checker=checker, at=LATER)
    assert edits.effective().height == 2


def test_what_is_refused_never_counts_and_a_refused_withdrawal_leaves_the_edit(edits: Edits) -> None:
    first, second = proposed(edits, row(**EXCLUDE), row(**REPLACE))
    assert edits.refuse([first], checker="Zhao", at=LATER, reason="the photo shows another meter") == 1
    assert edits.rows(ids=[first])["state"].item() == "refused"
    edits.check([second], checker="Zhao", at=LATER)
    edits.withdraw([second], by="Wang Li", at=LATER, reason="a mistake")
    version = edits.version()
    edits.refuse([second], checker="Zhao", at=LATER, reason="it is right")
    assert edits.version() == version  # what counts has not changed
    assert edits.rows(ids=[second]).select("state", "withdrawn_by").row(0) == ("effective", None)
    assert edits.history(second)["step"].to_list() == ["proposed", "checked", "withdrawal_asked", "withdrawal_refused"]
    for again in (edits.check, lambda ids, **named: edits.refuse(ids, reason="no", **named)):
        assert "is refused" in refusal(again, [first], checker="Qian", at=LATER)
    assert "does not exist" in refusal(edits.check, [99], checker="Zhao", at=LATER)


def test_a_maker_takes_back_what_still_waits_and_nobody_elses(edits: Edits) -> None:
    first, second = proposed(edits, row(**EXCLUDE), row(**REPLACE))
    assert "waits and was made by Wang Li" in refusal(edits.withdraw, [first], by="Zhao", at=LATER, reason="no")
    edits.withdraw([first], by="wang li", at=LATER, reason="typed twice")
    assert edits.waiting()["edit"].to_list() == [second]
    assert edits.version() == 0
    assert "is withdrawn" in refusal(edits.withdraw, [first], by="Wang Li", at=LATER, reason="again")


def test_a_reason_and_a_name_are_asked_for(edits: Edits) -> None:
    [one] = proposed(edits, row(**EXCLUDE))
    assert "column reason: is empty" in refusal(proposed, edits, row(**EXCLUDE, reason=" "))
    assert "Say who does it" in refusal(proposed, edits, row(**EXCLUDE), maker=" \u200b")
    assert "Say why" in refusal(edits.refuse, [one], checker="Zhao", at=LATER, reason=" ")
    assert "Say who does it" in refusal(edits.check, [one], checker=" ", at=LATER)
    assert "Say why" in refusal(edits.withdraw, [one], by="Wang Li", at=LATER, reason="")
    assert "signs that are not seen (U+0000)" in refusal(edits.withdraw, [one], by="Wang Li", at=LATER, reason="a\0b")
    assert "has 2001 characters" in refusal(edits.withdraw, [one], by="Wang Li", at=LATER, reason="a" * 2001)
    assert edits.withdraw([one], by="Wang Li", at=LATER, reason="a" * 2000) == 1


def test_all_problems_of_a_proposal_are_told_at_once_and_nothing_is_kept(edits: Edits) -> None:
    wrong = [
        (row(**EXCLUDE, meter="E-9"), "row 1 column register", "/E-9/import is not in the register"),
        (row(**EXCLUDE) | {"end": AT}, "row 2 column end", "is not after start"),
        (row(**ESTIMATE) | {"method": None}, "row 3 column method", "is empty"),
        (row(**ESTIMATE) | {"reason": None}, "row 4 column reason", "is empty"),
        (row(**REPLACE) | {"value": float("nan")}, "row 5 column value", "not a finite number"),
        (row(**REPLACE) | {"start": NOW + timedelta(microseconds=1)}, "row 6 column start", "still to come"),
        (row(**EXCLUDE) | {"end": NOW + timedelta(microseconds=1)}, "row 7 column end", "still to come"),
        (row(**EXCLUDE, value=1.0), "row 8 column value", "does not belong to kind exclude"),
        (row(**REPLACE, end=NOW), "row 9 column end", "does not belong to kind replace"),
        (row(**ESTIMATE) | {"high": None}, "row 10 column high", "is empty"),
        (row(**ESTIMATE) | {"value": 16.0}, "row 11 column value", "does not lie between"),
        (row(**ESTIMATE) | {"value": -1.0, "low": -2.0, "high": 0.0}, "row 12 column value", "below 0"),
        (row(**EXCLUDE, start=datetime(1, 1, 1, tzinfo=UTC)), "row 13 column start", "before any reading"),
        (row(**EXCLUDE, evidence="ab"), "row 14 column evidence", "no SHA-256 of a file that was kept"),
        (row(kind="delete"), "row 15 column kind", "is not known"),
        (row(kind="confirm"), "row 16 column end", "is empty"),
    ]
    said = refusal(proposed, edits, *(one for one, _, _ in wrong))
    for _, place, what in wrong:
        assert any(place in line and what in line for line in said.splitlines()), (place, what, said)
    assert edits.rows().is_empty()
    assert "there is none" in refusal(edits.propose, frame(row(**EXCLUDE)).clear(), maker="Wang Li", at=NOW)


def test_bounds_themselves_are_allowed(edits: Edits) -> None:
    rows = [
        row(**EXCLUDE) | {"end": NOW}, row(**REPLACE) | {"start": NOW}, row(**ESTIMATE) | {"value": 15.0},
        row(kind="estimate", register="net", end=NOW, value=-1.0, method="manual"),
    ]
    assert len(proposed(edits, *rows)) == 4


def test_a_register_may_be_named_by_its_key(edits: Edits) -> None:
    of_code = {"register_key": 2, "kind": "estimate", "start": AT, "end": NOW, "value": 3.0, "method": "linear", "reason": "gap"}
    [one] = edits.propose(pl.DataFrame([of_code]).select(*of_code, maker=pl.lit("ignored")), maker="estimation", at=NOW)
    assert edits.rows(ids=[one]).select("meter", "register", "maker", "made_at").row(0) == ("E-1", "net", "estimation", NOW)
    assert "7 is not in the register" in refusal(edits.propose, pl.DataFrame([{**of_code, "register_key": 7}]), maker="x", at=NOW)


def test_two_estimates_of_one_time_never_count_together(edits: Edits) -> None:
    touching = row(**ESTIMATE) | {"start": AT + timedelta(hours=6), "end": AT + timedelta(hours=7)}
    overlapping = row(**ESTIMATE) | {"start": AT + timedelta(hours=5), "end": AT + timedelta(hours=7)}
    assert "row 2: estimates a time for which edits row 1 gives one too" in refusal(proposed, edits, row(**ESTIMATE), overlapping)
    first, beside = proposed(edits, row(**ESTIMATE), touching)
    [other] = proposed(edits, overlapping)  # a choice for the checker
    assert f"edit {other}: estimates a time" in refusal(edits.check, [first, other], checker="Zhao", at=LATER)
    assert edits.check([first, beside], checker="Zhao", at=LATER) == 2
    assert f"edit {first}, which counts" in refusal(edits.check, [other], checker="Zhao", at=LATER)
    assert f"edit {first}, which counts" in refusal(proposed, edits, overlapping)
    edits.withdraw([first, beside], by="Zhao", at=LATER, reason="a better one")
    assert "which counts" in refusal(edits.check, [other], checker="Zhao", at=LATER)  # a withdrawal that waits changes nothing
    edits.check([first, beside], checker="Wang Li", at=LATER)
    assert edits.check([other], checker="Zhao", at=LATER) == 1
    assert len(proposed(edits, overlapping | {"register": "net"})) == 1  # another register


def test_two_values_of_one_instant_never_count_together(edits: Edits) -> None:
    assert "row 2: gives a value for an instant" in refusal(proposed, edits, row(**REPLACE), row(**REPLACE) | {"value": 6.0})
    first, _ = proposed(edits, row(**REPLACE), row(**REPLACE, register="net"))
    edits.check([first], checker="Zhao", at=LATER)
    assert "which counts" in refusal(proposed, edits, row(**REPLACE))


def test_the_version_grows_when_an_edit_begins_or_ceases_to_count_and_by_nothing_else(edits: Edits) -> None:
    start = edits.version()
    first, second, third = proposed(edits, row(**EXCLUDE), row(**REPLACE), row(**ESTIMATE, register="net"))
    assert edits.version() == start
    edits.check([first, second], checker="Zhao", at=LATER)
    counted = edits.version()
    assert counted > start
    edits.refuse([third], checker="Zhao", at=LATER, reason="no")
    edits.withdraw([first], by="Zhao", at=LATER, reason="a mistake")
    assert edits.version() == counted
    edits.check([first], checker="Wang Li", at=LATER)
    assert edits.version() > counted


def test_what_counts_is_found_by_time_and_what_there_is_by_kind_and_number(edits: Edits) -> None:
    ids = proposed(edits, row(**EXCLUDE), row(**REPLACE), row(**ESTIMATE, register="net"))
    edits.check(ids, checker="Zhao", at=LATER)
    hour = timedelta(hours=1)
    spans = ((AT - hour, AT), (AT - hour, AT + timedelta(microseconds=1)), (AT + 2 * hour, AT + 3 * hour), (AT + 7 * hour, NOW))
    assert [edits.effective(within=span)["edit"].to_list() for span in spans] == [[], ids, ids[2:], []]
    assert edits.rows(kinds=["replace", "exclude"])["edit"].to_list() == ids[:2]
    assert edits.rows(newest=2)["edit"].to_list() == [ids[2], ids[1]]
    assert edits.rows(newest=2, before=ids[1])["edit"].to_list() == [ids[0]]


def test_no_check_comes_before_the_proposal(edits: Edits) -> None:
    ids = proposed(edits, row(**EXCLUDE))
    assert "Set the clock right" in refusal(edits.check, ids, checker="Zhao", at=NOW - timedelta(microseconds=1))
    assert edits.check(ids, checker="Zhao", at=NOW) == 1


def test_everything_is_told_to_the_audit_with_what_the_edit_says(edits: Edits, database: Database) -> None:
    sha256 = edits.keep_evidence(b"photo", name="C:\\photos\\display.jpg", by="Wang Li", at=NOW)
    [one] = proposed(edits, row(**ESTIMATE, evidence=sha256))
    edits.check([one], checker="Zhao", at=LATER)
    edits.withdraw([one], by="Zhao", at=LATER, reason="found the log")
    edits.refuse([one], checker="Wang Li", at=LATER, reason="the log is another meter's")
    entries = AuditLog(database).entries().filter(pl.col("action").str.starts_with("edits."))
    assert entries["action"].to_list() == ["edits.evidence", "edits.propose", "edits.check", "edits.withdraw", "edits.refuse"]
    assert json.loads(entries["details"][0]) == {"name": "display.jpg", "size_bytes": 5}
    assert entries["subject"][0] == sha256
    [told] = json.loads(entries["details"][1])["edits"]
    assert (told["edit"], told["value"], told["evidence"], told["reason"]) == (one, 12.0, sha256, "photo of the display")
    assert json.loads(entries["details"][3])["reason"] == "found the log"
    assert AuditLog(database).verify().broken is None


def test_evidence_comes_back_as_it_was_and_is_kept_once(edits: Edits, tmp_path: Path) -> None:
    first = edits.keep_evidence(b"photo", name="a.jpg", by="Wang Li", at=NOW)
    assert edits.keep_evidence(b"photo", name="b.jpg", by="Zhao", at=NOW) == first
    assert edits.evidence(first) == ("a.jpg", b"photo")
    assert edits.evidence("0" * 64) is None
    assert [path.name for path in (tmp_path / "evidence").iterdir()] == [first]


def test_evidence_has_a_bounded_size_and_some(edits: Edits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EVIDENCE_BYTES", 4)
    edits.keep_evidence(b"1234", name="a", by="x", at=NOW)
    for content in (b"12345", b""):
        assert f"has {len(content)} bytes" in refusal(edits.keep_evidence, content, name="a", by="x", at=NOW)
    assert len(list((tmp_path / "evidence").iterdir())) == 1


def test_evidence_that_is_altered_or_gone_is_found_even_without_its_row(edits: Edits, database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    kept, altered, gone = (edits.keep_evidence(content, name="a", by="x", at=NOW) for content in (b"1", b"2", b"3"))
    assert (edits.verify_evidence().checked, edits.verify_evidence().broken) == (3, {})
    (folder / altered).write_bytes(b"two")
    (folder / gone).unlink()
    with database.session() as session:
        session.execute(EVIDENCE.delete().where(EVIDENCE.c.sha256 == gone))
    found = edits.verify_evidence()
    assert found.checked == 1
    assert found.broken == {altered: "was altered since it was kept", gone: "is missing"}
    with pytest.raises(StoreUnavailableError, match="was altered"):
        edits.evidence(altered)
    assert edits.evidence(kept) == ("a", b"1")
    edits.keep_evidence(b"2", name="a", by="x", at=NOW)  # the same file given again mends it
    assert edits.verify_evidence().broken == {gone: "is missing"}


def test_a_failed_write_of_evidence_leaves_no_trace(edits: Edits, database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    folder.rmdir()
    with pytest.raises(StoreUnavailableError):
        edits.keep_evidence(b"1", name="a", by="x", at=NOW)
    assert AuditLog(database).entries().filter(pl.col("action") == "edits.evidence").is_empty()


def test_edits_come_from_a_file_with_local_times_and_one_evidence_for_all(edits: Edits, tmp_path: Path) -> None:
    sha256 = edits.keep_evidence(b"1", name="a", by="x", at=NOW)
    path = tmp_path / "mine.csv"
    head = "enterprise,meter,register,kind,start,end,value,method,reason"
    path.write_text(f"{head}\n{STEEL},E-1,import,estimate,2026-03-01,2026-03-02T00:00:00+08:00,1.5,manual,停电\n")
    [one] = edits.propose_file(path, maker="Wang Li", at=NOW, evidence=sha256)
    start = datetime(2026, 2, 28, 16, tzinfo=UTC)
    assert edits.rows().select("edit", "start", "end", "value", "evidence").row(0) == (one, start, start + timedelta(days=1), 1.5, sha256)
    path.write_text(f"{head}\n{STEEL},E-1,import,estimate,2026-03-01,2026-03-01,x,guess,\n")
    said = refusal(edits.propose_file, path, maker="Wang Li", at=NOW)
    assert [f"mine.csv row 2 column {name}" in said for name in ("value", "method", "reason")] == [True] * 3
