from datetime import timedelta

import pytest

from config.errors import BadInputError
from config.settings import Settings
from portal.cli.check import _readings


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
