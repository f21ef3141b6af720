"""Many replicas behind one address, by Ray Serve: each is a whole server, and requests go where their experts are.

A front reads each request, says what its composition is, and hands it, untouched, to the replica that the composition
belongs to; what that answers streams back. Ray keeps the replicas alive, scales them and replaces them one by one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica
from starlette.applications import Starlette
from starlette.routing import Mount

from xpm_runtime.server.affinity import Ring
from xpm_runtime.server.app import error_response
from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.guard import whole_body

Message = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Message], Any]
Application = Callable[[Message, Receive, Send], Any]
OpenApplication = Callable[[], AbstractContextManager[Application]]
MakeKeyOf = Callable[[], Callable[[str, bytes], str]]
_PASSED_ON = ("http_version", "method", "scheme", "path", "query_string", "root_path", "headers", "client", "server")


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySettings:
    """``min_replicas`` to ``max_replicas`` servers, each with ``num_cpus`` and ``num_gpus`` of its own, which takes
    ``max_ongoing`` requests before the next ones go elsewhere."""

    min_replicas: int = 1
    max_replicas: int = 1
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    max_ongoing: int = 16


class AffinityRouter(RequestRouter):  # type: ignore[misc]
    """A composition's own replica first, then those that follow it on the ring; Ray goes on to
    the next when one is full."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        by_name = {each.replica_id.unique_id: each for each in candidate_replicas}
        key = str(pending_request.args[0]) if pending_request is not None and pending_request.args else ""
        return [[by_name[name]] for name in Ring(sorted(by_name)).order(key)]


class Replica:
    """One server, in a process of its own."""

    def __init__(self, open_application: OpenApplication) -> None:
        self._opened = open_application()
        self._app = self._opened.__enter__()

    def __del__(self) -> None:
        self._opened.__exit__(None, None, None)

    async def call(self, key: str, scope: Message, body: bytes) -> AsyncIterator[Message]:
        """The ASGI messages that answer a request, as they come; whoever stops reading ends it."""
        answers: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=64)
        is_gone = asyncio.Event()
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Message:
            for message in messages:
                return message
            await is_gone.wait()
            return {"type": "http.disconnect"}

        async def answer() -> None:
            try:
                await self._app(scope, receive, answers.put)
            finally:
                await answers.put(None)

        task = asyncio.create_task(answer())
        try:
            while (message := await answers.get()) is not None:
                yield message
            await task
        finally:
            is_gone.set()
            task.cancel()


class Front:
    """What Ray's proxies call."""

    def __init__(self, replicas: DeploymentHandle, make_key_of: MakeKeyOf) -> None:
        self._replicas = replicas.options(method_name="call", stream=True)
        self._key_of = make_key_of()

    def __serve_build_asgi_app__(self) -> Application:  # Ray's name for it
        return Starlette(routes=[Mount("/", app=self._answer)])

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            messages = await whole_body(receive)
        except ApiError as error:
            await error_response(scope["path"], error)(scope, receive, send)
            return
        if messages[-1]["type"] == "http.disconnect":
            return
        body = b"".join(each.get("body", b"") for each in messages)
        key = await asyncio.to_thread(self._key_of, scope["path"], body)
        passed_on = {"type": "http", "asgi": {"version": "3.0"}, **{name: scope.get(name) for name in _PASSED_ON}}
        answer = self._replicas.remote(key, passed_on, body)
        watch = asyncio.create_task(_until_gone(receive, answer.cancel))
        try:
            async for message in answer:
                await send(message)
        finally:
            watch.cancel()


async def _until_gone(receive: Receive, cancel: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    cancel()


def ray_application(
    open_application: OpenApplication, make_key_of: MakeKeyOf, settings: RaySettings
) -> serve.Application:
    """What ``serve.run`` runs.

    Args:
        open_application: makes a server, in the replica's process.
        make_key_of: makes, in the front's process, what says the composition of a request by its path and body
            (``affinity.composition_key``); "" where it does not matter.
    """
    replica = serve.deployment(
        Replica,
        name="replica",
        max_ongoing_requests=settings.max_ongoing,
        ray_actor_options={"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus},
        autoscaling_config=AutoscalingConfig(
            min_replicas=settings.min_replicas,
            max_replicas=settings.max_replicas,
            target_ongoing_requests=max(1.0, settings.max_ongoing / 2),
        ),
        request_router_config=RequestRouterConfig(request_router_class=AffinityRouter),
        graceful_shutdown_timeout_s=45,
    )
    # It waits more than it computes: no processor is set aside, for the replicas may need them all.
    front = serve.deployment(
        serve.ingress()(Front), name="front", max_ongoing_requests=1024, ray_actor_options={"num_cpus": 0}
    )
    return front.bind(replica.bind(open_application), make_key_of)
