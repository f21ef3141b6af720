"""An expert's answers as its users will have them: compiled to slots and run by the engine."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from xpm_build.adapters import base_digest, compile_adapters, complete, save_slots
from xpm_build.dataset.rows import Row
from xpm_build.errors import EvaluationError
from xpm_build.export import export_base, load_model
from xpm_build.packages import adapter_places
from xpm_build.training.prompts import ANSWER_TOKENS, conversation
from xpm_index.archive import MANIFEST, extract_archive
from xpm_index.fields import Fields
from xpm_index.manifest import Manifest
from xpm_runtime import AdapterSpec, CapacityError, Engine, Message, Request, SamplingParams
from xpm_runtime.adapter import SLOTS

_BATCH = 16
Report = Callable[[str], None]


@contextmanager
def engine_of(
    base: Path, variant: str, subjects: Mapping[str, Path], *, threads: int | None = None, report: Report
) -> Iterator[Engine]:
    """An engine with every subject attached under its key."""
    with tempfile.TemporaryDirectory(prefix="xpm-validate-") as scratch:
        graph = Path(scratch) / "graph"
        report(f"exporting the base as {variant}")
        export_base(base, graph, variant=variant)
        model = load_model(base)
        for number, source in enumerate(subjects.values()):
            report(f"compiling {source}")
            _compile(source, Path(scratch) / str(number), model)
        del model
        with Engine.load(graph, threads=threads, max_lanes=_BATCH) as engine:
            for number, name in enumerate(subjects):
                engine.attach(AdapterSpec.read(name, Path(scratch) / str(number) / SLOTS))
            yield engine


def _compile(source: Path, out: Path, model: Any) -> None:
    """Slots of an expert's folder, or of a package file."""
    out.mkdir()
    folder = source
    if source.is_file():
        folder = out / "package"
        folder.mkdir()
        extract_archive(source, folder)
    manifest = Manifest.parse((folder / MANIFEST).read_bytes())
    places = adapter_places(manifest, folder)
    whole = [complete(folder / place, out / "whole" / place, model) for place in places]
    save_slots(compile_adapters(whole, model), out / SLOTS, base_digest=base_digest(model))


def sampling_of(manifest: Manifest) -> SamplingParams:
    """How a manifest's answers are decoded, but that the likeliest token is always taken.

    Raises:
        EvaluationError: a value has the wrong type; names the key. RequestError: it is out of bounds.
    """
    fields = Fields(dict(manifest.decoding), "decoding", error=EvaluationError)
    plain = SamplingParams()
    return SamplingParams(
        max_tokens=fields.integer("max_tokens", default=ANSWER_TOKENS),
        repetition_penalty=fields.number("repetition_penalty", default=plain.repetition_penalty),
        stop=fields.strings("stop_sequences"),
    )


def answers_of(
    engine: Engine, rows: Sequence[Row], experts: tuple[str, ...], sampling: SamplingParams
) -> tuple[list[str], list[str]]:
    """(answers, refusals) to rows: for a prompt that no lane can hold, "" and why; for any other, its answer and ""."""
    requests = [Request(prompt=_messages(row), experts=experts, sampling=sampling) for row in rows]
    refusals = [_refusal(engine, request) for request in requests]
    taken = [number for number, refusal in enumerate(refusals) if not refusal]
    results = engine.generate_batch([requests[number] for number in taken])
    answers = [""] * len(rows)
    for number, result in zip(taken, results, strict=True):
        answers[number] = result.text
    return answers, refusals


def _refusal(engine: Engine, request: Request) -> str:
    try:
        engine.cancel(engine.submit(request))
    except CapacityError as error:
        return error.message
    return ""


def _messages(row: Row) -> list[Message]:
    return [Message(cast(Any, each["role"]), each["content"]) for each in conversation(row)]
