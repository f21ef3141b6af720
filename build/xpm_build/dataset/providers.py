"""Who writes generated rows: this project's templates, or a language model behind OpenAI's or Anthropic's protocol.

A provider makes one batch of rows at a time and says what it cost. Keys come from the environment or the system's
keyring and are never written anywhere.
"""

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from xpm_build.dataset.settings import Generation
from xpm_build.domains import DOMAINS, draw_cases
from xpm_build.errors import DatasetError
from xpm_build.rows import Row, normalised, problems_of

BATCH_ROWS = 10
_TIMEOUT_S = 120.0
_MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-5"}
_KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
_HOSTS = {"openai": "api.openai.com", "anthropic": "api.anthropic.com"}
# Dollars for a million tokens, in and out, as the providers listed them in 2025. For others the manifest may give
# ``prices``; without, tokens alone are reported.
_PRICES = {
    "gpt-4o": (2.5, 10.0),
    "gpt-4o-mini": (0.15, 0.6),
    "gpt-4.1": (2.0, 8.0),
    "gpt-4.1-mini": (0.4, 1.6),
    "claude-haiku-4-5": (1.0, 5.0),
    "deepseek-chat": (0.28, 0.42),
}
_SYSTEM = (
    "You write training data for a small model that does one job well. Answer with one JSON object and nothing else: "
    '{"examples": [{"prompt": "...", "completion": "...", "difficulty": "easy|medium|hard"}, ...]}. Prompts are '
    "worded as many different people would, and no two are alike. Completions are exactly what the model should "
    "answer, without comments."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """``dollars`` is None where the price is not known."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float | None = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        known = self.dollars is not None and other.dollars is not None
        return Usage(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            dollars=self.dollars + other.dollars if known else None,  # type: ignore[operator]
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "dollars": None if self.dollars is None else round(self.dollars, 4),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """``broken`` counts examples that were not usable."""

    rows: tuple[Row, ...]
    usage: Usage = field(default_factory=Usage)
    broken: int = 0


class BrokenAnswer(Exception):
    """What a model wrote is no JSON, or was cut off; worth another try. ``usage`` was spent all the same."""

    def __init__(self, reason: str, usage: Usage) -> None:
        super().__init__(reason)
        self.usage = usage


class Provider(Protocol):
    """``origin`` holds all that decides the rows but a batch's number: providers of one origin
    continue each other's work."""

    is_remote: bool
    origin: Mapping[str, Any]

    def connect(self, *, url_is_confirmed: bool) -> None:
        """Make ready to send.

        Args:
            url_is_confirmed: the user named the server; a manifest alone may not send the user's key to a stranger's.
        Raises:
            DatasetError: there is no key, or the server has to be confirmed.
        """

    async def batch(self, number: int, count: int) -> Batch:
        """``count`` rows, the same for the same number where the provider can."""

    def estimate(self, count: int) -> Usage:
        """What ``count`` rows are likely to cost."""

    async def close(self) -> None: ...


def provider_of(generation: Generation) -> Provider:
    """The provider that a manifest asks for; not connected.

    Raises:
        DatasetError: it needs a task or a domain that is not there.
    """
    if generation.provider == "template":
        if not generation.domain:
            raise DatasetError(
                "training.dataset.generation.domain is missing", hint=f"templates are there for {', '.join(DOMAINS)}"
            )
        return TemplateProvider(generation)
    if not generation.task:
        raise DatasetError(
            "training.dataset.generation.task is missing",
            hint="describe, in a sentence or two, what the expert has to do",
        )
    return OpenAIProvider(generation) if generation.provider == "openai" else AnthropicProvider(generation)


class TemplateProvider:
    """This project's grammars: offline, free, and the same rows for the same seed."""

    is_remote = False

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._seed = 1 if generation.seed is None else generation.seed
        self.origin: Mapping[str, Any] = {
            "provider": generation.provider,
            "domain": generation.domain,
            "seed": self._seed,
            "schemas": generation.schemas,
        }

    def connect(self, *, url_is_confirmed: bool) -> None:
        pass

    async def batch(self, number: int, count: int) -> Batch:
        generation = self._generation
        cases = draw_cases(DOMAINS[generation.domain], self._seed * 1_000_003 + number, num_schemas=generation.schemas)
        rows: list[Row] = []
        for case in cases:
            rows.append(case.to_row())
            if len(rows) == count:
                return Batch(rows=tuple(rows))
        raise AssertionError("templates do not end")

    def estimate(self, count: int) -> Usage:
        return Usage()

    async def close(self) -> None:
        pass


class _Remote:
    """What the two protocols share: the request's words, the price and the reading of answers."""

    is_remote = True

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self.model = generation.model or _MODELS[generation.provider]
        read = ("provider", "url", "task", "domain", "difficulty", "temperature", "seed")
        self.origin: Mapping[str, Any] = {"model": self.model, **{name: getattr(generation, name) for name in read}}

    def connect(self, *, url_is_confirmed: bool) -> None:
        generation = self._generation
        key = api_key(generation.provider, is_needed=not generation.url)
        self._client = self._open(
            api_key=key or "none", base_url=generation.url or None, timeout=_TIMEOUT_S, max_retries=0
        )
        if generation.url and not url_is_confirmed:
            _refuse_stranger(generation.provider, self._client.base_url)

    async def close(self) -> None:
        await self._client.close()

    def _open(self, **options: Any) -> Any:
        """The SDK's client."""
        raise NotImplementedError

    def _request(self, number: int, count: int) -> str:
        generation = self._generation
        shares = generation.difficulty or {"easy": 0.4, "medium": 0.4, "hard": 0.2}
        wanted = ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
        return (
            f"The job: {generation.task}\n"
            + (f"The language of the completions: {generation.domain}\n" if generation.domain else "")
            + f"Write {count} examples; of these {wanted}. This is batch {number}: choose a subject that no other "
            "batch would."
        )

    def _sampling(self, number: int) -> dict[str, float]:
        """What is asked for in a batch beyond the model's own: models that reason refuse a temperature."""
        temperature = self._generation.temperature
        return {} if temperature is None else {"temperature": temperature}

    def estimate(self, count: int) -> Usage:
        requests = -(-count // BATCH_ROWS)
        words = len(_SYSTEM) + len(self._request(0, BATCH_ROWS))
        return self._usage(requests * words // 4, count * 120, requests)

    def _usage(self, input_tokens: int, output_tokens: int, requests: int = 1) -> Usage:
        price = self._generation.prices or _PRICES.get(self.model)
        dollars = None if price is None else (input_tokens * price[0] + output_tokens * price[1]) / 1e6
        return Usage(requests=requests, input_tokens=input_tokens, output_tokens=output_tokens, dollars=dollars)

    def _read(self, text: str, usage: Usage) -> Batch:
        """The rows of an answer; the object may be fenced or have words around it."""
        found = re.search(r"\{.*\}", text, re.DOTALL)
        try:
            examples = json.loads(found[0] if found else text)["examples"]
            if not isinstance(examples, list):
                raise TypeError("examples is no array")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BrokenAnswer(f"the model's answer is not the JSON that was asked for: {error}", usage) from error
        rows: list[Row] = []
        for number, example in enumerate(examples):
            try:
                row = normalised(example, {}, where=f"example {number}") if isinstance(example, Mapping) else {}
                json.dumps(row, ensure_ascii=False).encode()
            except (DatasetError, UnicodeEncodeError):  # half a character (a lone surrogate) cannot be written
                row = {}
            if ("prompt" in row or "messages" in row) and not problems_of(row):
                rows.append(row)
        return Batch(rows=tuple(rows), usage=usage, broken=len(examples) - len(rows))


class OpenAIProvider(_Remote):
    """OpenAI, or any server that speaks its protocol (``url``): DeepSeek, a local one."""

    def _open(self, **options: Any) -> Any:
        import openai

        return openai.AsyncOpenAI(**options)

    def _sampling(self, number: int) -> dict[str, float]:
        seed = self._generation.seed
        return super()._sampling(number) | ({} if seed is None else {"seed": seed + number})

    async def batch(self, number: int, count: int) -> Batch:
        stream = await self._client.chat.completions.create(
            model=self.model,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=self._sampling(number),
            messages=[
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": self._request(number, count)},
            ],
        )
        text, usage, finished = "", Usage(requests=1), False
        async for chunk in stream:
            if chunk.usage:
                usage = self._usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finished = finished or choice.finish_reason == "stop"
        if not finished:
            raise BrokenAnswer("the model's answer was cut off", usage)
        return self._read(text, usage)


class AnthropicProvider(_Remote):
    def _open(self, **options: Any) -> Any:
        import anthropic

        return anthropic.AsyncAnthropic(**options)

    async def batch(self, number: int, count: int) -> Batch:
        async with self._client.messages.stream(
            model=self.model,
            max_tokens=8192,
            system=_SYSTEM,
            extra_body=self._sampling(number),
            messages=[{"role": "user", "content": self._request(number, count)}],
        ) as stream:
            message = await stream.get_final_message()
        usage = self._usage(message.usage.input_tokens, message.usage.output_tokens)
        if message.stop_reason != "end_turn":
            raise BrokenAnswer(f"the model's answer was cut off ({message.stop_reason})", usage)
        return self._read("".join(getattr(block, "text", "") for block in message.content), usage)


def _refuse_stranger(provider: str, url: Any) -> None:
    """Refuse a server that a manifest names unless it is the provider's own or this machine.

    Args:
        url: as the client that would connect understands it.
    """
    if (url.scheme, url.host) == ("https", _HOSTS[provider]) or _is_loopback(url.host):
        return
    raise DatasetError(
        f"the manifest would send your key for {provider}, if there is one, to {url.host}",
        context=f"training.dataset.generation.url is {url}",
        hint=f"if you trust that server, give --url {url}; if not, take it out of the manifest",
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def api_key(provider: str, *, is_needed: bool) -> str:
    """The key of a provider, from the environment or the keyring; "" if there is none and none is needed."""
    name = _KEYS[provider]
    if key := os.environ.get(name, ""):
        return key
    try:
        import keyring

        key = keyring.get_password("xpm", provider) or ""
    except Exception:  # a keyring that is locked or has no backend is as good as none
        key = ""
    if not key and is_needed:
        raise DatasetError(
            f"there is no key for {provider}", hint=f"set {name}, or store it: `keyring set xpm {provider}`"
        )
    return key
