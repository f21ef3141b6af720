"""``/v1/models`` and ``/v1/embeddings``."""

import asyncio
import base64
import struct
from typing import Annotated, Literal

from fastapi import Body, Request
from fastapi.responses import Response
from pydantic import Field

from xpm_runtime.server.api.fields import ModelName, Reply, Strict
from xpm_runtime.server.api.openai_errors import RESPONSES
from xpm_runtime.server.api.replies import service_of, whole
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.errors import ApiError
from xpm_runtime.server.host import Host, Listed, UnknownModelError

router = new_router("OpenAI")


class ModelReply(Reply):
    """``parent`` is the base that an expert acts on."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "xpm"
    parent: str | None = None
    root: str | None = None
    version: str | None = None
    description: str = ""


class ModelsReply(Reply):
    object: Literal["list"] = "list"
    data: list[ModelReply]


def models_of(host: Host) -> list[ModelReply]:
    """``auto``, the base, and each expert."""
    base = host.base
    experts = [each for each in host.list_experts() if each.kind == "expert"]
    return [
        ModelReply(id="auto", root=base.name, description="The router chooses experts for each prompt."),
        ModelReply(id=base.name, root=base.name, version=base.version, description=base.description),
        *(_expert(each, base) for each in experts),
    ]


def _expert(expert: Listed, base: Listed) -> ModelReply:
    return ModelReply(
        id=expert.name, root=base.name, parent=base.name, version=expert.version, description=expert.description
    )


@router.get("/v1/models", response_model=ModelsReply, responses=RESPONSES, summary="List who can be asked")
async def list_models(request: Request) -> ModelsReply:
    return ModelsReply(data=models_of(service_of(request).host))


@router.get("/v1/models/{model:path}", response_model=ModelReply, responses=RESPONSES, summary="Look at one of them")
async def get_model(request: Request, model: str) -> ModelReply:
    for each in models_of(service_of(request).host):
        if model in (each.id, f"{each.id}@{each.version}"):
            return each
    raise UnknownModelError(f"no model named {model[:80]!r} is installed", hint="GET /v1/models lists them")


class EmbeddingsRequest(Strict):
    input: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1, max_length=2048)]
    model: ModelName = "auto"
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)


class Embedding(Reply):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(Reply):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(Reply):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


@router.post(
    "/v1/embeddings",
    response_model=EmbeddingsReply,
    responses={**RESPONSES, 501: {"description": "No embedder is configured", "model": RESPONSES[400]["model"]}},
    summary="Make vectors of texts",
)
async def embeddings(request: Request, body: Annotated[EmbeddingsRequest, Body()]) -> Response:
    texts = [body.input] if isinstance(body.input, str) else body.input
    found = await asyncio.to_thread(service_of(request).host.embed, texts)
    if found is None:
        raise ApiError(
            501, "no embedder is configured here; `xpm config set router.embedder FOLDER` sets one", "no_embedder"
        )
    name, vectors, num_tokens = found
    if body.dimensions not in (None, len(vectors[0])):
        raise ApiError(400, f"this embedder has {len(vectors[0])} dimensions", "dimensions", param="dimensions")
    data = [
        Embedding(
            object="embedding", index=number, embedding=_packed(each) if body.encoding_format == "base64" else each
        )
        for number, each in enumerate(vectors)
    ]
    usage = EmbeddingsUsage(prompt_tokens=num_tokens, total_tokens=num_tokens)
    return whole(EmbeddingsReply(object="list", data=data, model=name, usage=usage))


def _packed(vector: list[float]) -> str:
    """Little-endian float32, in Base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
