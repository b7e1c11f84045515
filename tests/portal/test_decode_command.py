"""`tcewatch decode` on files."""

import json
from pathlib import Path

import polars as pl
import pytest
import typer
import zstandard
from typer.testing import CliRunner, Result

from config.errors import BadInputError, SettingsError
from ingest.profiles.sparkplug_b import Payload
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


def test_a_log_of_sparkplug_has_its_payloads_in_hex_and_remembers_births(tmp_path) -> None:
    birth = Payload(timestamp=1_795_147_200_000, seq=1)
    birth.metrics.add(name="active_import", alias=7, datatype=10, double_value=1.5)
    data = Payload(timestamp=1_795_147_260_000, seq=2)
    data.metrics.add(alias=7, double_value=2.5)
    log, out = tmp_path / "sparkplug.log", tmp_path / "out.csv"
    lines = [f"spBv1.0/plant/{kind}/node/E-1 {one.SerializeToString().hex()}" for kind, one in (("DBIRTH", birth), ("DDATA", data))]
    log.write_text("\n".join(lines))
    decode("--profile", "sparkplug_b", log, "--out", out)
    assert pl.read_csv(out).select("meter", "register", "read_at", "value").rows() == [
        ("E-1", "active_import", "2026-11-20T12:00:00+08:00", 1.5), ("E-1", "active_import", "2026-11-20T12:01:00+08:00", 2.5),
    ]
    payload = tmp_path / "birth.bin"
    payload.write_bytes(birth.SerializeToString())
    assert ",1.5," in decode("--profile", "sparkplug_b", "--topic", "spBv1.0/plant/DBIRTH/node/E-1", payload)


def test_a_mapping_file_is_a_profile_and_a_bad_one_is_told(tmp_path) -> None:
    mapping, payload = tmp_path / "map.toml", tmp_path / "payload.json"
    time = '[time]\nfrom = "item.t"\nformat = "s"\n'
    mapping.write_text(f'meter = "item.id"\nknown = ["id", "t"]\n{time}[fields]\nv = {{ register = "main", unit = "m3" }}\n')
    payload.write_text('{"id": "W-1", "t": 1795147200, "v": 5}')
    assert decode("--profile", mapping, payload).splitlines()[1] == ",,W-1,main,2026-11-20T12:00:00+08:00,5.0,m3,good"
    mapping.write_text('meter = "id"')
    with pytest.raises(SettingsError, match="starts with id"):
        decode("--profile", mapping, payload)


def test_an_upload_of_nhjc_on_its_own_names_its_enterprise_itself(tmp_path) -> None:
    file = tmp_path / "upload.json"
    item = {"dataCode": "00-1", "dataValue": "5", "statType": "1", "statDate": "2026-11-20 00:00:00"}
    file.write_text(json.dumps({"deviceId": "d", "enterpriseCode": "any", "data": [item]}))
    assert decode("--profile", "nhjc", file).splitlines()[1] == ",,d,00-1_day,2026-11-20T00:00:00+08:00,5.0,,good"


def test_what_is_rejected_is_counted_where_no_file_takes_it(tmp_path) -> None:
    file = tmp_path / "log.txt"
    file.write_text("a/topic {broken\nother/topic {broken\n")
    assert "0 readings, 2 rejected (2 not_json); --rejected FILE lists them" in invoked("--profile", "own_json", file).stderr


def test_payloads_one_a_line_are_a_message_each_and_one_over_many_lines_is_one(tmp_path) -> None:
    file, rejected = tmp_path / "captured.jsonl", tmp_path / "rejected.csv"
    file.write_text(f"{json.dumps(KPM)}\n\n{{broken\n{json.dumps({**KPM, 'zygsz': 57.0})}\n")
    lines = decode("--profile", "kpm33b", file, "--rejected", rejected).splitlines()
    assert [line.split(",")[5] for line in lines[1:]] == ["56.331", "57.0"]
    assert pl.read_csv(rejected)["reason"].to_list() == ["not_json"]
    file.write_text(json.dumps(KPM, indent=1))
    assert len(decode("--profile", "kpm33b", file).splitlines()) == 2
