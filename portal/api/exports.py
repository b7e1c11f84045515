"""Signs, and papers of enterprises as workbooks."""

from io import BytesIO
from typing import Annotated, Final, Literal

import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from pipeline.signs import signs
from portal import papers
from portal.api.answers import PagingOf, bulk, listed, rows
from portal.api.measured import Name
from portal.api.problems import ProblemError
from portal.context import ApiScope, PortalOf

router = APIRouter(prefix="/api/v1")
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@router.get("/signs", summary="Signs that a person should look at", tags=["found"])
def list_signs(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, enterprise: Name = None, state: Literal["seen", "unknown"] | None = None,
) -> Response:
    """What does not fit together, with its evidence; never a verdict. `unknown`: it cannot be judged, `missing` says why."""
    scope.require("signs")
    wanted = {"enterprise": enterprise, "state": state}
    found = scope.rows(signs(portal.site, portal.clock())).filter(*(pl.col(name) == value for name, value in wanted.items() if value is not None))
    if paging.bulk:
        lines = pl.col("evidence").list.eval(pl.element().struct.json_encode()).list.join(",")
        found = found.with_columns(evidence=pl.format("[{}]", lines.fill_null("")))
    return listed(found, ["enterprise", "rule", "subject", "period", "state", "missing"], paging, "signs")


@router.get("/exports/papers/{kind}", summary="A paper of an enterprise for a year", tags=["exports"])
def export_paper(
    portal: PortalOf, scope: ApiScope, kind: papers.Kind, enterprise: Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{1,64}$")],
    year: Annotated[int, Query(ge=1990, le=2200)],
    format: Annotated[  # noqa: A002 - the name in the address
        Literal["xlsx", "json", "csv", "parquet"], Query(description="A workbook, or every cell as a row with its source.")
    ] = "xlsx",
) -> Response:
    """Meter fitting table (GB 17167), utilisation report (Energy Conservation Law art. 53), or purchase, consumption and stock.

    Filled from register, accounts and checked figures. An empty cell has its reason.
    """
    for collection in ("register", "consumption", "figures"):
        scope.require(collection)
    scope.check(enterprise)
    now = portal.clock()
    if wrong := papers.problems(portal.site, enterprise, year, now):
        raise ProblemError(404, "no-such-paper", f"{wrong[0].what}. {wrong[0].remedy}")
    one = papers.paper(portal.site, kind, enterprise, year, now)
    name = f"{kind}-{enterprise}-{year}"
    if format == "json":
        return JSONResponse({"items": rows(papers.table(one)), "next": None})
    if format != "xlsx":
        return bulk(papers.table(one), format, name)
    file = BytesIO()
    papers.write(one, file, papers.title(portal.site, kind, enterprise, year))
    return Response(file.getvalue(), media_type=XLSX, headers={"Content-Disposition": f'attachment; filename="{name}.xlsx"'})
