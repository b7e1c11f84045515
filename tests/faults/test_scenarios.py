"""The table of scenarios names tests that are there."""

import re


def test_each_test_that_the_table_of_scenarios_names_is_there(pytestconfig) -> None:
    tests = pytestconfig.rootpath / "tests"
    table = (pytestconfig.rootpath / "docs" / "decisions" / "0014-faults.md").read_text(encoding="utf-8").partition("## Scenarios")[2]
    named = re.findall(r"`([\w/]+\.py)(?:::(test_\w+))?`", table)
    assert len(named) > 30
    for file, test in named:
        path = tests / file if "/" in file else tests / "faults" / file
        assert path.is_file(), file
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), f"{file}::{test}"
