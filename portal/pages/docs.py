"""The API's reference as a page of our own: it loads nothing from another host."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from portal.context import PageScope, SessionOf
from portal.pages.render import page

router = APIRouter(include_in_schema=False)


@router.get("/api/docs")
def docs_page(request: Request, session: SessionOf, scope: PageScope) -> HTMLResponse:
    """Every operation with its parameters, from the OpenAPI document."""
    document = request.app.openapi()
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in sorted(document["paths"].items()) for method, operation in methods.items()
    ]
    return page(request, "docs.html", session, {"scope": scope, "operations": operations})
