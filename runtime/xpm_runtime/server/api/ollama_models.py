"""ollama's lists of models: ``/api/tags``, ``show``, ``ps`` and ``version``."""

from typing import Annotated, Any

from fastapi import Body, Request

from xpm_runtime import RequestError
from xpm_runtime.server.api.fields import ModelName, Reply, Strict
from xpm_runtime.server.api.ollama import RESPONSES
from xpm_runtime.server.api.replies import service_of
from xpm_runtime.server.api.routes import new_router
from xpm_runtime.server.host import Host, Listed, UnknownModelError

router = new_router("ollama")
_VERSION = "0.12.0"  # whose protocol this is
_EPOCH = "1970-01-01T00:00:00Z"


class ModelDetails(Reply):
    parent_model: str = ""
    format: str = "xpm"
    family: str = ""
    families: list[str] = []
    parameter_size: str = ""
    quantization_level: str = ""


class OllamaModel(Reply):
    name: str
    model: str
    modified_at: str = _EPOCH
    size: int
    digest: str
    details: ModelDetails


class TagsReply(Reply):
    models: list[OllamaModel]


def _models(host: Host) -> list[tuple[Listed, OllamaModel]]:
    base = host.base
    found = []
    for each in [base, *(each for each in host.list_experts() if each.kind == "expert")]:
        parent = "" if each is base else base.name
        model = OllamaModel(
            name=f"{each.name}:{each.version or 'latest'}",
            model=f"{each.name}:{each.version or 'latest'}",
            size=each.num_bytes,
            digest=each.digest.removeprefix("sha256:"),
            details=ModelDetails(parent_model=parent, family=base.name, families=[base.name]),
        )
        found.append((each, model))
    return found


@router.get("/api/tags", response_model=TagsReply, responses=RESPONSES, summary="List who can be asked")
async def tags(request: Request) -> TagsReply:
    return TagsReply(models=[model for _, model in _models(service_of(request).host)])


class LoadedModel(OllamaModel):
    expires_at: str = "9999-12-31T23:59:59Z"
    size_vram: int = 0


class PsReply(Reply):
    models: list[LoadedModel]


@router.get("/api/ps", response_model=PsReply, responses=RESPONSES, summary="List who is in memory")
async def ps(request: Request) -> PsReply:
    loaded = [model for listed, model in _models(service_of(request).host) if listed.is_loaded]
    return PsReply(models=[LoadedModel(**each.model_dump()) for each in loaded])


class ShowRequest(Strict):
    model: ModelName | None = None
    name: ModelName | None = None
    verbose: bool | None = None


class ShowReply(Reply):
    license: str
    modelfile: str
    parameters: str
    template: str
    details: ModelDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str = _EPOCH


@router.post("/api/show", response_model=ShowReply, responses=RESPONSES, summary="Look at one of them")
async def show(request: Request, body: Annotated[ShowRequest, Body()]) -> ShowReply:
    service = service_of(request)
    wanted = body.model or body.name
    if not wanted:
        raise RequestError("model is missing")
    for listed, model in _models(service.host):
        if wanted in (listed.name, f"{listed.name}:latest", model.name, f"{listed.name}@{listed.version}"):
            info = {
                "general.architecture": "xpm",
                "general.name": listed.name,
                "general.version": listed.version,
                "general.description": listed.description,
                "xpm.context_length": service.engine.context,
            }
            return ShowReply(
                license=listed.license,
                modelfile="",
                parameters="",
                template="",
                details=model.details,
                model_info=info,
                capabilities=["completion", "tools"],
            )
    raise UnknownModelError(f"model {wanted[:80]!r} not found")


class VersionReply(Reply):
    version: str


@router.get("/api/version", response_model=VersionReply, responses=RESPONSES, summary="Whose protocol this is")
async def version() -> VersionReply:
    return VersionReply(version=_VERSION)
