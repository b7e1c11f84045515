"""Edits of meter data: proposed by one person, checked by another; and the files that show why."""

from typing import Annotated, Any, Final, Literal

import polars as pl
from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from portal import edits as models
from portal import views
from portal.api.answers import PagingOf, attached, listed, rows
from portal.api.measured import Name
from portal.api.problems import ProblemError
from portal.api.push import body_of
from portal.context import ApiScope, PortalOf
from portal.scope import NotFoundError, Scope
from store.edits import MAX_EVIDENCE_BYTES, ROW, STEP

MAX_BODY_BYTES: Final = 1 << 20
MOST_AT_ONCE: Final = 1000
_OF_OUR_PAGES_OR_NONE: Final = ("application/json", "application/octet-stream")  # a form of another site can send neither
router = APIRouter(prefix="/api/v1", tags=["edits"], max_body_size=MAX_BODY_BYTES)
evidence_router = APIRouter(prefix="/api/v1", tags=["edits"], max_body_size=2**40)  # `body_of` bounds it
Number = Annotated[int, Path(ge=1, lt=2**62)]
Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


def _whole(text: str) -> str:
    """The text, if all of it can be written: JSON may name half of a sign."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a sign") from None
    return text


Text = Annotated[str, AfterValidator(_whole)]


class Proposal(BaseModel):
    """One edit: EDIT without what the store sets."""

    model_config = ConfigDict(extra="forbid")
    enterprise: Text
    meter: Text
    register_: Annotated[Text, Field(alias="register")]  # the name itself is one of the base class
    kind: Text
    start: AwareDatetime
    end: AwareDatetime | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    method: Text | None = None
    reason: Text
    evidence: Text | None = None


class Proposals(BaseModel):
    """What is proposed together: all of it, or nothing."""

    edits: Annotated[list[Proposal], Field(min_length=1, max_length=MOST_AT_ONCE)]


class Decision(BaseModel):
    """Which edits, and why (not asked for a check)."""

    model_config = ConfigDict(extra="forbid")
    edits: Annotated[list[Annotated[int, Field(ge=1, lt=2**62)]], Field(min_length=1, max_length=MOST_AT_ONCE)]
    reason: Annotated[Text, Field(max_length=2000)] = ""


@router.get("/edits", summary="Edits of meter data and what became of them")
def edits(
    portal: PortalOf, scope: ApiScope, paging: PagingOf, enterprise: Name = None,
    state: Annotated[Literal["waiting", "effective", "withdrawing", "refused", "withdrawn"] | None, Query(description="Only edits in it.")] = None,
) -> Response:
    """Every edit with maker, checker, reason, evidence (SHA-256) and from when to when it counted; `waiting` and `withdrawing` wait for a check.

    `effect` tells of a replacement in force whether its value `counts` or was `set_aside` by the interval rules; null: of other edits, and while
    its day is not computed yet.
    """
    scope.require("edits")
    found = portal.site.edits.rows(states=None if state is None else [state], enterprises=scope.only if enterprise is None else [enterprise])
    return listed(views.with_effect(portal.site, scope.rows(found)).drop("register_key"), ["edit"], paging, "edits")


@router.get("/edits/{edit}", summary="One edit with its history")
def one(portal: PortalOf, scope: ApiScope, edit: Number) -> JSONResponse:
    """One edit; `history` tells each step, who took it, when and why."""
    scope.require("edits")
    row, history = models.edit(portal, scope, edit)
    shown = rows(pl.DataFrame([row], schema={**ROW, "effect": pl.String()}).drop("register_key"))[0]
    return JSONResponse({**shown, "history": rows(pl.DataFrame(history, schema=STEP))})


@router.post("/edits", status_code=201, summary="Propose edits")
def propose(request: Request, portal: PortalOf, scope: ApiScope, given: Proposals) -> JSONResponse:
    """All or nothing; they count once another person has checked them. A token needs the scope `propose`, a person the role operator or admin."""
    from_us(request)
    scope.require_doing("propose")
    for enterprise in {row.enterprise for row in given.edits}:
        scope.check(enterprise)
    said = [{**row.model_dump(by_alias=True), "start": row.start.isoformat(), "end": row.end and row.end.isoformat()} for row in given.edits]
    frame = pl.DataFrame(said, infer_schema_length=None)
    ids = portal.site.edits.propose(frame, maker=scope.principal.name, at=portal.clock())
    return JSONResponse({"edits": ids}, status_code=201)


@router.post("/edits/{action}", summary="Check, refuse or withdraw edits")
def decide(
    request: Request, portal: PortalOf, scope: ApiScope, action: Literal["check", "refuse", "withdraw"], given: Decision,
) -> JSONResponse:
    """All or nothing, by a person (no token): `check` and `refuse` by a regulator or admin who did not make it; `withdraw` then waits for a check."""
    from_us(request)
    act(portal, scope, action, given.edits, given.reason)
    return JSONResponse({"edits": sorted(set(given.edits))})


@evidence_router.post("/evidence/{name}", status_code=201, summary="Keep a file as evidence", openapi_extra={"requestBody": {
    "required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}})
async def keep(request: Request, portal: PortalOf, scope: ApiScope, name: Annotated[str, Path(max_length=200)]) -> JSONResponse:
    """The file as the body, of any type, at most 20 MiB; edits name it by the SHA-256 of the answer."""
    from_us(request)
    scope.require_doing("propose")
    content = await body_of(request, MAX_EVIDENCE_BYTES)
    kept: Any = portal.site.edits.keep_evidence
    sha256 = await run_in_threadpool(kept, content, name=name, by=scope.principal.name, at=portal.clock())
    return JSONResponse({"evidence": sha256}, status_code=201, headers={"Location": f"/api/v1/evidence/{sha256}"})


@evidence_router.get("/evidence/{sha256}", summary="A file that is evidence of an edit")
def download(portal: PortalOf, scope: ApiScope, sha256: Sha256) -> Response:
    """The file as it was kept, of an edit that is yours to see; never shown inside the browser."""
    scope.require("evidence")
    if scope.rows(portal.site.edits.rows(evidence=sha256)).is_empty() or (found := portal.site.edits.evidence(sha256)) is None:
        raise NotFoundError
    return attached(*found)


def act(portal: PortalOf, scope: Scope, action: str, numbers: list[int], reason: str) -> None:
    """Check, refuse or withdraw edits as this principal.

    Raises:
        ForbiddenError, NotFoundError: it is not theirs to do or to see.
        BadInputError: see store.edits.
    """
    scope.require_doing("withdraw" if action == "withdraw" else "check")
    models.visible(portal, scope, numbers)
    edits, who, now = portal.site.edits, scope.principal.name, portal.clock()
    match action:
        case "check":
            edits.check(numbers, checker=who, at=now)
        case "refuse":
            edits.refuse(numbers, checker=who, at=now, reason=reason)
        case _:
            edits.withdraw(numbers, by=who, at=now, reason=reason)


def from_us(request: Request) -> None:
    """Let nothing past that another site's form could have sent with the cookie of a person who is logged in here.

    Raises:
        ProblemError: there is no bearer token, and the body is of a type that forms can send.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if "authorization" not in request.headers and given not in _OF_OUR_PAGES_OR_NONE:
        raise ProblemError(415, "not-from-here", f"With a session, send {' or '.join(_OF_OUR_PAGES_OR_NONE)}: no other site's form can.")
