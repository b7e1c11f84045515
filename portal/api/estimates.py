"""Estimates for gaps of registers, as edits that wait for a check."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from portal import estimates
from portal.api.answers import rows
from portal.api.edits import from_us
from portal.context import ApiScope, PortalOf

router = APIRouter(prefix="/api/v1", tags=["edits"], max_body_size=1 << 16)
Name = Annotated[str | None, Field(max_length=200)]


class Gaps(BaseModel):
    """Whose gaps, on which local days (both included), and how they are estimated."""

    model_config = ConfigDict(extra="forbid")
    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    method: Literal["auto", "linear", "like_days"] = "auto"
    enterprise: Name = None
    meter: Name = None


@router.post("/estimates", status_code=201, summary="Propose estimates for what is not measured")
def propose(request: Request, portal: PortalOf, scope: ApiScope, given: Gaps) -> JSONResponse:
    """Each gap of at most 92 days with its estimate, 95 % interval, reason and the number of its edit; without one where no method can estimate it.

    They count once another person has checked them. A token needs the scope `propose`, a person the role operator or admin.
    """
    from_us(request)
    found = estimates.ask(portal, scope, given.first, given.last, given.method, given.enterprise, given.meter)
    return JSONResponse({"items": rows(found.drop("register_key", "total_measured"))}, status_code=201)
