"""Routes whose JSON is read strictly, and a router of them for each protocol."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from xpm_runtime.server.errors import as_api_error


class _StrictRequest(Request):
    """A request whose body is UTF-8, has no NaN, and is not nested deeper than a parser should follow (200)."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            try:
                self._json = from_json(await self.body(), allow_inf_nan=False)
            except ValueError as error:
                raise HTTPException(400, f"the body is no JSON: {error}"[:200]) from error
        return self._json


class _StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            try:
                return await handle(_StrictRequest(request.scope, request.receive))
            except Exception as error:
                known = as_api_error(error)
                if known is None:
                    raise
                raise known from error

        return strictly


def new_router(protocol: str) -> APIRouter:
    return APIRouter(tags=[protocol], route_class=_StrictRoute)
