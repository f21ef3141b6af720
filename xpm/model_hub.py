"""What is on a Hugging Face hub, by its plain HTTP interface: a commit and its files, each gone
on with where it stopped."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from xpm.errors import FetchError, unwritable
from xpm.http import download_to
from xpm.progress import Progress
from xpm_build.base.hub import WANTED
from xpm_index.digests import sha256_file
from xpm_index.errors import IntegrityError
from xpm_index.web import Web, WebError

_ENDPOINT = "https://huggingface.co"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_ANSWER_BYTES = 1 << 24
_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_MOST_BYTES = {"README.md": 1 << 22, "LICENSE": 1 << 22, _CONFIG: 1 << 22, _WEIGHTS: 1 << 33}
"""What an adapter is made of, in the order in which it is fetched, and how large each may be."""


def fetch_model(model_id: str, revision: str, into: Path, *, file: str = "", progress: Progress) -> str:
    """Bring a model's files, or the one ``file``, into a folder; the commit that they are of.

    ``into`` gets a folder per commit; what is there whole is not fetched again.

    Raises:
        FetchError: there is no such model, it may not be read, or nothing in it makes a base. IntegrityError: other
            bytes came than the hub states.
    """
    with _Hub(model_id) as hub:
        found = hub.listing(revision)
        chosen = [name for name in found.files if name == file or (not file and _is_of_a_base(name))]
        if not chosen:
            raise FetchError(
                f"{model_id} has nothing that a base is made of",
                context=f"looked for {file or ', '.join(WANTED)}",
                hint="name a GGUF file of it as hf:OWNER/NAME#FILE.gguf",
            )
        hub.fetch(found, chosen, into / found.commit, progress)
    return found.commit


def fetch_adapter(adapter_id: str, revision: str, into: Path, *, progress: Progress) -> str:
    """Bring an adapter's files into a folder, as ``fetch_model`` does; the commit that they are of.

    Raises:
        FetchError: there is no such adapter, it may not be read, or it is none that PEFT saved as safetensors.
        IntegrityError: other bytes came than the hub states.
    """
    with _Hub(adapter_id) as hub:
        found = hub.listing(revision)
        if _CONFIG not in found.files:
            is_model = "config.json" in found.files
            raise FetchError(
                f"{adapter_id} is no adapter that PEFT saved",
                context=f"it has no {_CONFIG}",
                hint=f"it is a model: `xpm base add {adapter_id}`" if is_model else "look at its files on the hub",
            )
        if _WEIGHTS not in found.files:
            pickles = [name for name in found.files if name.endswith((".bin", ".pt", ".pth"))]
            raise FetchError(
                f"{adapter_id} has no {_WEIGHTS}",
                context=f"{pickles[0]} is a pickle, which can run code and is never read" if pickles else None,
                hint="ask its owner for safetensors; or load it with PEFT where you trust it, save it with "
                "safe_serialization=True, and install the folder",
            )
        chosen = [name for name in _MOST_BYTES if name in found.files]
        hub.fetch(found, chosen, into / found.commit, progress, most=_MOST_BYTES)
    return found.commit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """A commit, and what the hub says of each file at the top of it, by name."""

    commit: str
    files: Mapping[str, Mapping[str, Any]]


class _Hub:
    """One repository of the hub that the environment names, asked with the token that it holds."""

    def __init__(self, hub_id: str) -> None:
        self._id = hub_id
        self._endpoint = os.environ.get("HF_ENDPOINT", _ENDPOINT).rstrip("/")
        token = os.environ.get("HF_TOKEN", "")
        self._private = {"Authorization": f"Bearer {token}"} if token else {}
        self._web = Web()

    def __enter__(self) -> "_Hub":
        self._web.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._web.__exit__(*error)

    def listing(self, revision: str) -> _Listing:
        """Raises FetchError: there is no such repository or revision, or it may not be read."""
        try:
            data = self._about(f"/revision/{revision or 'main'}?blobs=true")
        except WebError as error:
            raise self._refused(error, revision) from error
        try:
            document = json.loads(data)
            commit, files = document["sha"], [dict(each) for each in document["siblings"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FetchError(
                f"the hub's answer about {self._id} could not be read", context=str(error)[:200]
            ) from error
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise FetchError(f"the hub names no commit of {self._id}")
        named = {each["rfilename"]: each for each in files if _is_plain(each.get("rfilename"))}
        return _Listing(commit=commit, files=named)

    def fetch(
        self,
        found: _Listing,
        names: Sequence[str],
        folder: Path,
        progress: Progress,
        *,
        most: Mapping[str, int] | None = None,
    ) -> None:
        """Bring files of a commit into ``folder``; ``most`` is how many bytes each may have."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (folder / name).is_file():
                self._fetch(found, name, folder / name, progress, (most or {}).get(name))

    def _fetch(self, found: _Listing, name: str, path: Path, progress: Progress, most: int | None) -> None:
        url = f"{self._endpoint}/{self._id}/resolve/{found.commit}/{name}"
        entry = found.files[name]
        size = entry.get("size")
        try:
            if not isinstance(size, int):
                with self._web.request(url, private=self._private) as answer:
                    size = answer.length
            if size is None:
                raise FetchError(f"{url} does not say how large it is")
            if most is not None and size > most:
                raise FetchError(f"{self._id} {name} has {size} bytes", context=f"at most {most} are fetched")
            progress.note(f"fetching {self._id} {name} ({size / 1e6:.1f} MB)")
            with _Growing(path) as target:
                download_to(target, url, size=size, web=self._web, headers=self._private)
        except WebError as error:
            if error.status in (401, 403):
                raise self._refused(error, "") from error
            raise
        stated = entry.get("lfs")
        if isinstance(stated, dict) and isinstance(stated.get("sha256"), str):
            target.require(f"sha256:{stated['sha256']}")
        target.finish()

    def _about(self, more: str) -> bytes:
        with self._web.request(f"{self._endpoint}/api/models/{self._id}{more}", private=self._private) as answer:
            return answer.read(_MAX_ANSWER_BYTES)

    def _refused(self, error: WebError, revision: str) -> WebError | FetchError:
        if error.status in (401, 403):
            return FetchError(
                f"{self._id} may not be read",
                context="it is private or gated, or there is no such repository",
                hint="the token in HF_TOKEN does not give access: ask for it on the hub"
                if self._private
                else "set HF_TOKEN to a token of somebody who has access",
            )
        if error.status != 404:
            return error
        if revision and self._succeeds(lambda: self._about("/revision/main")):
            return FetchError(f"{self._id} has no revision {revision}", hint="name a branch, a tag or a commit of it")
        return FetchError(f"the hub has no {self._id}", hint="look at the spelling; HF_ENDPOINT names another hub")

    @staticmethod
    def _succeeds(ask: Callable[[], object]) -> bool:
        try:
            ask()
        except WebError:
            return False
        return True


def _is_of_a_base(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in WANTED)


def _is_plain(name: object) -> bool:
    """Whether it names a file at the top of a repository."""
    return isinstance(name, str) and not ("/" in name or "\\" in name or name.startswith("."))


class _Growing:
    """A file in the making; beside it lies what the server said of its version, so that only the
    same one is gone on with."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name}.partial")
        self._note = target.with_name(f".{target.name}.from")
        try:
            self._file = self._path.open("ab")
        except OSError as error:
            raise unwritable(f"{self._path} could not be written", error) from error
        self.num_bytes = self._file.tell()

    def __enter__(self) -> "_Growing":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> None:
        try:
            self._file.write(chunk)
        except OSError as error:
            raise unwritable(f"{self._path} could not be written", error) from error
        self.num_bytes += len(chunk)

    def rewind(self) -> None:
        self._file.truncate(0)
        self.num_bytes = 0

    def validator(self, url: str) -> str:
        try:
            return self._note.read_text(encoding="utf-8")
        except OSError:
            return ""

    def remember(self, url: str, validator: str) -> None:
        self._note.write_text(validator, encoding="utf-8")

    def require(self, digest: str) -> None:
        """Raise IntegrityError, and drop what came, if it is something else."""
        if sha256_file(self._path) != digest:
            self._path.unlink()
            raise IntegrityError(f"{self._target.name} is not what the hub says it is", context=f"expected {digest}")

    def finish(self) -> None:
        self._note.unlink(missing_ok=True)
        os.replace(self._path, self._target)
