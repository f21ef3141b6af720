"""An expert's answers as its users will have them: compiled to slots and run by the engine."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

from xpm_build.adapter.compile import compile_adapters, complete, save_slots
from xpm_build.adapter.peft_files import is_compiled
from xpm_build.adapter.places import adapter_places, for_base
from xpm_build.base.export import export_base
from xpm_build.base.fingerprint import base_digest
from xpm_build.base.model_slots import adaptable
from xpm_build.base.parity import load_model
from xpm_build.errors import EvaluationError
from xpm_build.json_lines import recover
from xpm_build.prompts import ANSWER_TOKENS, conversation
from xpm_build.rows import Row
from xpm_index.archive import MANIFEST, extract_archive
from xpm_index.fields import Fields
from xpm_index.manifest import Manifest
from xpm_runtime import AdapterSpec, CapacityError, ConstraintError, Engine, Message, Request, SamplingParams
from xpm_runtime.adapter import SLOTS, GrammarOf
from xpm_runtime.grammars import stated_grammar

_BATCH = 16
_TOLD_EVERY_S = 10.0
_FREE = " without a grammar"
Report = Callable[[str], None]
Turns = Sequence[dict[str, str]]


class AnswerJournal:
    """Answers on disk, under a digest of all that an answer depends on."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._answers: dict[str, str] = {}
        for record in recover(path):
            self._answers |= record
        self._stream = path.open("ab")

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> str:
        return self._answers[key]

    def __setitem__(self, key: str, answer: str) -> None:
        self._answers[key] = answer
        self._stream.write(json.dumps({key: answer}).encode() + b"\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


class Answerer:
    """Answers of the subjects of a validation, alone or composed; what the journal has already is not asked again."""

    def __init__(self, engine: Engine, journal: AnswerJournal) -> None:
        self._engine = engine
        self._journal = journal
        self._digests: dict[str, str] = {}

    @property
    def base(self) -> str:
        """The base's digest."""
        return self._engine.graph.base_digest

    def attach(self, name: str, slots: Path, grammar: GrammarOf | None = None) -> None:
        """``grammar``: of its answers, as ``AdapterSpec`` has it."""
        self._engine.attach(AdapterSpec.read(name, slots, grammar=grammar))
        self._digests[name] = hashlib.sha256(slots.read_bytes()).hexdigest() + (_FREE if grammar is None else "")

    def answers(
        self,
        rows: Sequence[Row],
        experts: tuple[str, ...],
        sampling: SamplingParams,
        *,
        scales: tuple[float, ...] = (),
        what: str,
        report: Report,
    ) -> tuple[list[str], list[str]]:
        """(answers, refusals) to rows: for a prompt that no lane can hold, "" and why; for any
        other, its answer and "".

        Args:
            scales: how strongly each of ``experts`` acts, 1 for all if empty.
            what: is being answered, for ``report``.
        """
        prompts = [conversation(row) for row in rows]
        keys = [self._key(prompt, experts, scales, sampling) for prompt in prompts]
        requests = {
            number: Request(prompt=_messages(prompts[number]), experts=experts, scales=scales, sampling=sampling)
            for number, key in enumerate(keys)
            if key not in self._journal
        }
        refusals = {number: why for number, request in requests.items() if (why := _refusal(self._engine, request))}
        waiting = [number for number in requests if number not in refusals]
        before, taken = len(rows) - len(requests), len(rows) - len(refusals)
        report(f"{what}: {len(rows)} cases" + (f", {before} answered before" if before else ""))
        started = told = time.monotonic()
        answered = self._engine.as_completed([requests[number] for number in waiting])
        for done, (place, result) in enumerate(answered, start=1):
            if result.error:
                raise EvaluationError("the engine could not answer a case", context=result.error)
            self._journal[keys[waiting[place]]] = result.text
            if (now := time.monotonic()) - told > _TOLD_EVERY_S and done < len(waiting):
                left = (now - started) / done * (len(waiting) - done)
                report(f"{what}: {before + done}/{taken}, {left:.0f} s left")
                told = now
        answers = ["" if number in refusals else self._journal[key] for number, key in enumerate(keys)]
        return answers, [refusals.get(number, "") for number in range(len(rows))]

    def _key(self, prompt: Turns, experts: tuple[str, ...], scales: tuple[float, ...], sampling: SamplingParams) -> str:
        graph = self._engine.graph
        acting = [[self._digests[name] for name in experts], *([scales] if scales else [])]
        parts = [graph.base_digest, graph.variant, *acting, asdict(sampling), prompt]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@contextmanager
def answerer_of(
    base: Path,
    variant: str,
    subjects: Mapping[str, Path],
    journal: AnswerJournal,
    *,
    threads: int | None,
    grammars: bool = True,
    report: Report,
) -> Iterator[Answerer]:
    """An engine with every subject attached under its key.

    Args:
        grammars: whether answers match what the manifests of their experts ask for, as when the experts are used.
    Raises:
        EvaluationError: an expert asks for a grammar that is not there.
    """
    with tempfile.TemporaryDirectory(prefix="xpm-validate-") as scratch:
        graph = Path(scratch) / "graph"
        report(f"exporting the base as {variant}")
        export_base(base, graph, variant=variant)
        model = load_model(base)
        asked = []
        for number, source in enumerate(subjects.values()):
            report(f"compiling {source}")
            asked.append(_compile(source, Path(scratch) / str(number), model))
        del model
        with Engine.load(graph, threads=threads, max_lanes=_BATCH) as engine:
            answerer = Answerer(engine, journal)
            for number, name in enumerate(subjects):
                answerer.attach(name, Path(scratch) / str(number) / SLOTS, asked[number] if grammars else None)
            yield answerer


def _compile(source: Path, out: Path, model: Any) -> GrammarOf | None:
    """Slots of an expert's folder, or of a package file; and the grammar that it asks for."""
    out.mkdir()
    folder = source
    if source.is_file():
        folder = out / "package"
        folder.mkdir()
        extract_archive(source, folder)
    manifest = Manifest.parse((folder / MANIFEST).read_bytes())
    base, digest = adaptable(model), base_digest(model)
    if len(manifest.bases) > 1:
        manifest = for_base(manifest, digest)
    if is_compiled(folder):
        shutil.copyfile(folder / SLOTS, out / SLOTS)  # the engine refuses what is for another base
    else:
        places = adapter_places(manifest, folder)
        whole = [complete(folder / place, out / "whole" / place, base) for place in places]
        save_slots(compile_adapters(whole, base), out / SLOTS, base_digest=digest)
    return _grammar_of(manifest, folder)


def _grammar_of(manifest: Manifest, folder: Path) -> GrammarOf | None:
    try:
        if stated_grammar(manifest.decoding, folder) is None:
            return None
    except ConstraintError as error:
        raise EvaluationError(
            f"{manifest.name}: {error.message}",
            context=error.context,
            hint=error.hint or "or judge it with --no-grammar",
        ) from error
    return partial(stated_grammar, manifest.decoding, folder)


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


def _refusal(engine: Engine, request: Request) -> str:
    try:
        engine.check(request)
    except CapacityError as error:
        return error.message
    return ""


def _messages(prompt: Turns) -> list[Message]:
    return [Message(cast(Any, each["role"]), each["content"]) for each in prompt]
