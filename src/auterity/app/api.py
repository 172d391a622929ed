"""The management API: every package's routes under ``/api/v1``, one OpenAPI document, and a page that shows it."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline

from auterity import __version__
from auterity.app import problems
from auterity.app.requests import RequestIds
from auterity.platform.identity.guard import Authenticator

__all__ = ["management_api"]

_DESCRIPTION = """\
Everything that can be configured in Auterity, and everything that it has recorded.

Log in at `POST /api/v1/auth/login` and send the access token as `Authorization: Bearer …`. Lists come in pages: pass
`next_cursor` of one page as `cursor` to get the next. Errors are problem details (RFC 9457) with a stable `code`.
"""


def management_api(routers: Sequence[APIRouter], authenticator: Authenticator) -> FastAPI:
    """Build the application.

    Args:
        routers: one for each package that has endpoints.
        authenticator: turns the ``Authorization`` header into a principal.
    """
    api = FastAPIOffline(
        title="Auterity",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url="/api/docs",
        redoc_url="/api/reference",
        static_url="/api/docs-assets",
        generate_unique_id_function=_operation_id,
        servers=[{"url": "/"}],
    )
    api.state.authenticator = authenticator
    for router in routers:
        api.include_router(router, prefix="/api/v1")
    problems.install(api)
    api.add_middleware(RequestIds)
    return api


def _operation_id(route: APIRoute) -> str:
    """Short, stable operation ids such as ``keys.create``: generated clients are named after them."""
    tag = str(route.tags[0]) if route.tags else "auterity"
    return f"{tag}.{route.name}"
