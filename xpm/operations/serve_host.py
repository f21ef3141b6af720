"""What is installed, as the server asks for it: who answers a prompt, with which settings, and what the engine has."""

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpm.config import Config
from xpm.environment import Environment
from xpm.operations.answering import spec_of
from xpm.operations.choice import Candidates, named, with_required
from xpm.operations.decoding import sampling_settings, task_defaults
from xpm.operations.grammars import stated_by
from xpm.operations.install import require_stored
from xpm.operations.installed import Installed, packages_of
from xpm.operations.local import is_path
from xpm.operations.options import Options
from xpm.operations.parts import Part, part_of
from xpm.operations.route import router_of
from xpm.progress import Progress
from xpm_index.names import spellings
from xpm_runtime import Engine, RequestError
from xpm_runtime.router.turns import answered_before, goes_on
from xpm_runtime.server.host import Acting, Candidate, Choice, InUseError, Listed, Reloaded, Scaled, UnknownModelError

if TYPE_CHECKING:
    from xpm_runtime.embedder import Embedder
    from xpm_runtime.router.decision import Decision
    from xpm_runtime.router.route import Router

AUTO, BASE = "auto", "base"
MAX_EXPERTS = 10
_LATEST = "latest"
_WENT_ON = "nobody is likely to answer this by itself, so it is for whoever answered before"


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What is served since the lock was last read. ``parts`` are the experts by name, in
    the order in which they act."""

    number: int
    packages: tuple[Installed, ...]
    parts: Mapping[str, Part]

    def key(self, part: Part) -> str:
        """The name of an expert in the engine: another one after each change of the lock, so
        that what runs keeps its own."""
        version = part.manifest.version if part.manifest else "0"
        return f"{part.name}@{version}" + (f"+{self.number}" if self.number else "")

    def position(self, part: Part) -> int:
        return list(self.parts).index(part.name) + 1

    def find(self, id: str) -> Part:
        """The expert that NAME, NAME@VERSION or NAME:VERSION means; raises UnknownModelError."""
        name, version = _split(id)
        for each in spellings(name):
            part = self.parts.get(each)
            if part is not None and version in ("", str(part.manifest.version) if part.manifest else ""):
                return part
        known = ", ".join([AUTO, BASE, *list(self.parts)[:20]])
        raise UnknownModelError(f"no expert {id[:80]!r} is installed here", context=f"there are {known}")

    def with_required(self, names: Sequence[str]) -> list[Part]:
        wanted = {*with_required(self.packages, set(names)), *names}
        return [part for name, part in self.parts.items() if name in wanted]


class InstalledHost:
    """An environment behind a server. ``Host`` of ``xpm_runtime.server.host`` says what each method does.

    What the lock said when it was last read is served until ``reload``; one that was made of files named by path stays.
    """

    def __init__(
        self,
        environment: Environment,
        candidates: Candidates,
        engine: Engine,
        *,
        only: tuple[str, ...] | None = None,
        progress: Progress,
    ) -> None:
        """
        Args:
            only: names and paths of the experts that are served, with what they require; None
                for all that are installed.
        """
        self._environment, self._candidates, self._engine = environment, candidates, engine
        self._only, self._progress = only, progress
        self._attaching, self._routing = threading.Lock(), threading.Lock()
        self._embedder: Embedder | None = None
        self._state = self._read(0)
        self._router_without = lru_cache(maxsize=8)(self._make_router)
        self._lock_stamp = self._stamp()

    @property
    def base(self) -> Listed:
        part = self._candidates.base
        return _listed(part, kind="base", is_loaded=True)

    def route(
        self,
        prompt: str,
        *,
        model: str = AUTO,
        forced: Sequence[Scaled] = (),
        excluded: Sequence[str] = (),
        max_experts: int | None = None,
        earlier: Sequence[str] = (),
    ) -> Choice:
        state = self._state
        out = frozenset(state.find(each).name for each in excluded)
        wanted = list(forced)
        if not self._means_base(model) and _split(model)[0] != AUTO:
            part = state.find(model)
            if part.name not in {state.find(each.id).name for each in forced}:
                wanted.insert(0, Scaled(id=model))
        if wanted or _split(model)[0] != AUTO:
            return self._named(state, prompt, wanted, out)
        return self._routed(state, prompt, out, MAX_EXPERTS if max_experts is None else max_experts, earlier)

    def attach(self, keys: Sequence[str]) -> float:
        with self._attaching:
            missing = set(keys) - set(self._engine.attached)
            elapsed_ms, state = 0.0, self._state
            for part in state.parts.values():
                if (key := state.key(part)) in missing:
                    elapsed_ms += self._engine.attach(spec_of(part, state.position(part), name=key)).attach_ms
            return elapsed_ms

    def load(self, id: str) -> float:
        state = self._state
        return self.attach([state.key(each) for each in state.with_required([state.find(id).name])])

    def unload(self, id: str) -> None:
        state = self._state
        part = state.find(id)
        with self._attaching:
            if state.key(part) in self._engine.attached:
                try:
                    self._engine.detach(state.key(part))
                except RequestError as error:
                    raise InUseError(f"{part.name} is in use", hint="try again when what runs has ended") from error

    def list_experts(self) -> Sequence[Listed]:
        state, attached = self._state, set(self._engine.attached)
        return [_listed(each, kind="expert", is_loaded=state.key(each) in attached) for each in state.parts.values()]

    def embed(self, texts: Sequence[str]) -> tuple[str, list[list[float]], int] | None:
        folder = str(Config.read(self._environment.home.root).get("router.embedder"))
        if not folder:
            return None
        with self._routing:  # an embedder is for one thread at a time
            if self._embedder is None:
                from xpm_runtime.embedder import Embedder

                self._embedder = Embedder.load(Path(folder).expanduser(), threads=1)
            vectors, num_tokens = self._embedder.embed(texts), self._embedder.count_tokens(texts)
        return Path(folder).name, vectors.tolist(), num_tokens

    def reload(self) -> Reloaded:
        before = self._state
        with self._attaching:
            stamp = self._stamp()
            after = self._read(before.number + 1)
            self._lock_stamp = stamp
            if after.parts == before.parts:
                return Reloaded()
            self._state = after
            self._router_without.cache_clear()
        self.retire()
        old, new = ({state.key(each).partition("+")[0] for each in state.parts.values()} for state in (before, after))
        note = "" if self._same_base() else "the base changed: restart the server to use it"
        return Reloaded(added=tuple(sorted(new - old)), removed=tuple(sorted(old - new)), note=note)

    def refresh(self) -> Reloaded | None:
        """``reload`` if the lock's file is another than it was; what was replaced is let go of
        as soon as nothing uses it."""
        self.retire()
        return self.reload() if self._stamp() != self._lock_stamp else None

    def retire(self) -> None:
        """Take out of the engine what the lock no longer names, unless something still runs on it."""
        with self._attaching:
            current = {self._state.key(each) for each in self._state.parts.values()}
            for key in self._engine.attached:
                if key not in current:
                    with contextlib.suppress(RequestError):
                        self._engine.detach(key)

    def _read(self, number: int) -> _State:
        is_local = self._candidates.is_local
        lock = (
            self._environment.lockfile()
            if is_local
            else require_stored(self._environment, Options(progress=self._progress))
        )
        packages = packages_of(self._environment, lock)
        if self._only is not None:
            names = [each for each in self._only if not is_path(each)]
            paths = tuple(each for each in self._only if is_path(each))
            parts = [*(named(packages, names) if names else ()), *self._candidates.compose("", paths).experts]
        else:
            parts = [part_of(each) for each in packages if each.package.kind == "expert" and not is_local]
        return _State(number=number, packages=packages, parts={each.name: each for each in parts})

    def _stamp(self) -> tuple[int, int]:
        """When the lock was last written, and its size; (0, 0) if there is none."""
        try:
            found = (self._environment.folder / "xpm.lock").stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    def _same_base(self) -> bool:
        packages = () if self._candidates.is_local else self._state.packages
        return not packages or part_of(packages[0]).digest == self._candidates.base.digest

    def _means_base(self, model: str) -> bool:
        base, (name, version) = self.base, _split(model)
        return name == BASE or (name == base.name and version in ("", base.version))

    def _make_router(self, number: int, without: frozenset[str]) -> "Router":
        parts = [each for name, each in self._state.parts.items() if name not in without]
        return router_of(self._environment, parts, progress=self._progress)

    def _routed(
        self, state: _State, prompt: str, without: frozenset[str], max_experts: int, earlier: Sequence[str]
    ) -> Choice:
        hot = frozenset(key.partition("@")[0] for key in self._engine.attached)
        with self._routing:
            router = self._router_without(state.number, without)
            route = partial(router.route, hot=hot, max_experts=max_experts)
            decision = route(prompt)
            before = answered_before(earlier, route) if goes_on(decision) else ()
        chosen = decision.experts or before
        reasons = {each.name: "; ".join(each.reasons) or decision.reason for each in decision.candidates}
        reasons |= dict.fromkeys(before, _WENT_ON)
        parts = [each for each in state.with_required(chosen) if each.name not in without]
        parts = parts if len(parts) <= max_experts else [each for each in parts if each.name in chosen]
        experts = [
            _acting(state, each, 1.0, reasons.get(each.name, "")) if each.name in chosen else _required(state, each)
            for each in parts
        ]
        return Choice(
            experts=tuple(experts),
            settings=_settings(parts, prompt, decision),
            reason=_WENT_ON if before else decision.reason,
            task=decision.task,
            confidence=decision.confidence,
            candidates=tuple(
                Candidate(name=each.name, probability=each.probability, reasons=each.reasons)
                for each in decision.candidates
            ),
            ms=decision.ms["all"],
            grammar_of=partial(stated_by, parts),
        )

    def _named(self, state: _State, prompt: str, wanted: Sequence[Scaled], without: frozenset[str]) -> Choice:
        """Those that the client names, but for scale 0, with what they require."""
        scales: dict[str, float] = {}
        for each in wanted:
            name = state.find(each.id).name
            if name in scales:
                raise RequestError(f"{name} is named twice")
            scales[name] = each.scale
        if clash := without & scales.keys():
            raise RequestError(f"{min(clash)} is both asked for and excluded")
        on = [name for name, scale in scales.items() if scale]
        off = without | {name for name, scale in scales.items() if not scale}
        parts = [each for each in state.with_required(on) if each.name not in off]
        if len(parts) > MAX_EXPERTS:
            raise RequestError(f"{len(parts)} experts would act, at most {MAX_EXPERTS} do together")
        experts = [
            _acting(state, each, scales[each.name], "named by the client")
            if each.name in scales
            else _required(state, each)
            for each in parts
        ]
        reason = "named by the client" if experts else "the base was asked for"
        return Choice(
            experts=tuple(experts),
            settings=_settings(parts, prompt, None),
            reason=reason,
            grammar_of=partial(stated_by, parts),
        )


def _settings(parts: Sequence[Part], prompt: str, decision: "Decision | None") -> dict[str, Any]:
    defaults = task_defaults(decision.task, prompt) if decision else {}
    settings = sampling_settings([each.manifest for each in parts if each.manifest], {}, defaults=defaults)
    return {**settings, "grammar": stated_by(parts, prompt)}


def _acting(state: _State, part: Part, scale: float, reason: str) -> Acting:
    version = str(part.manifest.version) if part.manifest else ""
    return Acting(name=part.name, version=version, key=state.key(part), scale=scale, reason=reason)


def _required(state: _State, part: Part) -> Acting:
    return _acting(state, part, 1.0, "required by another")


def _split(id: str) -> tuple[str, str]:
    """(name, version or "") of NAME, NAME@VERSION, or NAME:VERSION as ollama writes it."""
    name, _, version = id.replace(":", "@", 1).partition("@")
    return name, "" if version == _LATEST else version


def _listed(part: Part, *, kind: str, is_loaded: bool) -> Listed:
    manifest = part.manifest
    return Listed(
        name=part.name,
        version=str(manifest.version) if manifest else "",
        kind=kind,
        description=manifest.description if manifest else "",
        digest=part.digest,
        num_bytes=_size_of(part.folder),
        license=str(manifest.license or "") if manifest else "",
        is_loaded=is_loaded,
    )


@lru_cache(maxsize=4096)
def _size_of(folder: Path) -> int:
    """Bytes of what was unpacked, which does not change; of an editable folder, those of when it was first asked."""
    return sum(each.stat().st_size for each in folder.iterdir() if each.is_file())
