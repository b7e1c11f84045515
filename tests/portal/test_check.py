from datetime import timedelta
from pathlib import Path

import pytest

from config.errors import BadInputError
from config.settings import Settings, build
from pipeline.site import Site
from portal.cli.check import _readings, _tables


class Bucket:
    """Of a store only what the check asks for."""

    def __init__(self, days: int | None) -> None:
        self.days = days

    def ready(self) -> None:
        """It answers."""

    def keeps_for(self) -> timedelta | None:
        return None if self.days is None else timedelta(days=self.days)


@pytest.mark.parametrize("days", [None, 1096, 1097])
def test_a_bucket_that_keeps_what_is_accepted_is_fine(days: int | None) -> None:
    assert _readings(Settings(), Bucket(days)) == "ready"


def test_a_bucket_that_deletes_what_is_accepted_is_told_with_the_remedy() -> None:
    with pytest.raises(BadInputError, match=r"keeps readings for 1095 days, and 1096 are accepted.*--retention 0"):
        _readings(Settings(), Bucket(1095))


def test_all_that_is_wrong_in_the_sites_own_tables_is_told_at_once(tmp_path: Path) -> None:
    site = Site(build({"site": {"data_dir": tmp_path / "data", "tables_dir": tmp_path}}))
    assert "holidays 39" in _tables(site)
    (tmp_path / "quality_weights.csv").write_text("part,weight,valid_from,source\nnovelty,1,2026-01-01,notice of the city\n", encoding="utf-8")
    (tmp_path / "holidays-2027.csv").write_text("year,first,last,working,name_zh,source\n2027,2027-01-01,,false,x,notice of it\n", encoding="utf-8")
    (tmp_path / "prices.csv").write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(BadInputError) as told:
        _tables(site)
    assert {problem.where for problem in told.value.problems} == {
        "quality_weights.csv row 2 column part", "holidays-2027.csv row 2 column last", "prices.csv",
    }
