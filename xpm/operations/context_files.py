"""Documents beside a prompt: read once, and cut down to the passages that bear on it, as many as the base can hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.config import Config
from xpm.environment import Environment
from xpm.errors import UsageError

if TYPE_CHECKING:
    from xpm_runtime import Engine
    from xpm_runtime.passages.choose import Chosen, Document
    from xpm_runtime.passages.rank import Encoder
    from xpm_runtime.sequence import Prompt

MAX_BYTES = 8_000_000
"""Of all documents of a prompt together: reading, cutting and ranking so much takes five seconds of a core."""
LEAST_BUDGET = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFiles:
    """``budget``: tokens that are shown of the documents at most; None for what a lane holds less prompt and answer."""

    documents: tuple["Document", ...]
    budget: int | None = None


def read_context(files: Sequence[Path], *, budget: int | None, context: int | None) -> ContextFiles | None:
    """Read documents; None if there are none. No base is needed for that, nor loaded.

    Args:
        budget, context: as the user gave them, in tokens.
    Raises:
        UsageError: a file can't be read, is no text in UTF-8, or empty; all are too large; the budget is not within the
            context, or there is one and no file.
    """
    if not files:
        if budget is not None:
            raise UsageError("--context-tokens needs documents", hint="name them with --context-file")
        return None
    if budget is not None and context is not None and budget >= context:
        raise UsageError(
            f"--context-tokens {budget} leaves nothing of --context {context} for prompt and answer",
            hint="lower the one or raise the other",
        )
    documents = tuple["Document", ...]()
    for file in files:
        documents += (read_document(file, beside=documents),)
    return ContextFiles(documents=documents, budget=budget)


def read_document(file: Path, *, beside: Sequence["Document"] = ()) -> "Document":
    """Read one document, beside others that are there already.

    Raises:
        UsageError: the file can't be read, is no text in UTF-8, or empty; all together are too large.
    """
    from xpm_runtime.passages.choose import Document

    data = _read(file, MAX_BYTES - sum(len(each.text.encode()) for each in beside))
    return Document(name=file.name, text=_decoded(file, data))


def passages_for(
    engine: "Engine",
    context: ContextFiles,
    prompt: str,
    asked: "Prompt",
    *,
    max_tokens: int,
    encoder: "Encoder | None" = None,
) -> "Chosen":
    """What an engine is shown of documents for a prompt.

    Args:
        asked: the prompt as the engine gets it without the documents.
        max_tokens: of the answer.
        encoder: what compares meanings, beside words.
    Raises:
        CapacityError: there is no room for a passage.
    """
    from xpm_runtime.passages.choose import choose, room_beside

    room = room_beside(engine.count_tokens(asked), context=engine.context, max_tokens=max_tokens)
    return choose(
        context.documents,
        prompt,
        budget=room if context.budget is None else min(room, context.budget),
        count=engine.count_as_text,
        encoder=encoder,
    )


def encoder_of(environment: Environment) -> "Encoder | None":
    """What the setting ``router.embedder`` names, None if nothing; raises ModelLoadError if it can't be loaded."""
    if not (setting := str(Config.read(environment.home.root).get("router.embedder"))):
        return None
    from xpm_runtime.embedder import Embedder

    return Embedder.load(Path(setting).expanduser())


def _read(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(most + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read", context=error.strerror) from error
    if len(data) > most:
        raise UsageError(
            f"the documents are too large at {file}",
            context=f"all together may have {MAX_BYTES / 1e6:.0f} MB",
            hint="name the parts of them that matter",
        )
    return data


def _decoded(file: Path, data: bytes) -> str:
    if b"\0" in data:
        raise UsageError(f"{file} is binary", hint="name a text; of others make one first, e.g. with pdftotext")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} is not UTF-8", context=str(error)[:200], hint="convert it, e.g. with iconv"
        ) from error
    if not text.strip():
        raise UsageError(f"{file} is empty")
    return text.replace("\r\n", "\n")
