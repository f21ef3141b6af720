"""What went wrong, as a status and a kind that every protocol then says in its own form."""

import math
from dataclasses import dataclass

from xpm_runtime import CapacityError, EngineError
from xpm_runtime.server.work import Overloaded

MESSAGE_CHARACTERS = 1000
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    415: "invalid_request_error",
    421: "invalid_request_error",
    429: "rate_limit_error",
    431: "request_too_large",
    500: "api_error",
    501: "not_implemented_error",
    503: "overloaded_error",
}


@dataclass(slots=True)
class ApiError(Exception):
    """``code`` is for machines; ``param`` names the field that is to blame, if it is one."""

    status: int
    message: str
    code: str = ""
    param: str | None = None
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return self.message

    @property
    def kind(self) -> str:
        return _KINDS.get(self.status, "api_error")

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": str(max(1, math.ceil(self.retry_after_s)))} if self.retry_after_s is not None else {}


_STATUS = {
    "unknown-model": 404,
    "not-found": 404,
    "request": 400,
    "constraint": 400,
    "capacity": 400,
    "usage": 400,
    "in-use": 409,
    "draining": 503,
    "adapter-mismatch": 503,
    "model-load": 503,
}


def as_api_error(error: Exception) -> ApiError | None:
    """An expected error of the engine, of the worker or of the host; None if it is none of them."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Overloaded):
        return ApiError(429, error.message, "overloaded", retry_after_s=error.retry_after_s)
    if isinstance(error, TimeoutError):
        return ApiError(408, "the request took longer than it may", "timeout")
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if not isinstance(code, str) or not isinstance(message, str):
        return None
    parts = (message, getattr(error, "context", None), getattr(error, "hint", None))
    status = _STATUS.get(code, 500 if isinstance(error, EngineError) else 400)
    told = "; ".join(part for part in parts if part)[:MESSAGE_CHARACTERS]
    known = "context_length_exceeded" if isinstance(error, CapacityError) else code.replace("-", "_")
    return ApiError(status, told, known, retry_after_s=5 if status == 503 else None)
