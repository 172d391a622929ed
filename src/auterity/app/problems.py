"""Errors of the management API as RFC 9457 problem details, each with a stable ``code`` and the ``request_id``."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from auterity.app.requests import request_id_of
from auterity.kit.errors import AuterityError

__all__ = ["install"]

_log = logging.getLogger(__name__)
_CODES = {404: "not_found", 405: "method_not_allowed"}


def install(api: FastAPI) -> None:
    """Answer every error of this application with a problem document."""
    api.add_exception_handler(AuterityError, _of_ours)
    api.add_exception_handler(RequestValidationError, _of_validation)
    api.add_exception_handler(HTTPException, _of_routing)
    api.add_exception_handler(Exception, _of_defects)


def _problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[dict[str, str]] = (),
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    content: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id_of(request.scope),
    }
    if param is not None:
        content["param"] = param
    if errors:
        content["errors"] = list(errors)
    return JSONResponse(content, status, headers, media_type="application/problem+json")


async def _of_ours(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, AuterityError):
        raise error
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return _problem(request, error.status, error.code, error.message, param=error.param, headers=headers)


async def _of_validation(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    details: Sequence[dict[str, Any]] = error.errors()
    # The value that was sent is left out: it may be a secret.
    errors = [
        {"param": ".".join(str(part) for part in detail["loc"][1:]), "message": str(detail["msg"])}
        for detail in details
    ]
    summary = "; ".join(f"{each['param'] or 'body'}: {each['message']}" for each in errors)
    return _problem(request, 422, "invalid_request", summary, errors=errors)


async def _of_routing(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES.get(error.status_code, "invalid_request")
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return _problem(request, error.status_code, code, detail, headers=dict(error.headers or {}))


async def _of_defects(request: Request, error: Exception) -> JSONResponse:
    _log.error("a request failed", exc_info=error)
    detail = "Something went wrong on our side. Quote the request id when you report it."
    # This answer is made outside the middleware that stamps all others.
    return _problem(request, 500, "internal_error", detail, headers={"x-request-id": request_id_of(request.scope)})
