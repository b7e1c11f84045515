"""The shipped rules of validation, and what a site's folder puts in their place."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from config import data_rules
from config.errors import BadInputError
from config.schemas import VEE_RULE


def put(folder: Path, *rows: str) -> Path:
    (folder / "vee_rules_own.csv").write_text("\n".join(["rule,medium,low,high,severity,enabled,valid_from,valid_to,source", *rows]) + "\n")
    return folder


SOURCES = ("national specification", "assumption of tcewatch, to be set by the site", "interval rule", "formula rule", "an edit")


def test_every_shipped_rule_has_a_severity_names_a_reach_and_a_source_that_says_what_is_assumed() -> None:
    rows, _ = data_rules.vee_rule_rows()
    assert len({row.rule for row in rows}) == len(rows) == 28
    for row in rows:
        assert row.severity
        assert row.name_zh
        assert row.name_en
        assert row.reach
        assert row.source.startswith(SOURCES)
    assert data_rules.vee_rules().schema == VEE_RULE


def test_a_row_of_the_site_replaces_the_shipped_one_or_stands_beside_it(tmp_path: Path) -> None:
    own = data_rules.vee_rules(put(
        tmp_path, "rating,,,2,error,,,,measured by the site", "rating,water,,3,,,2026-01-01,2027-01-01,measured by the site",
    ))
    assert own.filter(rule="rating").select("medium", "high", "valid_from", "valid_to").rows() == [
        (None, 2.0, None, None), ("water", 3.0, datetime(2025, 12, 31, 16, tzinfo=UTC), datetime(2026, 12, 31, 16, tzinfo=UTC)),
    ]
    assert own.height == data_rules.vee_rules().height + 1


@pytest.mark.parametrize(("row", "said"), [
    ("no_such,,,1,error,,,,long enough", "is no rule of validation"), ("range,,2,1,error,,,,long enough", "low 2.0 is above high 1.0"),
    ("spike,,,,,false,,,long enough", "cannot be switched off"), ("rating,,,1,bad,,,,long enough", "severity"),
    ("rating,,,1,error,,2026-02-01,2026-01-01,long enough", "is not after"), ("rating,,,1,error,,,,", "source"),
])
def test_a_row_that_says_nothing_sound_is_refused(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        data_rules.vee_rules(put(tmp_path, row))
    data_rules.vee_rules(put(tmp_path, "frozen,,30,24,error,,,,long enough"))  # readings and hours are no band
