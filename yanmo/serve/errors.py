"""Errors as the OpenAI interface shapes them: `{"error": {"message", "type", "param", "code"}}`.

400 the request is wrong      404 no such model or path     405 another method      408 the body came too slowly
413 the body is too large     415 the body is not JSON      503 full or draining (Retry-After)    500 our fault
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from yanmo.core.errors import RequestError, YanmoError

SCHEMA = {
    "type": "object", "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["message", "type", "param", "code"], "properties": {
        "message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": ["string", "null"]},
        "code": {"type": ["string", "null"]}}}},
}  # fmt: skip
TYPES = {404: "not_found_error", 503: "overloaded_error", 500: "server_error"}


class ApiError(Exception):
    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None, retry: int | None = None):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry = status, message, param, code, retry

    @classmethod
    def of(cls, error: YanmoError) -> ApiError:
        """A wrong request names its field by the error's place; anything else is the server's fault."""
        if isinstance(error, RequestError):
            return cls(400, str(error), str(error.where))
        return cls(500, str(error))

    def body(self) -> dict[str, Any]:
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        headers = {"retry-after": str(self.retry)} if self.retry is not None else None
        return JSONResponse(self.body(), self.status, headers)


def install(app: FastAPI) -> None:
    """Every error that leaves the app has the one shape."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return error.response()

    async def yanmo(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, YanmoError)
        return ApiError.of(error).response()

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message = {404: f"no such path: {request.url.path}", 405: f"{request.method} is not allowed here"}
        found = ApiError(error.status_code, message.get(error.status_code, str(error.detail))).response()
        found.headers.update(error.headers or {})
        return found

    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        return ApiError(500, "the server failed on this request; its log says why").response()

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(YanmoError, yanmo)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)
