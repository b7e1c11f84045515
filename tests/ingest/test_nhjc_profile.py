"""The NHJC upload message."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sent import COKING, STEEL, reason_of, routed, said

CODE = "00-00-0000-023300-11"
ITEM = {"dataCode": CODE, "dataValue": "17803.4", "inputType": "4", "statType": "0", "statDate": "2026-11-20 12:00:00",
        "uploadDate": "2026-11-20 12:01:00", "scope": "1"}


def upload(*items: Any, **changes: Any) -> dict[str, Any]:
    return {"deviceId": "dev-1", "enterpriseCode": STEEL, "data": list(items), **changes}


def test_an_item_is_a_reading_of_its_code_at_the_local_start_of_its_period() -> None:
    found = routed("nhjc", upload(ITEM))
    assert said(found) == [("dev-1", CODE, 17803.4, None, None)]
    assert found.readings.select("read_at", "quality").row(0) == (datetime(2026, 11, 20, 4, tzinfo=UTC), 0)
    assert found.heads.select("outcome", "epoch", "seq").row(0) == ("decoded", None, None)


@pytest.mark.parametrize(("stat", "suffix"), [("0", ""), (0, ""), ("1", "_day"), (2, "_month"), ("3", "_year")])
def test_a_value_of_a_day_never_meets_the_real_time_one(stat, suffix) -> None:
    assert said(routed("nhjc", upload({**ITEM, "statType": stat})))[0][1] == CODE + suffix


@pytest.mark.parametrize(("change", "fault"), [
    ({"dataValue": "9f" * 16}, "encrypted_value"), ({"dataValue": "1" * 32}, "encrypted_value"), ({"dataValue": "AB" * 48}, "encrypted_value"),
    ({"dataValue": "1" * 31}, None), ({"dataValue": "9f" * 15}, "bad_value"), ({"dataValue": "1e5"}, None), ({"dataValue": 5}, None),
    ({"dataValue": ""}, "bad_value"), ({"dataValue": "NaN"}, "bad_value"), ({"dataValue": "1_000"}, "bad_value"), ({"dataValue": "1,5"}, "bad_value"),
    ({"dataValue": None}, "bad_value"), ({"dataValue": True}, "bad_value"), ({"dataValue": "-0.5"}, None),
    ({"dataCode": "a b"}, "bad_register"), ({"dataCode": None}, "bad_register"), ({"dataCode": ""}, "bad_register"), ({"dataCode": "c" * 58}, None),
    ({"dataCode": "c" * 59}, "bad_register"),
    ({"statType": "4"}, "unknown_period"), ({"statType": None}, "unknown_period"), ({"statType": ["0"]}, "unknown_period"),
    ({"statDate": "2026-11-20"}, "bad_timestamp"), ({"statDate": "2026-11-20T12:00:00"}, "bad_timestamp"), ({"statDate": None}, "bad_timestamp"),
    ({"statDate": "2026-02-30 00:00:00"}, "bad_timestamp"), ({"inputType": "6"}, "unknown_field"), ({"new": 1}, "unknown_field"),
])
def test_a_bad_item_has_its_own_fault_and_costs_its_neighbours_nothing(change, fault) -> None:
    assert routed("nhjc", upload(ITEM, {**ITEM, **change}, ITEM)).readings["fault"].to_list() == [None, fault, None]


def test_an_encrypted_value_is_kept_as_it_came() -> None:
    found = routed("nhjc", upload({**ITEM, "dataValue": "9f" * 16}))
    assert found.readings["value"].to_list() == [None]
    assert json.loads(found.readings["raw"][0])["dataValue"] == "9f" * 16


@pytest.mark.parametrize(("valid", "mark", "code"), [
    (None, None, 0), ("0", None, 1), (True, None, 1), ("0", "0", 0), (0, "0", 0), ("1", "0", 2), (True, "true", 0), ("true", "true", 0),
    (False, "true", 2),
    (1, "1", 0), (True, "1", 2), (None, "0", 0), ([], "0", 2),
])
def test_the_mark_of_validity_counts_as_the_route_says_and_is_uncertain_else(valid, mark, code) -> None:
    item = ITEM if valid is None else {**ITEM, "valid": valid}
    assert routed("nhjc", upload(item), valid=mark).readings["quality"].to_list() == [code]


@pytest.mark.parametrize(("message", "reason"), [
    (upload(ITEM, enterpriseCode=COKING), "topic_payload_mismatch"), (upload(ITEM, enterpriseCode=None), "topic_payload_mismatch"),
    (upload(data=None), "no_readings"), (upload(data={}), "no_readings"), (b"[]", "not_an_object"), (b"{", "not_json"), (upload(), None),
    (upload(*[5] * 10_001), "too_many_readings"),
])
def test_an_upload_that_cannot_be_read_says_why(message, reason) -> None:
    assert reason_of(routed("nhjc", message, door="file")) == reason


@pytest.mark.parametrize("device", [None, 5, "", "d" * 257])
def test_a_device_without_a_name_is_no_meter(device) -> None:
    found = routed("nhjc", upload(ITEM, 5, deviceId=device))
    assert said(found) == [(None, CODE, None, None, "bad_meter"), (None, None, None, None, "not_an_object")]
