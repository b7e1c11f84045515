"""What validation says of readings, of registers against each other, and of days."""

from datetime import date
from typing import Annotated, Final, Literal

import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import Response

from pipeline.as_of import Judged, judged_at
from portal import views
from portal.api.answers import PagingOf, listed
from portal.api.measured import MAX_REGISTER_DAYS, AsOf, Name, _check_days, enterprises_then
from portal.context import ApiScope, PortalOf

router = APIRouter(prefix="/api/v1")
TABLES: Final[dict[str, tuple[Judged, ...]]] = {"readings": ("verdicts",), "counts": ("verdict_counts",), "periods": ("day_starts", "balances")}
FURTHER: Final = {"readings": ["read_at", "copy"], "counts": ["start", "rule", "verdict"], "periods": ["start", "rule"]}


@router.get("/data-quality/verdicts", summary="What validation says", tags=["measured"])
def verdicts(
    portal: PortalOf, scope: ApiScope, paging: PagingOf,
    first: Annotated[date, Query(alias="from", description="First local day.")],
    last: Annotated[date, Query(alias="to", description="Last local day, included.")],
    of: Literal["readings", "counts", "periods"] = "readings", enterprise: Name = None, meter: Name = None, register: Name = None, rule: Name = None,
    as_of: AsOf = None,
) -> Response:
    """Readings that broke a rule, with all rules that they broke and those that could not be judged.

    `of=counts`: how many readings of each register and day broke each rule or could not be judged by it (`unknown`); without a rule: how many
    failed, are unknown (none broken, some not judged) or passed. `of=periods`: registers against each other, and whether days start with a
    reading. `as_of` gives what validation said then: of the readings that had arrived, by the rules and the register known then.
    """
    scope.require("readings")
    names = {"enterprise": enterprise, "meter": meter, "register": register}
    chosen = views.registers(portal.site, scope).filter(*(pl.col(column) == value for column, value in names.items() if value is not None))
    _check_days(first, last, chosen.height, MAX_REGISTER_DAYS["day"])
    kept = pl.col("register_key").is_in(chosen["register_key"].implode())
    if as_of is None:
        found = pl.concat([portal.site.derived.read(table, first, last).filter(kept).collect() for table in TABLES[of]])
    else:
        found = judged_at(portal.site, as_of, TABLES[of], first, last, enterprises_then(portal, scope, first, last, enterprise)).filter(kept)
    if rule is not None:
        broken = pl.col("broken_rules").str.split(" ").list.contains(rule) if of == "readings" else pl.col("rule") == rule
        found = found.filter(broken)
    named = found.join(chosen.select("register_key", *names), on="register_key").select(*names, pl.exclude(*names, "register_key"))
    if of == "readings":
        named = named.rename({"start": "read_at"})
    return listed(named, [*names, *FURTHER[of]], paging, "verdicts")
