"""Models on a Hugging Face hub, by its plain HTTP interface: a commit and its files, each gone on with where it stopped."""

import json
import os
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from xpm.errors import FetchError, unwritable
from xpm.http import download_to
from xpm.progress import Progress
from xpm_build.base.hub import WANTED
from xpm_index.digests import sha256_file
from xpm_index.errors import IntegrityError
from xpm_index.web import Web

_ENDPOINT = "https://huggingface.co"
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,127}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_ANSWER_BYTES = 1 << 24


def is_model_id(text: str) -> bool:
    """Whether ``text`` has the form ``owner/name``, perhaps with ``@revision``."""
    name, at, revision = text.partition("@")
    return bool(_ID.fullmatch(name)) and (not at or (bool(_REVISION.fullmatch(revision)) and ".." not in revision))


def fetch_model(model_id: str, revision: str, into: Path, *, file: str = "", progress: Progress) -> str:
    """Bring a model's files, or the one ``file``, into a folder; the commit that they are of.

    ``into`` gets a folder per commit; what is there whole is not fetched again.

    Raises:
        FetchError: there is no such model, or nothing in it to make a base of. IntegrityError: other bytes came than the hub
            states.
    """
    endpoint = os.environ.get("HF_ENDPOINT", _ENDPOINT).rstrip("/")
    token = os.environ.get("HF_TOKEN", "")
    private = {"Authorization": f"Bearer {token}"} if token else {}
    with Web() as web:
        about = f"{endpoint}/api/models/{model_id}/revision/{revision or 'main'}?blobs=true"
        with web.request(about, private=private) as answer:
            commit, files = _listing(answer.read(_MAX_ANSWER_BYTES), model_id)
        chosen = [entry for entry in files if _is_wanted(entry["rfilename"], file)]
        if not chosen:
            raise FetchError(
                f"{model_id} has nothing that a base is made of",
                context=f"looked for {file or ', '.join(WANTED)}",
                hint="name a GGUF file of it as hf:OWNER/NAME#FILE.gguf",
            )
        folder = into / commit
        folder.mkdir(parents=True, exist_ok=True)
        for entry in chosen:
            name = entry["rfilename"]
            if (folder / name).is_file():
                continue
            url = f"{endpoint}/{model_id}/resolve/{commit}/{name}"
            size = entry.get("size")
            if not isinstance(size, int):
                with web.request(url, private=private) as answer:
                    size = answer.length
            if size is None:
                raise FetchError(f"{url} does not say how large it is")
            progress.note(f"fetching {model_id} {name} ({size / 1e6:.1f} MB)")
            with _Growing(folder / name) as target:
                download_to(target, url, size=size, web=web, headers=private)
            stated = entry.get("lfs")
            if isinstance(stated, dict) and isinstance(stated.get("sha256"), str):
                target.require(f"sha256:{stated['sha256']}")
            target.finish()
    return commit


def _is_wanted(name: object, file: str) -> bool:
    if not isinstance(name, str) or "/" in name or "\\" in name or name.startswith("."):
        return False
    return name == file if file else any(fnmatch(name, pattern) for pattern in WANTED)


def _listing(data: bytes, model_id: str) -> tuple[str, Sequence[dict[str, Any]]]:
    try:
        document = json.loads(data)
        commit, files = document["sha"], [dict(each) for each in document["siblings"]]
    except (ValueError, KeyError, TypeError) as error:
        raise FetchError(f"the hub's answer about {model_id} could not be read", context=str(error)[:200]) from error
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise FetchError(f"the hub names no commit of {model_id}")
    return commit, files


class _Growing:
    """A file in the making; beside it lies what the server said of its version, so that only the same one is gone on with."""

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
