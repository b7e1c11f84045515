"""Commands on register, figures, people, tokens, quarantine and audit, as a person or a script calls them."""

import base64
import io
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from portal.cli.main import main
from store.database import opened
from store.quarantine import Quarantine
from store.sheets import write_workbook

STEEL = "91150400MA0EXAMP0J"
PASSWORD = "correct horse battery"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`run("register", "export", "x", given="")`: exit code, standard output, standard error."""
    monkeypatch.setenv("TCEWATCH_SITE__DATA_DIR", str(tmp_path / "var"))
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*words: str, given: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tcewatch", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return call


def workbook(path: Path, unit: str = "kWh") -> str:
    write_workbook(path, {
        "region": (["region"], [["150400"]]), "park": (["park", "region", "name_zh"], [["north", "150400", "北园"]]),
        "enterprise": (["enterprise", "name_zh", "park"], [[STEEL, "=示例", "north"]]),
        "meter": (["enterprise", "meter", "medium"], [[STEEL, "E-1", "electricity"]]),
        "register": (["enterprise", "meter", "register", "unit", "kind", "multiplier"], [[STEEL, "E-1", "import", unit, "cumulative", 40]]),
    })
    return str(path)


def test_a_register_goes_in_once_and_comes_out_again(run: Run, tmp_path: Path) -> None:
    book = workbook(tmp_path / "in.xlsx")
    assert run("register", "import", book, "--json")[:2] == (0, '{\n "added": 5,\n "changed": 0,\n "unchanged": 0,\n "withdrawn": 0\n}\n')
    assert run("register", "import", book)[1] == "0 rows added, 0 changed, 5 unchanged, 0 withdrawn\n"
    for form in ("out.xlsx", "out"):
        assert run("register", "export", str(tmp_path / form))[0] == 0
        assert "5 unchanged" in run("register", "import", str(tmp_path / form))[1]
    assert (tmp_path / "out" / "enterprise.csv").read_text(encoding="utf-8-sig").splitlines()[1].split(",")[1] == "'=示例"


def test_a_wrong_register_names_every_problem_and_exits_with_3(run: Run, tmp_path: Path) -> None:
    code, out, err = run("register", "import", workbook(tmp_path / "in.xlsx", unit="kwh"))
    assert (code, out) == (3, "")
    assert "in.xlsx sheet register row 2 column unit: 'kwh' is not known. Write one of: Wh, kWh" in err
    assert run("register", "import", "none.xlsx")[0] == 3


def test_figures_are_entered_by_one_and_checked_by_another(run: Run, tmp_path: Path) -> None:
    run("register", "import", workbook(tmp_path / "in.xlsx"))
    (tmp_path / "f.csv").write_text(f"enterprise,period,figure,value\n{STEEL},2025,value_added_10k_cny,100\n")
    assert run("figures", "import", "f.csv", "--maker", "Li")[:2] == (0, "1 rows added, 0 changed, 0 unchanged, 0 withdrawn\n")
    assert run("figures", "check", "1", "--checker", "Li")[0] == 3
    assert json.loads(run("figures", "check", "--checker", "Li", "--json")[1]) == {"checked": 0}
    assert run("figures", "check", "--checker", "Wang")[:2] == (0, "1 figures checked by Wang\n")
    [row] = json.loads(run("figures", "list", "--json")[1])
    assert (row["state"], row["maker"], row["checker"], row["value"]) == ("checked", "Li", "Wang", 100.0)
    assert json.loads(run("figures", "list", "--state", "unchecked", "--json")[1]) == []


def test_parameters_that_the_limit_does_not_know_or_cannot_have_are_refused_by_row_and_column(run: Run, tmp_path: Path) -> None:
    run("register", "import", workbook(tmp_path / "in.xlsx"))
    head = "enterprise,period,figure,value,unit,product,clinker_ratio,altitude_m,clinker_rate\n"
    (tmp_path / "f.csv").write_text(head + f"{STEEL},2024,output,5,t,cement,76,1040,0.7\n{STEEL},2025,output,5,t,calcium_carbide,0.7,,\n")
    code, _, err = run("figures", "import", "f.csv", "--maker", "Li")
    assert code == 3
    for told in ("f.csv row 2 column clinker_rate: is no parameter of the limits of cement. It has clinker_ratio, altitude_m, air_pressure_pa.",
                 "f.csv row 2 column clinker_ratio: 76.0 is not possible", "f.csv row 3 column clinker_ratio: is no parameter", "ask for none"):
        assert told in err
    (tmp_path / "f.csv").write_text(head + f"{STEEL},2024,output,5,t,cement,0.76,1040,\n{STEEL},2025,output,5,t,calcium_carbide,,,\n")
    assert run("figures", "import", "f.csv", "--maker", "Li")[0] == 0


def test_bills_and_batches_are_entered_listed_and_checked_by_kind(run: Run, tmp_path: Path) -> None:
    run("register", "import", workbook(tmp_path / "in.xlsx"))
    (tmp_path / "bill.csv").write_text(f"enterprise,carrier,kind,period,quantity,unit\n{STEEL},electricity,bill,2025-03,100,kWh\n")
    (tmp_path / "lab.csv").write_text(
        f"enterprise,carrier,batch,first_day,last_day,lhv,lhv_unit\n{STEEL},raw_coal,B-1,2025-03-01,2025-03-04,21.5,MJ/kg\n"
    )
    for name in ("bill.csv", "lab.csv"):
        assert run("figures", "import", name, "--maker", "Li")[:2] == (0, "1 rows added, 0 changed, 0 unchanged, 0 withdrawn\n")
    assert [json.loads(run("figures", "list", "--of", of, "--json")[1])[0]["state"] for of in ("monthly", "batches")] == ["unchecked"] * 2
    assert json.loads(run("figures", "list", "--json")[1]) == []
    assert run("figures", "check", "1", "--of", "batches", "--checker", "Li")[0] == 3
    assert run("figures", "check", "1", "--of", "batches", "--checker", "Wang")[:2] == (0, "1 figures checked by Wang\n")
    [row] = json.loads(run("figures", "list", "--of", "monthly", "--json")[1])
    assert (row["flow"], row["quantity"], row["state"]) == ("consumed", 100.0, "unchecked")
    assert run("figures", "check", "--checker", "Wang")[:2] == (0, "1 figures checked by Wang\n")


def test_the_first_person_is_an_administrator_and_has_no_default_password(run: Run) -> None:
    code, _, err = run("user", "add", "boss", "--role", "viewer", "--password-stdin", given=PASSWORD)
    assert (code, "no administrator" in err) == (3, True)
    code, _, err = run("user", "add", "boss", "--role", "admin")
    assert (code, "--password-stdin" in err) == (3, True)
    assert run("user", "add", "boss", "--role", "admin", "--password-stdin", given="")[0] == 3
    code, out, err = run("user", "add", "boss", "--role", "admin", "--password-stdin", given=f"{PASSWORD}\n")
    assert (code, PASSWORD in out + err) == (0, False)
    assert run("user", "add", "watch", "--role", "viewer", "--park", "north", "--password-stdin", given=PASSWORD)[0] == 0


def test_a_token_is_shown_once_listed_without_its_text_and_revoked(run: Run) -> None:
    code, out, err = run("token", "add", "board", "--scope", "read", "--expires", "30")
    secret = out.strip()
    assert (code, secret[:4], "Keep it now" in err) == (0, "tce_", True)
    code, out, _ = run("token", "list", "--json")
    [row] = json.loads(out)
    assert (row["name"], row["scopes"], secret in out) == ("board", ["read"], False)
    assert run("token", "add", "other", "--scope", "everything")[0] == 3
    assert run("token", "revoke", "board")[0] == 0
    assert run("token", "revoke", "board")[0] == 3


def test_the_quarantine_is_listed_counted_and_shown_with_its_bytes(run: Run, tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/var/tcewatch.db") as database:
        Quarantine(database).add(pl.DataFrame({
            "message": [1, 2, 2], "index": [-1, 0, 1], "kind": ["undecodable", "rejected", "rejected"],
            "reasons": [["not_json"], ["unknown_meter"], ["unknown_meter", "future"]], "raw": [b"\x00\xff\x1b[2J", b"{}", b"{}"],
        }))
    found = json.loads(run("quarantine", "list", "--reason", "unknown_meter", "--limit", "1", "--json")[1])
    assert [(row["message"], row["index"], row["reasons"]) for row in found] == [(2, 0, ["unknown_meter"])]
    assert "More: --after 2:0" in run("quarantine", "list", "--limit", "1")[1]
    assert [row["index"] for row in json.loads(run("quarantine", "list", "--after", "2:0", "--json")[1])] == [1, -1]
    assert {row["reason"]: row["rows"] for row in json.loads(run("quarantine", "list", "--counts", "--json")[1])} == {
        "unknown_meter": 2, "future": 1, "not_json": 1,
    }
    shown = run("quarantine", "show", "1")[1]
    assert "00000000  00 ff 1b 5b 32 4a" in shown  # a terminal is not told what to do by what came in
    assert base64.b64decode(json.loads(run("quarantine", "show", "1", "-1", "--json")[1])["raw"]) == b"\x00\xff\x1b[2J"
    assert run("quarantine", "show", "9")[0] == 3


def test_asked_for_a_whole_message_that_was_taken_in_part_the_quarantine_tells_where_its_rejected_readings_are(run: Run, tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/var/tcewatch.db") as database:
        Quarantine(database).add(pl.DataFrame({
            "message": [2, 2, 1], "index": [3, 5, 0], "kind": ["rejected"] * 3, "reasons": [["bad_value"]] * 3, "raw": [b"{}"] * 3,
        }))
    code, _, err = run("quarantine", "show", "2")
    assert code == 3
    assert "index 3, 5 of the message" in err
    assert "`tcewatch quarantine show 2 3`" in err


def test_of_a_large_message_the_first_bytes_are_printed_and_that_it_has_more(run: Run, tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/var/tcewatch.db") as database:
        Quarantine(database).add(pl.DataFrame({
            "message": [1], "index": [-1], "kind": ["undecodable"], "reasons": [["payload_too_large"]], "raw": [b"x" * 100_000],
        }))
    shown = run("quarantine", "show", "1")[1]
    assert len(shown) < 5_000
    assert "4,096 of 100,000 bytes; --raw" in shown


def test_the_audit_records_hold_until_one_is_altered_by_hand(run: Run, tmp_path: Path) -> None:
    run("token", "add", "board", "--scope", "read")
    run("token", "revoke", "board")
    code, out, _ = run("audit", "verify")
    assert (code, out.startswith("2 records hold. Last hash: ")) == (0, True)
    with sqlite3.connect(tmp_path / "var" / "tcewatch.db") as connection:
        connection.execute("UPDATE audit SET subject = 'another' WHERE seq = 1")
    connection.close()
    code, _, err = run("audit", "verify")
    assert (code, "record 1 does not match its hash" in err) == (3, True)
    assert json.loads(run("audit", "verify", "--json")[1])["broken"] == 1
    assert [row["action"] for row in json.loads(run("audit", "list", "--json")[1])] == ["token.add", "token.revoke"]
