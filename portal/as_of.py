"""What was known at an instant, and what differs from what was known at another: one answer for the command and for the API."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import polars as pl

from pipeline.as_of import Table, explained, known_at
from pipeline.site import Site

NAMES: Final = ("enterprise", "meter", "register")


@dataclass(frozen=True, slots=True)
class Asked:
    """The instant whose knowledge is meant; with `against`, what differs between the two."""

    as_of: datetime
    against: datetime | None = None

    def frame(self, site: Site, table: Table, first: date, last: date, enterprises: Collection[str] | None) -> pl.DataFrame:
        """The table as it followed from what was known, or the figures that differ with their causes; registers by their names.

        Raises:
            StoreUnavailableError: the readings cannot be asked here and now.
        """
        if self.against is None:
            found = known_at(site, self.as_of, table, first, last, enterprises)
        else:
            earlier, later = sorted((self.as_of, self.against))
            found = explained(site, earlier, later, table, first, last, enterprises)
        if "register_key" not in found.columns:
            return found
        newest = site.register.registers(as_of=max(self.as_of, self.against or self.as_of)).sort("valid_from", nulls_last=False)
        units = newest.unique("register_key", keep="last").select("register_key", "medium", "unit")
        named = found.join(site.register.names(), on="register_key").join(units, on="register_key", how="left")
        return named.select(*NAMES, "medium", *(name for name in found.columns if name != "register_key"), "unit").sort(*NAMES, "start")

    def keys(self, keys: list[str]) -> list[str]:
        """What names a row of the answer, where `keys` name one of the table."""
        return keys if self.against is None else [*keys, "measure", "cause"]
