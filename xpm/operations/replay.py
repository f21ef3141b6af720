"""Asking an expert what its README shows, before others get it: an example is what it writes,
not what somebody hopes for."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import ExpectedError
from xpm.operations.answering import Answerer, RunOptions, never
from xpm.operations.run import messages
from xpm.progress import Progress
from xpm_index.archive import read_files, read_manifest

if TYPE_CHECKING:
    from xpm_build.manifest_check import Finding

RULE = "readme-answers"
_README = "README.md"
_FENCE = "```"
_MAX_EXAMPLES, _MAX_CHARS, _MAX_TOKENS, _MAX_README_CHARS = 5, 4_000, 512, 100_000
_SHOWN_CHARS = 60


def examples_of(readme: str) -> list[tuple[str, str]]:
    """(prompt, answer) of the first examples: a block marked ``prompt``, and the next one."""
    found = [
        (asked[:_MAX_CHARS], answered[:_MAX_CHARS])
        for (mark, asked), (other, answered) in pairwise(_blocks(readme[:_MAX_README_CHARS]))
        if mark == "prompt" != other
    ]
    return found[:_MAX_EXAMPLES]


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """(what it is marked as, content) of each fenced block that is closed."""
    mark, lines = None, list[str]()
    for line in text.splitlines():
        if mark is None:
            if line.startswith(_FENCE):
                mark, lines = line[len(_FENCE) :].strip(), []
        elif line.rstrip() == _FENCE:
            yield mark, "\n".join(lines)
            mark = None
        else:
            lines.append(line)


def replayed(environment: Environment, archive: Path, *, progress: Progress) -> "list[Finding]":
    """Warnings for what the expert in ``archive``, with the environment's base, answers otherwise than its README says.

    That it can't be asked here, for want of its base, is a warning too.
    """
    from xpm_build.publish_scan import finding

    if read_manifest(archive).kind != "expert":
        return []
    examples = examples_of(read_files(archive).get(_README, b"").decode(errors="replace"))
    if not examples:
        return []
    # Absolute, so that it is taken for a path, whatever its name is.
    options = RunOptions(experts=(str(archive.resolve()),), sampling={"temperature": 0.0})
    findings = []
    try:
        with Answerer(environment, options, progress=progress) as answerer:
            for prompt, wanted in examples:
                composition = answerer.candidates.compose(prompt, options.experts)
                answerer.attach(composition.experts)
                sampling = answerer.sampling(composition, prompt)
                sampling = replace(sampling, max_tokens=min(sampling.max_tokens, _MAX_TOKENS))
                with never() as stopped:
                    (result,) = answerer.answers(
                        messages("", prompt), composition.experts, [sampling], show=_unseen, stopped=stopped
                    )
                if result.text.strip() != wanted.strip():
                    said = " ".join(result.text.split())[:_SHOWN_CHARS]
                    findings.append(finding(RULE, _README, f"to {_begun(prompt)!r} it answers {said!r}"))
    except Exception as error:
        if not isinstance(error, ExpectedError):
            raise
        findings.append(finding(RULE, _README, f"its examples could not be asked: {error.message}"))
    return findings


def _begun(text: str) -> str:
    return " ".join(text.split())[:_SHOWN_CHARS]


def _unseen(number: int, piece: str) -> None:
    pass
