"""Every error as an answer: a problem document for machines, a page or a live part of one for people."""

from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from config.errors import BadInputError, ServiceUnavailableError, StoreFullError, TcewatchError
from portal.api.problems import TITLES, ProblemError, problem
from portal.context import NotLoggedInError, portal_of
from portal.middleware import SECURITY_HEADERS
from portal.pages.render import page
from portal.scope import ForbiddenError, NotFoundError

log = structlog.get_logger("portal")


def answer_errors(app: FastAPI) -> None:
    """Answer each error as a problem document, a page, or a live part of a page."""

    @app.exception_handler(NotLoggedInError)
    def not_logged_in(request: Request, _error: Exception) -> Response:
        if _is_api(request):
            return problem(request, 401, "not-authenticated", "Send a valid bearer token, or log in.")
        if "hx-request" in request.headers:  # a live part whose session has ended
            return Response(status_code=401, headers={"HX-Redirect": "/login"})
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(wanted, safe='')}", status_code=303)

    @app.exception_handler(NotFoundError)
    def not_found(request: Request, _error: Exception) -> Response:
        return _say(request, 404, "not-found", "There is no such thing, or it is not yours to see.")

    @app.exception_handler(ForbiddenError)
    def forbidden(request: Request, _error: Exception) -> Response:
        return _say(request, 403, "not-allowed", "Your roles do not cover this.")

    @app.exception_handler(ProblemError)
    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return problem(request, error.status, error.code, error.detail, **error.facts)

    @app.exception_handler(BadInputError)
    def bad_input(request: Request, error: Exception) -> Response:
        assert isinstance(error, BadInputError)
        if _is_api(request):
            told = [{"where": one.where, "what": one.what, "remedy": one.remedy} for one in error.problems]
            return problem(request, 422, "bad-input", "Nothing was taken over; see `problems`.", problems=told)
        return _say(request, 422, "bad-input", "What was given cannot be used.")

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        wrong = [{"where": ".".join(str(part) for part in one["loc"]), "what": one["msg"]} for one in error.errors()]
        if _is_api(request):
            return problem(request, 422, "invalid-parameters", "Some parameters do not fit; see `errors`.", errors=wrong)
        return _say(request, 404, "not-found", "There is no such page.")

    @app.exception_handler(HTTPException)
    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = TITLES.get(error.status_code, "error").lower().replace(" ", "-")
        answer = _say(request, error.status_code, code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ServiceUnavailableError)
    @app.exception_handler(StoreFullError)
    def unavailable(request: Request, error: Exception) -> Response:
        log.warning("store unavailable", path=request.url.path, reason=str(error))
        return _say(request, 503, "store-unavailable", "A store cannot be reached now. Try again in a few seconds.")

    @app.exception_handler(Exception)
    def fault(request: Request, error: Exception) -> Response:
        log.error("fault", path=request.url.path, error=repr(error))
        answer = _say(request, 500, "fault", "Something went wrong here; it is in the log.")
        answer.headers.update(SECURITY_HEADERS)  # this handler works outside the middleware
        return answer


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(("/api/v1", "/api/openapi", "/health/", "/metrics"))


def _say(request: Request, status: int, code: str, detail: str) -> Response:
    if _is_api(request):
        return problem(request, status, code, detail)
    template = "parts/problem.html" if "hx-request" in request.headers else "problem.html"
    try:
        session = portal_of(request).door.session(request)
    except TcewatchError:  # the very store that cannot be reached
        session = None
    return page(request, template, session, {"status": status, "code": code}, status=status)
