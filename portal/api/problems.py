"""Errors as RFC 9457 problem documents."""

from typing import Final

from fastapi import Request
from fastapi.responses import JSONResponse

MEDIA_TYPE: Final = "application/problem+json"
TITLES: Final = {
    400: "Bad request", 401: "Not authenticated", 403: "Not allowed", 404: "Not found", 405: "Method not allowed", 408: "Too slow",
    413: "Too large", 415: "Not a format that is read",
    422: "Parameters that do not fit", 429: "Too many requests", 500: "A fault of ours", 503: "A store cannot be reached",
}


class ProblemError(Exception):
    """A request that is refused, with what would be right."""

    def __init__(self, status: int, code: str, detail: str, **facts: object) -> None:
        self.status, self.code, self.detail, self.facts = status, code, detail, facts
        super().__init__(detail)


def problem(request: Request, status: int, code: str, detail: str, **facts: object) -> JSONResponse:
    """One problem document; `type` is a stable code, no address to look up."""
    body = {"type": f"urn:tcewatch:problem:{code}", "title": TITLES.get(status, "Error"), "status": status, "detail": detail}
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "5"}}.get(status)
    return JSONResponse({**body, "instance": request.url.path, **facts}, status_code=status, media_type=MEDIA_TYPE, headers=headers)
