"""The closed list of reasons."""

import re
from pathlib import Path

import pytest

from ingest.reasons import MESSAGE_REASONS, READING_FAULTS, REASONS, SCREEN_RULES

FOLDER = Path(__file__).resolve().parents[2] / "ingest"


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_told_in_both_languages(reason) -> None:
    assert re.search("[\u4e00-\u9fff]", REASONS[reason].zh)
    assert REASONS[reason].zh.endswith("。")
    assert REASONS[reason].en[0].isupper()
    assert REASONS[reason].en.endswith(".")


def test_every_reason_that_the_code_gives_is_in_the_list() -> None:
    given = {found for path in FOLDER.rglob("*.py") for found in re.findall(r'UndecodableError\("(\w+)"', path.read_text(encoding="utf-8"))}
    assert given == set(MESSAGE_REASONS)


def test_every_reason_that_a_receipt_may_give_is_on_the_page_of_reasons() -> None:
    page = (FOLDER.parent / "docs" / "guide" / "reasons.md").read_text(encoding="utf-8")
    assert [reason for reason in REASONS if f"| `{reason}` |" not in page] == []


def test_rules_and_faults_do_not_share_a_name() -> None:
    assert not set(READING_FAULTS) & set(SCREEN_RULES)
