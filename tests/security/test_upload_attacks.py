"""Archives over HTTP: taken of publishers alone, resumed, staged for the maintainer; of every
attack nothing is staged."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from safetensors.numpy import save
from starlette.testclient import TestClient

from tests.security.test_archive_attacks import BAD_FILES, BAD_NAMES, BAD_TARS, PACKED
from tests.support.archives import member, pack, tar_of
from tests.support.packages import SLOTS
from tests.support.simulator import BASE_DIGEST
from xpm.home import Home
from xpm.operations import maintain
from xpm.operations.market_serve import MarketOptions, application
from xpm_index.archive import read_files, write_archive
from xpm_index.digests import sha256_bytes
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.manifest import Manifest
from xpm_index.metadata import now_utc
from xpm_index.publishing import sign_archive
from xpm_index.uploads import MAX_CHUNK_BYTES, OFFSET, UploadClaim

CORPUS = {
    **{f"name {key}": pack(tar_of(member(name, b"evil"))) for key, (name, _) in BAD_NAMES.items()},
    **{f"tar {key}": pack(tar) for key, (tar, _) in BAD_TARS.items()},
    **{f"file {key}": data for key, (data, _) in BAD_FILES.items() if data},
    "bomb": pack(tar_of(member("zeros", bytes(8 << 20))), level=19),
    "unsigned": PACKED,
}


def text(time) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def package(tmp_path, key, *, publisher="acme", files=None, name="expert-n", version="1.0.0", **more) -> bytes:
    path = tmp_path / "made.expert"
    base = {"name": "xpm-tiny", "sha256": BASE_DIGEST.removeprefix("sha256:")}
    manifest = Manifest({"name": name, "version": version, "license": "MIT", "base_models": [base], **more})
    write_archive(path, {"manifest.json": manifest.to_bytes(), **(files or {"slots.safetensors": SLOTS})})
    sign_archive(path, key, publisher=publisher, created_at=text(now_utc()))
    return path.read_bytes()


@pytest.fixture
def client(index, environment):
    for name, key in (("root", index.index_keys.root), ("online", index.index_keys.online)):
        key.save(environment.home.keys / f"{name}.json")  # what this machine could do it does not do for uploads
    with (
        application(environment, str(index.path), MarketOptions(takes_uploads=True)) as app,
        TestClient(app, base_url="http://localhost") as opened,
    ):
        yield opened


def claim_of(data, key, **altered) -> UploadClaim:
    claim = UploadClaim(
        index_id="id-of-main",
        digest=sha256_bytes(data),
        size=len(data),
        kind="expert",
        publisher="acme",
        key_id=key.key_id,
        at=text(now_utc()),
    )
    return replace(claim, **altered)


def send(client, data, key, *, offset=0, headers=None, **altered):
    claim = claim_of(data, key, **altered)
    sent = {**claim.headers(key), OFFSET: str(offset), **(headers or {})}
    return client.patch(f"/uploads/{claim.digest}", content=data[offset:], headers=sent)


def state(index, environment):
    """Everything that could tell of an upload: the index's refs, and what lies waiting."""
    refs = {
        path.relative_to(index.path).as_posix(): path.read_text()
        for path in (index.path / "refs").rglob("*")
        if path.is_file()
    }
    waiting = [path.name for path in (environment.home.root / "market-uploads").rglob("*") if path.is_file()]
    return refs, waiting


@pytest.fixture
def unchanged(client, index, environment):
    before = state(index, environment)
    yield
    assert state(index, environment) == before
    assert IndexWriter.open(index.path).read("archives/expert-n/expert-n-xpm-tiny.v1.0.0.expert") is None


def test_a_good_archive_is_staged_and_the_maintainer_accepts_it(client, index, environment, tmp_path):
    before = IndexWriter.open(index.path).head
    reply = send(client, package(tmp_path, index.key), index.key)
    assert reply.status_code == 201
    assert reply.json()["branch"] == "publish/expert-n-1.0.0"
    assert {each["rule"] for each in reply.json()["findings"]} == {"readme-missing"}
    assert IndexWriter.open(index.path).head == before
    assert state(index, environment)[1] == []
    (accepted,) = maintain.accept(
        Home(tmp_path / "m"), str(index.path), [reply.json()["branch"]], keys=index.index_keys.ring
    )
    assert accepted.entry.name == "expert-n"
    assert client.get("/experts/expert-n.html").status_code == 200


def test_an_upload_goes_on_where_it_broke_off(client, index, tmp_path):
    data = package(tmp_path, index.key)
    claim = claim_of(data, index.key)
    headers = claim.headers(index.key)
    first = client.patch(f"/uploads/{claim.digest}", content=data[:100], headers={**headers, OFFSET: "0"})
    assert (first.status_code, first.headers[OFFSET]) == (204, "100")
    assert client.head(f"/uploads/{claim.digest}", headers=headers).headers[OFFSET] == "100"
    again = client.patch(f"/uploads/{claim.digest}", content=data[:100], headers={**headers, OFFSET: "0"})
    assert (again.status_code, again.headers[OFFSET]) == (409, "100")
    assert (
        client.patch(f"/uploads/{claim.digest}", content=data[100:], headers={**headers, OFFSET: "100"}).status_code
        == 201
    )


@pytest.fixture
def two(index, tmp_path):
    """The archives of one version, for two bases."""
    other = [{"name": "smollm2", "sha256": "ab" * 32}]
    return package(tmp_path, index.key), package(tmp_path, index.key, base_models=other)


def send_all(client, archives, key, **altered):
    digests = {sha256_bytes(each) for each in archives}
    return [
        send(client, each, key, **{"beside": tuple(sorted(digests - {sha256_bytes(each)})), **altered})
        for each in archives
    ]


def test_a_version_of_several_archives_is_staged_when_all_are_there(client, index, environment, tmp_path, two):
    first, last = send_all(client, two, index.key)
    assert (first.status_code, first.json(), first.headers[OFFSET]) == (202, {"missing": 1}, str(len(two[0])))
    assert (last.status_code, last.json()["branch"]) == (201, "publish/expert-n-1.0.0")
    assert state(index, environment)[1] == []
    (accepted,) = maintain.accept(
        Home(tmp_path / "m"), str(index.path), [last.json()["branch"]], keys=index.index_keys.ring
    )
    assert {each.base for each in accepted.entry.archives} == {"xpm-tiny", "smollm2"}


def test_what_waits_for_others_is_not_sent_again(client, index, two):
    (first,) = send_all(client, two, index.key)[:1]
    assert first.status_code == 202
    (again,) = send_all(client, two[:1], index.key)  # alone: what was there was taken when both were
    assert again.status_code == 201
    digest = sha256_bytes(two[1])
    beside = {"beside": (digest,)}
    assert send(client, two[0], index.key, **beside).status_code == 202
    claim = claim_of(two[0], index.key, **beside)
    headers = {**claim.headers(index.key), OFFSET: str(len(two[0]))}
    assert client.head(f"/uploads/{claim.digest}", headers=headers).headers[OFFSET] == str(len(two[0]))
    assert client.patch(f"/uploads/{claim.digest}", content=b"", headers=headers).json() == {"missing": 1}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "beside", ["sha256:x", "ab", ",", ",".join(f"sha256:{number:064x}" for number in range(8)), "sha256:" + "f" * 65]
)
def test_a_list_of_others_that_is_none(client, index, tmp_path, beside):
    data = package(tmp_path, index.key)
    reply = send(client, data, index.key, headers={"xpm-beside": beside})
    assert (reply.status_code, "signed" in reply.json()["error"]["message"]) == (403, True)


def test_the_archives_of_two_versions_are_not_staged_as_one(client, index, environment, tmp_path):
    refs = state(index, environment)[0]
    both = package(tmp_path, index.key), package(tmp_path, index.key, version="1.1.0")
    replies = send_all(client, both, index.key)
    assert [each.status_code for each in replies] == [202, 422]
    assert state(index, environment) == (refs, [])


@pytest.mark.usefixtures("unchanged")
def test_of_the_corpus_of_archives_nothing_is_staged(client, index):
    for what, data in CORPUS.items():
        reply = send(client, data, index.key)
        assert reply.status_code == 422, what
        assert reply.json()["error"]["message"], what


def _appended(data, tmp_path):
    return data + b"\0"


def _with_a_further_file(data, tmp_path):
    path = tmp_path / "altered.expert"
    path.write_bytes(data)
    write_archive(path, {**read_files(path), "extra.txt": b"evil"})
    return path.read_bytes()


def _with_other_weights(data, tmp_path):
    path = tmp_path / "altered.expert"
    path.write_bytes(data)
    write_archive(path, {**read_files(path), "slots.safetensors": save({"w": np.zeros(3, np.float32)})})
    return path.read_bytes()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("alter", [_appended, _with_a_further_file, _with_other_weights])
def test_an_archive_that_was_altered_after_signing_is_refused(client, index, tmp_path, alter):
    assert send(client, alter(package(tmp_path, index.key), tmp_path), index.key).status_code == 422


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({"adapter_model.bin": b"\x80\x04"}, "file-kind"),
        ({"slots.safetensors": save({"w": np.array([np.nan], np.float32)})}, "tensor-finite"),
        ({"README.md": b"hf_" + b"a" * 34}, "secret"),
    ],
)
def test_what_the_rules_refuse_is_refused_by_its_rule(client, index, tmp_path, files, rule):
    reply = send(client, package(tmp_path, index.key, files=files), index.key)
    assert reply.status_code == 422
    assert f"[{rule}]" in reply.json()["error"]["context"]


@pytest.mark.usefixtures("unchanged")
def test_a_version_that_is_published_is_refused(client, index, tmp_path):
    reply = send(client, package(tmp_path, index.key, name="expert-a"), index.key)
    assert (reply.status_code, "published already" in reply.json()["error"]["message"]) == (422, True)


@pytest.mark.usefixtures("unchanged")
def test_a_stranger_is_refused_before_anything_is_kept(client, index, tmp_path):
    stranger = SigningKey.generate()
    data = package(tmp_path, stranger)
    assert send(client, data, stranger).status_code == 403
    assert send(client, data, stranger, key_id=index.key.key_id).status_code == 403
    assert send(client, data, stranger, publisher="nobody").status_code == 403


@pytest.mark.usefixtures("unchanged")
def test_an_archive_by_another_than_who_hands_it_in_is_refused(client, index, tmp_path):
    assert send(client, package(tmp_path, SigningKey.generate()), index.key).status_code == 422
    assert send(client, package(tmp_path, index.key, publisher="other"), index.key).status_code == 422


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "altered",
    [
        {"index_id": "id-of-another"},
        {"at": text(now_utc() - timedelta(days=2))},
        {"at": text(now_utc() + timedelta(hours=1))},
        {"publisher": "../acme"},
        {"kind": "exe"},
        {"size": 0},
        {"at": "yesterday"},
    ],
)
def test_a_claim_of_another_form_time_or_index_is_refused(client, index, tmp_path, altered):
    assert send(client, package(tmp_path, index.key), index.key, **altered).status_code == 403


@pytest.mark.usefixtures("unchanged")
def test_what_is_signed_for_other_bytes_opens_nothing(client, index, tmp_path):
    data, other = package(tmp_path, index.key), package(tmp_path, index.key, version="2.0.0")
    headers = {**claim_of(data, index.key).headers(index.key), OFFSET: "0"}
    assert client.patch(f"/uploads/{sha256_bytes(other)}", content=other, headers=headers).status_code == 403
    for name in headers:
        missing = {key: value for key, value in headers.items() if key != name}
        assert client.patch(f"/uploads/{sha256_bytes(data)}", content=b"x", headers=missing).status_code in (403, 409)


@pytest.mark.usefixtures("unchanged")
def test_other_bytes_than_were_signed_are_refused(client, index, tmp_path):
    data = package(tmp_path, index.key)
    claim = claim_of(data, index.key)
    reply = client.patch(
        f"/uploads/{claim.digest}", content=bytes(len(data)), headers={**claim.headers(index.key), OFFSET: "0"}
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "digest-mismatch")


@pytest.mark.usefixtures("unchanged")
def test_more_than_was_signed_or_than_a_piece_may_have_is_refused(client, index, tmp_path):
    data = package(tmp_path, index.key)
    claim = claim_of(data, index.key)
    headers = {**claim.headers(index.key), OFFSET: "0"}
    assert client.patch(f"/uploads/{claim.digest}", content=data + b"x", headers=headers).status_code == 413
    assert (
        client.patch(f"/uploads/{claim.digest}", content=bytes(MAX_CHUNK_BYTES + 1), headers=headers).status_code == 413
    )
    huge = send(client, b"x", index.key, size=1 << 40)
    assert huge.status_code == 413


def test_a_publisher_has_few_uploads_at_a_time(client, index, environment):
    statuses = [send(client, f"x{number}".encode(), index.key, size=100).status_code for number in range(10)]
    assert statuses == [204] * 8 + [429] * 2
    assert len(state(index, environment)[1]) == 8


def test_without_the_option_nothing_is_taken(index, environment, tmp_path):
    with (
        application(environment, str(index.path), MarketOptions()) as app,
        TestClient(app, base_url="http://localhost") as client,
    ):
        assert send(client, package(tmp_path, index.key), index.key).status_code == 405


def test_a_page_of_another_site_can_not_send(client, index, tmp_path):
    reply = client.options(
        "/uploads/x", headers={"origin": "https://evil.example", "access-control-request-method": "PATCH"}
    )
    assert "access-control-allow-origin" not in reply.headers


def test_what_is_told_is_json_that_names_the_reason(client, index):
    reply = send(client, CORPUS["unsigned"], index.key)
    assert set(json.loads(reply.text)["error"]) == {"code", "message", "context", "hint"}
