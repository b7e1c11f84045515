"""`tcewatch decode` on files."""

import json
from pathlib import Path

import polars as pl
import pytest
import typer
import zstandard
from typer.testing import CliRunner, Result

from config.errors import BadInputError
from portal.cli.decode import command

TOPIC = "tce/v1/150621/91150621MA0EXAMPLE/gw-1/readings"
ROW = {"meter": "E-1", "register": "r", "ts": "2026-11-20T08:15:00+08:00", "value": 5.5, "unit": "kWh", "quality": "uncertain"}
OWN = {"v": 1, "epoch": "e", "seq": 1, "readings": [ROW, {**ROW, "value": None}]}
KPM = {"id": "33B1225950027", "zygsz": 56.331, "time": "20260112170000"}

app = typer.Typer()
app.command()(command)


def invoked(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def decode(*arguments: object) -> object:
    done = invoked(*arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


@pytest.mark.parametrize("topic", [TOPIC, None])
def test_a_payload_of_the_contract_becomes_a_table_and_what_is_wrong_is_listed(tmp_path: Path, topic) -> None:
    file, out, rejected = tmp_path / "payload.json", tmp_path / "out.csv", tmp_path / "rejected.csv"
    file.write_text(json.dumps(OWN))
    decode("--profile", "own_json", *(["--topic", topic] if topic else []), file, "--out", out, "--rejected", rejected)
    enterprise, gateway = ("91150621MA0EXAMPLE", "gw-1") if topic else (None, None)
    assert pl.read_csv(out).rows() == [(enterprise, gateway, "E-1", "r", "2026-11-20T08:15:00+08:00", 5.5, "kWh", "uncertain")]
    assert pl.read_csv(rejected).rows() == [(1, "bad_value")]


@pytest.mark.parametrize("suffix", [".log", ".log.zst"])
def test_a_log_gives_the_readings_of_all_its_lines_and_the_number_of_each_bad_one(tmp_path, suffix) -> None:
    file, out, rejected = tmp_path / f"capture{suffix}", tmp_path / "out.parquet", tmp_path / "rejected.csv"
    text = f"MQTT_ENY_NOW {json.dumps(KPM)}\nMQTT_ENY_NOW nonsense\nMQTT_RT_DATA {json.dumps({**KPM, 'time': 'x'})}\n".encode()
    file.write_bytes(zstandard.compress(text) if suffix.endswith("zst") else text)
    decode("--profile", "kpm33b", "--zone", "Europe/Vienna", file, "--out", out, "--rejected", rejected)
    assert pl.read_parquet(out).select("meter", "register", "value", "unit").rows() == [("33B1225950027", "active_import", 56.331, "kWh")]
    assert pl.read_csv(rejected).rows() == [(2, "not_json"), (3, "bad_timestamp")]


def test_without_an_output_the_table_goes_to_standard_output(tmp_path) -> None:
    file = tmp_path / "payload.json"
    file.write_text(json.dumps(KPM))
    text = decode("--profile", "kpm33b", "--zone", "Europe/Vienna", file)
    assert text.splitlines()[1] == ",,33B1225950027,active_import,2026-01-12T17:00:00+01:00,56.331,kWh,good"


@pytest.mark.parametrize("wrong", [["--profile", "nope"], ["--profile", "kpm33b", "--zone", "Mars/Olympus"]])
def test_an_unknown_profile_or_zone_is_wrong_usage(tmp_path, wrong) -> None:
    result = invoked(*wrong, tmp_path / "missing.json")
    assert (result.exit_code, wrong[-2] in result.stderr, wrong[-1] in result.stderr) == (2, True, True)


@pytest.mark.parametrize(("arguments", "where"), [(["--out", "out.docx"], "out.docx"), ([], "missing.json")])
def test_a_bad_output_and_a_missing_file_are_told(tmp_path, arguments, where) -> None:
    with pytest.raises(BadInputError, match=where):
        decode("--profile", "kpm33b", *arguments, tmp_path / "missing.json")


def test_what_is_rejected_is_counted_where_no_file_takes_it(tmp_path) -> None:
    file = tmp_path / "log.txt"
    file.write_text("a/topic {broken\nother/topic {broken\n")
    assert "0 readings, 2 rejected (2 not_json); --rejected FILE lists them" in invoked("--profile", "own_json", file).stderr
