"""Reviews from the key to the page: handed in, accepted, vouched for, taken down; attacks leave the index as it was."""

import json
from datetime import timedelta

import pytest

from xpm.cli.main import cli
from xpm.errors import NotFoundError
from xpm.home import Home
from xpm.indexes import Indexes
from xpm.operations import indexes as index_operations
from xpm.operations import maintain, market, review
from xpm.operations.options import Options
from xpm.operations.verify_index import verify_index
from xpm_index.errors import KeyFileError, SignatureError, TrustError
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.layout import REVIEWS, review_path
from xpm_index.tuf_keys import Keyring
from xpm_index.versions import Version

ONE = Version.parse("1.0.0")
WHEN, LATER = "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "reviewer")


@pytest.fixture
def key():
    return SigningKey.generate()


def head(index):
    return IndexWriter.open(index.path).head


def write(home, index, key, *, keys, stars=4, text="joins are right", when=WHEN, name="a"):
    return review.review(home, index.url, name, ONE, stars=stars, text=text, key=key, keys=keys, when=when)


def test_a_review_is_proposed_accepted_and_shown(index, environment, home, key, tmp_path):
    before = head(index)
    done = write(home, index, key, keys=Keyring())
    assert done.branch == f"review/expert-a-1.0.0-{key.key_id}"
    assert head(index) == before
    assert maintain.accept(home, index.url, [done.branch], keys=index.index_keys.ring, dry_run=True)
    assert head(index) == before
    (accepted,) = maintain.accept(home, index.url, [done.branch], keys=index.index_keys.ring)
    assert (accepted.name, accepted.review.stars) == ("expert-a", 4)
    index_operations.update(environment, "main")
    found = review.reviews_of(environment, "a", Options(index_max_age=timedelta()))
    assert [each.text for file in found.files for each in file.reviews] == ["joins are right"]
    assert found.rating.count == 1
    market.build(environment, str(index.path), tmp_path / "site")
    document = json.loads((tmp_path / "site/experts/expert-a.json").read_text())
    assert (document["reviews"][0]["text"], document["rating"]["count"]) == ("joins are right", 1)
    assert "joins are right" in (tmp_path / "site/experts/expert-a.html").read_text()
    assert verify_index(home, str(index.path)).problems == ()


def test_with_the_online_key_it_is_in_force_and_can_be_edited(index, home, key):
    online = Keyring([index.index_keys.online])
    assert write(home, index, key, keys=online).branch is None
    write(home, index, key, keys=online, stars=1, when=LATER)
    with pytest.raises(TrustError, match="is not later"):
        write(home, index, key, keys=online, stars=5)
    file = IndexWriter.open(index.path).reviews("expert-a", key.public)
    assert [each.stars for each in file.reviews] == [1]


def test_a_maintainer_takes_a_review_down_for_good(index, environment, home, key, tmp_path):
    online = Keyring([index.index_keys.online])
    write(home, index, key, keys=online)
    site = tmp_path / "site"
    market.build(environment, str(index.path), site)
    with pytest.raises(KeyFileError, match="online key"):
        review.take_down(home, index.url, "a", ONE, key.key_id, reason="advertising", keys=Keyring())
    review.take_down(home, index.url, "a", ONE, key.key_id, reason="advertising", keys=online)
    with pytest.raises(TrustError, match="taken down"):
        write(home, index, key, keys=online, when="2099-01-01T00:00:00Z")
    built = market.build(environment, str(index.path), site)
    assert built.num_rendered > 0
    document = json.loads((site / "experts/expert-a.json").read_text())
    assert (document["reviews"], document["removed_reviews"][0]["reason"]) == ([], "advertising")


def test_nobody_reviews_their_own(index, home):
    before = head(index)
    with pytest.raises(TrustError, match="who publishes expert-a"):
        write(home, index, index.key, keys=index.index_keys.ring)
    assert head(index) == before


def test_what_is_not_published_is_not_reviewed(index, home, key):
    with pytest.raises(NotFoundError, match="no gone"):
        write(home, index, key, keys=Keyring(), name="gone")


def test_a_forged_branch_is_not_accepted(index, home, key):
    done = write(home, index, key, keys=Keyring())
    path = review_path("expert-a", key.key_id)
    forged = json.loads(index.writer.repo.read_blob(index.writer.repo.branch_head(done.branch), path))
    forged["reviews"][0]["stars"] = 1
    index.writer.repo.commit_files(
        {path: json.dumps(forged).encode()}, message="x", author="x <x@localhost>", branch=done.branch
    )
    before = head(index)
    with pytest.raises(SignatureError):
        maintain.accept(home, index.url, [done.branch], keys=index.index_keys.ring)
    assert head(index) == before


def test_a_review_that_nothing_vouches_for_is_not_believed(index, environment, home, key, tmp_path):
    done = write(home, index, key, keys=Keyring())
    repo = index.writer.repo
    data = repo.read_blob(repo.branch_head(done.branch), review_path("expert-a", key.key_id))
    with Indexes(environment.home, environment.project()) as indexes:
        accepted = indexes.snapshot("main").commit
    repo.commit_files({review_path("expert-a", key.key_id): data}, message="x", author="x <x@localhost>")
    with pytest.raises(TrustError, match="nothing in the index vouches"):
        index_operations.update(environment, "main")
    with Indexes(environment.home, environment.project()) as indexes:
        assert indexes.snapshot("main").commit == accepted
    assert any(each.startswith(REVIEWS) for each in verify_index(home, str(index.path)).problems)


def test_an_index_from_before_reviews_learns_them_from_its_targets_key(index, environment, home, key, monkeypatch):
    monkeypatch.setattr("xpm_index.metadata_editor._ONLINE_PATHS", ("entries/*/*", "entries/*/*"))
    from tests.support.simulator import IndexSimulator

    (home.root / "old").mkdir(parents=True)
    old = IndexSimulator(home.root / "old")
    old.serve("expert-a", "1.0.0")
    monkeypatch.undo()
    with pytest.raises(KeyFileError, match="targets"):
        write(home, old, key, keys=Keyring([old.index_keys.online]))
    assert write(home, old, key, keys=old.index_keys.ring).branch is None
    write(home, old, key, keys=Keyring([old.index_keys.online]), when=LATER)  # from now on the online key will do
    assert verify_index(home, str(old.path)).problems == ()


def test_the_command_asks_for_what_is_missing():
    from click.testing import CliRunner

    done = CliRunner().invoke(cli, ["review", "expert-a", "--stars", "3"])
    assert "@VERSION, --text, --key, --index" in str(done.exception)
