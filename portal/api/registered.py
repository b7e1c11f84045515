"""What is registered and reported: regions, parks, enterprises, gateways, meters, registers, figures, and the tables of the law."""

from datetime import date
from typing import Annotated, Literal

import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from config.lawbook import MODELS, rows_of
from monitors.corrections import parameters
from portal import operation, quality, views
from portal.api.answers import PagingOf, listed, rows
from portal.api.measured import Name
from portal.context import ApiScope, PortalOf
from portal.scope import NotFoundError

router = APIRouter(prefix="/api/v1", tags=["registered"])


@router.get("/regions", summary="Regions with a visible park")
def regions(portal: PortalOf, scope: ApiScope, paging: PagingOf) -> Response:
    """Administrative regions."""
    scope.require("register")
    frame = portal.site.register.regions()
    if not scope.everything:
        frame = frame.filter(pl.col("region").is_in(scope.rows(portal.site.register.parks())["region"].implode()))
    return listed(frame, ["region"], paging, "regions")


@router.get("/parks", summary="Parks")
def parks(portal: PortalOf, scope: ApiScope, paging: PagingOf) -> Response:
    """Industrial parks."""
    scope.require("register")
    return listed(scope.rows(portal.site.register.parks()), ["park"], paging, "parks")


@router.get("/parks/{park}", summary="One park")
def park(portal: PortalOf, scope: ApiScope, park: str) -> JSONResponse:
    """One park."""
    scope.require("register")
    return _one(scope.rows(portal.site.register.parks()), "park", park)


@router.get("/enterprises", summary="Enterprises")
def enterprises(portal: PortalOf, scope: ApiScope, paging: PagingOf) -> Response:
    """Enterprises by credit code."""
    scope.require("register")
    return listed(scope.rows(portal.site.register.enterprises()), ["enterprise"], paging, "enterprises")


@router.get("/enterprises/{enterprise}", summary="One enterprise")
def enterprise(portal: PortalOf, scope: ApiScope, enterprise: str) -> JSONResponse:
    """One enterprise."""
    scope.require("register")
    return _one(scope.rows(portal.site.register.enterprises()), "enterprise", enterprise)


@router.get("/gateways", summary="Gateways, how they are and how far they have counted")
def gateways(portal: PortalOf, scope: ApiScope, paging: PagingOf, enterprise: Name = None) -> Response:
    """Gateways with status, clock offset and rhythm, one row for each of their epochs with its sequence."""
    scope.require("register")
    return listed(_of(operation.gateways(portal, scope), enterprise), ["enterprise", "gateway", "epoch"], paging, "gateways")


@router.get("/meters", summary="Meters")
def meters(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, enterprise: Name = None,
    due: Annotated[date | None, Query(description="Only those whose verification has run out by the end of this day or has no known end.")] = None,
) -> Response:
    """Meters with medium, accuracy class, calibration, and their verification as of today (valid, due_soon, overdue, no_due_date, never)."""
    scope.require("register")
    return listed(_of(quality.meters(portal, scope, due), enterprise), ["enterprise", "meter"], paging, "meters")


@router.get("/registers", summary="Registers of the meters")
def registers(portal: PortalOf, scope: ApiScope, paging: PagingOf, enterprise: Name = None) -> Response:
    """Registers with unit, kind, multiplier and bounds."""
    scope.require("register")
    frame = views.registers(portal.site, scope).drop("register_key", "known_from", "known_to")
    return listed(_of(frame, enterprise), ["enterprise", "meter", "register"], paging, "registers")


@router.get("/figures", summary="Reported and checked figures")
def figures(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, enterprise: Name = None, of: Literal["money", "renewable"] = "money",
) -> Response:
    """Only what a second person has checked: value added and output value by enterprise and period.

    `of=renewable`: the renewable electricity that an enterprise states for a year or month, with its proof.
    """
    scope.require("figures")
    if of == "renewable":
        return listed(_of(scope.rows(portal.site.figures.renewables()), enterprise), ["enterprise", "period"], paging, "renewable-electricity")
    return listed(_of(scope.rows(portal.site.figures.values()), enterprise), ["enterprise", "park", "period"], paging, "figures")


@router.get("/tables", summary="The dated tables in use")
def tables(scope: ApiScope) -> JSONResponse:
    """Names of the tables."""
    scope.require("register")
    return JSONResponse({"items": [{"table": name} for name in sorted(MODELS)], "next": None})


@router.get("/tables/{table}", summary="The rows of one table")
def table(portal: PortalOf, scope: ApiScope, paging: PagingOf, table: str) -> Response:
    """Every row with its dates and source; the law is no secret, so no park limits it."""
    scope.require("register")
    match table:
        case "coal_equivalent":
            return listed(portal.site.coefficients(), ["carrier", "basis", "unit", "valid_from"], paging, table)
        case "limits":
            limits = portal.site.limits()
            asked = [" ".join(each.name for each in parameters(own)) for own in limits["corrections"].to_list()]
            limits = limits.drop("corrections").with_columns(parameters=pl.Series(asked, dtype=pl.String()))  # their table is `corrections`
            return listed(limits, ["product", "standard", "indicator", "feedstock", "effective_from"], paging, table)
        case name if name in MODELS:
            rows = [row.model_dump() for row in rows_of(name, portal.site.settings.site.tables_dir)]
            frame = pl.DataFrame(rows, schema=None if rows else list(MODELS[name].model_fields), infer_schema_length=None, strict=False)
            return listed(frame.with_row_index("row"), ["row"], paging, table)
    raise NotFoundError


def _of(frame: pl.DataFrame, enterprise: str | None) -> pl.DataFrame:
    return frame if enterprise is None else frame.filter(pl.col("enterprise") == enterprise)


def _one(frame: pl.DataFrame, column: str, value: str) -> JSONResponse:
    found = frame.filter(pl.col(column) == value)
    if found.is_empty():
        raise NotFoundError
    return JSONResponse(rows(found)[0])
