"""`tcewatch edits`, as a person or a script calls it, and what `tcewatch audit verify` says of the evidence."""

import json
from pathlib import Path

import pytest

from tests.portal.test_cli_register import STEEL, Run, workbook
from tests.portal.test_cli_register import run as run

HEAD = "enterprise,meter,register,kind,start,end,value,method,reason"


@pytest.fixture
def file(run: Run, tmp_path: Path) -> str:
    assert run("register", "import", workbook(tmp_path / "in.xlsx"))[0] == 0
    path = tmp_path / "mine.csv"
    path.write_text(f"{HEAD}\n{STEEL},E-1,import,estimate,2026-03-01,2026-03-02,1.5,manual,停电\n")
    return str(path)


def states(run: Run) -> list[tuple[int, str]]:
    return [(row["edit"], row["state"]) for row in json.loads(run("edits", "list", "--json")[1])]


def test_an_edit_goes_in_is_checked_by_another_and_is_withdrawn_by_two(run: Run, file: str) -> None:
    assert run("edits", "propose", file, "--maker", "Wang Li")[:2] == (0, "Proposed: edit 1. Another person checks them.\n")
    assert states(run) == [(1, "waiting")]
    code, _, err = run("edits", "check", "1", "--checker", "wang li")
    assert code == 3
    assert "Let another person check it" in err
    assert run("edits", "check", "1", "--checker", "Zhao")[:2] == (0, "edit 1 checked\n")
    assert states(run) == [(1, "effective")]
    assert run("edits", "withdraw", "1", "--by", "Zhao", "--reason", "the log was found")[0] == 0
    assert run("edits", "check", "1", "--checker", "Zhao")[0] == 3
    assert run("edits", "refuse", "1", "--checker", "Wang Li", "--reason", "another meter's log")[:2] == (0, "edit 1 refused\n")
    assert states(run) == [(1, "effective")]
    assert json.loads(run("edits", "list", "--state", "waiting", "--json")[1]) == []
    assert json.loads(run("edits", "list", "--json")[1])[0]["effect"] is None  # of an estimate the figures tell


def test_all_problems_of_a_file_are_told_with_their_place(run: Run, file: str) -> None:
    Path(file).write_text(f"{HEAD}\n{STEEL},E-9,import,estimate,2026-03-02,2026-03-01,x,manual,\n{STEEL},E-1,import,exclude,2026-03-01,,,,x\n")
    code, _, err = run("edits", "propose", file, "--maker", "Wang Li")
    assert code == 3
    assert [f"mine.csv row 2 column {name}: " in err for name in ("value", "reason")] == [True, True]
    assert "mine.csv row 3 column end: is empty" in err
    code, _, err = run("edits", "propose", file, "--maker", "Wang Li", "--evidence", "nowhere.pdf")
    assert (code, "nowhere.pdf: cannot be read" in err) == (3, True)
    assert states(run) == []


def test_evidence_that_was_altered_is_named_by_audit_verify(run: Run, file: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    sha256 = json.loads(run("edits", "propose", file, "--maker", "Wang Li", "--evidence", str(photo), "--json")[1])["evidence"]
    code, out, _ = run("audit", "verify")
    assert code == 0
    assert "1 evidence files hold." in out
    (tmp_path / "var" / "evidence" / sha256).write_bytes(b"other")
    code, out, err = run("audit", "verify")
    assert code == 3
    assert f"The evidence is not as it was kept: {sha256} was altered since it was kept." in err
    assert "records hold" in out
    assert json.loads(run("audit", "verify", "--json")[1])["evidence"] == {"checked": 0, "broken": {sha256: "was altered since it was kept"}}
