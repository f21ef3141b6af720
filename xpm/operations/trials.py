"""Experts of an index, tried from its pages: verified as for an installation, answered by the
environment's base, one at a time."""

import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from xpm.environment import Environment
from xpm.operations.answering import Answerer, RunOptions
from xpm.operations.choice import Composition
from xpm.operations.parts import Part
from xpm.operations.run import messages
from xpm.progress import Progress
from xpm.site.live import Held
from xpm.site.pages import MAX_TRIAL_TOKENS
from xpm.site.trial import Trial
from xpm.trust import verify_archive

_MAX_WAITING = 4
_MAX_ATTACHED = 8
_MAX_S = 30.0


class Trials:
    """A context manager that frees the base. Any thread may ask."""

    def __init__(self, environment: Environment, *, progress: Progress) -> None:
        self._answerer = Answerer(environment, RunOptions(experts=()), progress=progress)
        self._folder = tempfile.TemporaryDirectory(prefix="xpm-trials-")
        self._parts: OrderedDict[str, Part] = OrderedDict()  # by archive; the last was asked last
        self._waiting = threading.BoundedSemaphore(_MAX_WAITING)
        self._lock = threading.Lock()

    def __enter__(self) -> "Trials":
        return self

    def __exit__(self, *error: object) -> None:
        self._answerer.close()
        self._folder.cleanup()

    @property
    def base_digest(self) -> str:
        """Of the base that answers; "" if it says none."""
        manifest = self._answerer.candidates.base.manifest
        return manifest.base.digest if manifest and manifest.base else ""

    def answer(self, held: Held, prompt: str) -> Trial | None:
        """What an expert answers, in at most 256 tokens and half a minute; None if too many are waiting already.

        Raises:
            NotFoundError: the index has lost it. TrustError, ArchiveError, …: what ``verify_archive`` refuses.
                EngineError: the engine can't run it.
        """
        if not self._waiting.acquire(blocking=False):
            return None
        try:
            with self._lock:
                return self._answered(held, prompt)
        finally:
            self._waiting.release()

    def _answered(self, held: Held, prompt: str) -> Trial:
        answerer, part = self._answerer, self._part(held)
        answerer.attach([part])
        composition = Composition(experts=(part,))
        sampling = answerer.sampling(composition, prompt)
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, MAX_TRIAL_TOKENS))
        started = time.monotonic()
        (result,) = answerer.answers(
            messages("", prompt),
            composition.experts,
            [sampling],
            show=lambda number, piece: None,
            stopped=lambda: time.monotonic() - started > _MAX_S,
        )
        return Trial(
            answer=result.text,
            version=str(held.entry.version),
            base=answerer.label,
            num_tokens=len(result.token_ids),
            seconds=time.monotonic() - started,
            is_cut=result.finish_reason != "stop",
        )

    def _part(self, held: Held) -> Part:
        """An expert, verified and unpacked; of many only the last that were asked stay."""
        digest = held.ref.digest
        if digest not in self._parts:
            name = held.entry.name
            for other in [key for key, part in self._parts.items() if part.name == name]:
                self._forget(other)
            while len(self._parts) >= _MAX_ATTACHED:
                self._forget(next(iter(self._parts)))
            folder = Path(self._folder.name)
            archive = folder / f"package.{held.entry.kind}"
            archive.write_bytes(held.read())
            verified = verify_archive(archive, held.ref, held.entry, held.key, scratch=folder)
            self._parts[digest] = Part(
                name=name,
                label=f"{name} {held.entry.version}",
                folder=verified.folder,
                manifest=verified.manifest,
                digest=digest,
            )
        self._parts.move_to_end(digest)
        return self._parts[digest]

    def _forget(self, digest: str) -> None:
        part = self._parts.pop(digest)
        self._answerer.detach(part)
        shutil.rmtree(part.folder, ignore_errors=True)
