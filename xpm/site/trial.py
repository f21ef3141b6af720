"""Trying an expert from its page: a form that is posted, and a page with the answer; neither needs JavaScript.

What answers is behind ``Trials``; here is HTTP alone. Nothing is kept of what was asked.
"""

from dataclasses import asdict, dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from xpm.errors import ExpectedError
from xpm.site.body import read_body
from xpm.site.live import Held, LiveSite, Reply
from xpm.site.pages import MAX_PROMPT_CHARS, Page

_MAX_BODY_BYTES = 32 << 10
_BODY_S = 10.0
_RETRY_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An answer. ``base`` is the base's name, version and variant; ``is_cut`` says that it would have gone on."""

    answer: str
    version: str
    base: str
    num_tokens: int
    seconds: float
    is_cut: bool


class Trials(Protocol):
    """Answers prompts by the experts of an index."""

    def answer(self, held: Held, prompt: str) -> Trial | None:
        """What an expert answers; None if too many others are waiting.

        Raises:
            ExpectedError: it can't be tried.
        """
        ...


def trial_routes(site: LiveSite, trials: Trials) -> list[Route]:
    """``POST /try/NAME`` with ``prompt`` in a form: a page, or JSON for whoever accepts only
    that; GET leads to the form."""

    async def tried(request: Request) -> Response:
        name = request.path_params["name"]
        if not _is_own(request):
            return Response("other sites may not ask here\n", 403, media_type="text/plain")
        held = await run_in_threadpool(site.held, name)
        if held is None:
            return _sent(await run_in_threadpool(site.reply, f"try/{name}", {}))
        prompt = await _prompt(request)
        status, trial, problem = await run_in_threadpool(_asked, trials, held, prompt)
        document: dict[str, Any] = {
            "name": name,
            "version": str(held.entry.version),
            "prompt": (prompt or "")[:MAX_PROMPT_CHARS],
            "problem": problem,
            "trial": asdict(trial) if trial else None,
        }
        page = Page(
            path=f"try/{name}", template="trial.html", title=f"{name}, tried", document=lambda: document, is_answer=True
        )
        as_json = request.headers.get("accept", "") == "application/json"
        reply = await run_in_threadpool(site.rendered, page, "try.json" if as_json else "try.html", status=status)
        return _sent(reply)

    async def form(request: Request) -> Response:
        return RedirectResponse(f"/experts/{request.path_params['name']}.html#try", status_code=303)

    return [Route("/try/{name}", tried, methods=["POST"]), Route("/try/{name}", form, methods=["GET", "HEAD"])]


def _asked(trials: Trials, held: Held, prompt: str | None) -> tuple[int, Trial | None, str]:
    """(status, the answer, what went wrong in its place)."""
    if prompt is None or len(prompt) > MAX_PROMPT_CHARS:
        return 413, None, f"A prompt has at most {MAX_PROMPT_CHARS:,} characters here."
    if not prompt.strip():
        return 400, None, "Write something to be answered."
    try:
        trial = trials.answer(held, prompt)
    except Exception as error:
        if not isinstance(error, ExpectedError):
            raise
        return 422, None, f"It could not be asked: {error.message}."
    if trial is None:
        return 503, None, "Others are waiting for their answers already. Try again in a moment."
    return 200, trial, ""


def _sent(reply: Reply) -> Response:
    headers = {"cache-control": "no-store"} | ({"retry-after": str(_RETRY_S)} if reply.status == 503 else {})
    return Response(reply.body, reply.status, headers, media_type=reply.media_type)


def _is_own(request: Request) -> bool:
    """Whether it comes of no page of another site. Our own pages send no referrer, and therefore ``Origin: null``."""
    headers = request.headers
    origin = headers.get("origin", "null")
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none") and (
        origin == "null" or origin.partition("://")[2] == headers.get("host")
    )


async def _prompt(request: Request) -> str | None:
    """The prompt of a form, None if it is too long, too slow, or no form."""
    body = await read_body(request.stream(), max_bytes=_MAX_BODY_BYTES, seconds=_BODY_S)
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=4) if body is not None else None
    except ValueError:
        return None
    return fields.get("prompt", [""])[0].replace("\r\n", "\n") if fields is not None else None
