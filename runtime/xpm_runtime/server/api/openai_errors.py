"""How OpenAI's protocol says what went wrong."""

from typing import Any

from xpm_runtime.server.api.fields import Reply
from xpm_runtime.server.errors import ApiError


class OpenAIError(Reply):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorReply(Reply):
    error: OpenAIError


_RESPONSES = {
    400: "The request is malformed, contradicts itself, or is too long",
    401: "There is no key, or nobody knows it",
    403: "The key may not do this",
    404: "There is no such model",
    413: "The request is too large",
    421: "The server does not answer for this host",
    429: "The queue is full, or a quota is spent; `Retry-After` says when to try again",
    500: "The answer broke off",
    503: "The server is going down",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAIErrorReply, "description": text} for status, text in _RESPONSES.items()
}


def openai_error(error: ApiError) -> dict[str, Any]:
    document = OpenAIErrorReply(
        error=OpenAIError(message=error.message, type=error.kind, param=error.param, code=error.code or None)
    )
    return document.model_dump()
