"""The copy of the index that comes with xpm, as xpm is replaced by another version of itself."""

import pytest

from tests.support.packages import make_entry, make_index
from xpm.home import Home
from xpm.indexes import EMBEDDED, Indexes
from xpm.project import Project
from xpm_index.git import BareRepo
from xpm_index.keys import SigningKey


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """Where this xpm has its bundle."""
    path = tmp_path / "index.bundle"
    monkeypatch.setattr("xpm.indexes._BUNDLE", path)
    return path


def update(tmp_path):
    """(whether it changed, the versions that there are then)"""
    with Indexes(Home(tmp_path / "home"), Project()) as indexes:
        changed = indexes.update(EMBEDDED)
        return changed, [str(entry.version) for entry in indexes.snapshot(EMBEDDED).entries("expert-sql")]


def test_it_follows_the_bundle_forward_back_and_to_another_history(tmp_path, bundle, monkeypatch):
    key, taken = SigningKey.generate(), []
    take = BareRepo.take_bundle
    monkeypatch.setattr(BareRepo, "take_bundle", lambda repo, path: taken.append(path) or take(repo, path))
    first = make_index(tmp_path / "first.git", key, make_entry())
    first.repo.write_bundle(bundle)
    older = bundle.read_bytes()
    assert update(tmp_path) == (True, ["1.0.0"])
    assert update(tmp_path) == (False, ["1.0.0"])
    assert len(taken) == 1
    first.add_entry(make_entry(key_id=key.key_id, version="1.1.0"))
    first.repo.write_bundle(bundle)
    assert update(tmp_path) == (True, ["1.0.0", "1.1.0"])
    assert len(taken) == 2  # once for each change
    bundle.write_bytes(older)
    assert update(tmp_path) == (True, ["1.0.0"])
    make_index(tmp_path / "other.git", key, make_entry(version="3.0.0")).repo.write_bundle(bundle)
    assert update(tmp_path) == (True, ["3.0.0"])
