"""The indexes of an environment on this machine: fetched copies, their history, and whose keys are accepted.

Each index is a bare repository under the home whose branch is the last head accepted. A head that does not descend from it
is refused. The embedded index comes with xpm itself, so it is replaced when xpm is.
"""

import hashlib
import importlib.resources
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from xpm.errors import FetchError, NotFoundError, StoreError
from xpm.files import write_atomically
from xpm.home import Home
from xpm.progress import Progress
from xpm.project import EMBEDDED, Project
from xpm_index import strict_json
from xpm_index.entries import Entry
from xpm_index.errors import TrustError
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot, check_update
from xpm_index.trust import PinnedKeys

_BUNDLE = "index.bundle"


class Indexes:
    """The indexes of one project, by priority; close after use (a context manager)."""

    def __init__(self, home: Home, project: Project, *, offline: bool = False) -> None:
        self._home = home
        self._offline = offline
        self.urls: Mapping[str, str] = {**project.indexes, EMBEDDED: ""}
        self._snapshots: dict[str, IndexSnapshot] = {}
        self._pins: dict[str, PinnedKeys] = {}

    def __enter__(self) -> "Indexes":
        return self

    def __exit__(self, *exc_info: object) -> None:
        for snapshot in self._snapshots.values():
            snapshot.repo.close()
        self._snapshots.clear()

    def snapshot(self, name: str) -> IndexSnapshot:
        """The index as last fetched; fetched now if it never was."""
        if name not in self.urls:
            raise NotFoundError(
                f"there is no index named {name}",
                context=f"there are {', '.join(self.urls)}",
                hint="add it with `xpm index add`",
            )
        if name not in self._snapshots:
            with self._open(name) as repo:
                missing = repo.head() is None
            if missing or name == EMBEDDED:
                self.update(name)
            repo = self._open(name)
            head = repo.head()
            assert head is not None  # update sets it or raises
            self._snapshots[name] = IndexSnapshot(repo, head, self._trust(name))
        return self._snapshots[name]

    def update(self, name: str, progress: Progress | None = None) -> bool:
        """Fetch an index and accept its head; whether it changed.

        Raises:
            TrustError: the head does not descend from the one seen before, or rewrites entries. GitError: it could not be fetched.
        """
        if name == EMBEDDED:
            return self._refresh_embedded()
        url = self.urls[name]
        if self._offline:
            raise FetchError(
                f"index {name} was never fetched, and --offline forbids it", hint=f"run `xpm index update {name}` once"
            )
        with self._open(name) as repo:
            old = repo.head()
            new = repo.fetch(
                url, progress=(lambda text: progress.note(text.strip())) if progress else (lambda text: None)
            )
            if old == new:
                return False
            if old is not None:
                check_update(repo, old, new)
            else:
                IndexSnapshot(repo, new, PinnedKeys())  # refuses what is no index
            repo.set_head(new)
        if (snapshot := self._snapshots.pop(name, None)) is not None:
            snapshot.repo.close()
        return True

    def update_all(self, progress: Progress | None = None) -> dict[str, bool]:
        return {name: self.update(name, progress) for name in self.urls}

    def forget(self, name: str) -> None:
        """Remove the fetched copy and the keys accepted through it."""
        shutil.rmtree(self._folder(name), ignore_errors=True)
        self._save_pins({key: value for key, value in self._load_pins().items() if key != self._folder(name).name})

    def entries(self, name: str) -> tuple[str, tuple[Entry, ...]]:
        """(index, its entries) of the one index that has ``name`` under either spelling; ("", ()) if none has.

        The embedded index gives way to any other. Two others claiming a name is an error, so that nobody can take over a
        name by publishing it elsewhere.
        """
        found = [(index, spelled) for index in self.urls if (spelled := self.snapshot(index).find(name))]
        explicit = [index for index, _ in found if index != EMBEDDED]
        if len(explicit) > 1:
            raise TrustError(
                f"{name} is in several indexes: {', '.join(explicit)}", hint="remove one of them from the project"
            )
        if not found:
            return "", ()
        index, spelled = found[0]
        return index, self.snapshot(index).entries(spelled)

    def all_names(self) -> list[str]:
        return sorted({name for index in self.urls for name in self.snapshot(index).names()})

    def save_trust(self) -> None:
        """Remember the publishers' keys accepted since this object was made."""
        changed = {folder: pins.pins for folder, pins in self._pins.items() if pins.is_changed}
        if changed:
            self._save_pins({**self._load_pins(), **changed})

    def _trust(self, name: str) -> PinnedKeys:
        folder = self._folder(name).name
        if folder not in self._pins:
            self._pins[folder] = PinnedKeys.of(self._load_pins().get(folder, {}))
        return self._pins[folder]

    def _folder(self, name: str) -> Path:
        """Copies are kept by URL, so that projects which name an index alike do not meet in one copy."""
        suffix = "" if name == EMBEDDED else "-" + hashlib.sha256(self.urls[name].encode()).hexdigest()[:12]
        return self._home.indexes / f"{name}{suffix}.git"

    def _open(self, name: str) -> BareRepo:
        folder = self._folder(name)
        return BareRepo.open(folder) if folder.is_dir() else BareRepo.init(folder)

    def _refresh_embedded(self) -> bool:
        """Bring the copy of the embedded index in line with the bundle of this xpm."""
        resource = importlib.resources.files("xpm").joinpath("embedded", _BUNDLE)
        with importlib.resources.as_file(resource) as bundle:
            if not bundle.is_file():
                raise StoreError("this xpm carries no embedded index", hint="install xpm again")
            with self._open(EMBEDDED) as repo:
                old, new = repo.head(), repo.bundle_head(bundle)
                if old == new:
                    return False
                if old is not None and not self._is_newer(repo, old, bundle):
                    repo.close()
                    self.forget(EMBEDDED)
                    return self._refresh_embedded()
                repo.set_head(repo.fetch(str(bundle)))
        return True

    def _is_newer(self, repo: BareRepo, old: str, bundle: Path) -> bool:
        return repo.is_ancestor(old, repo.fetch(str(bundle)))

    def _load_pins(self) -> dict[str, dict[str, list[str]]]:
        if not self._home.pins.is_file():
            return {}
        loaded = strict_json.loads(self._home.pins.read_bytes(), what=str(self._home.pins))
        if not isinstance(loaded, dict):
            raise StoreError(f"{self._home.pins} is damaged", hint="restore it, or delete it to accept publishers anew")
        return loaded

    def _save_pins(self, pins: Mapping[str, Mapping[str, object]]) -> None:
        write_atomically(self._home.pins, (json.dumps(pins, indent=2, sort_keys=True) + "\n").encode())
