"""Who stands behind a publisher: whether a domain, or a Git repository, says that the publisher's keys are its own.

Both say it in the same document, which only who keeps the one or the other can put there: ``{"publishers": {NAME: [KEY,
…]}}``. They are asked as a stranger would ask them, without a login, for only what everybody can look at is a proof.
"""

import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from xpm_index import strict_json
from xpm_index.errors import IndexFormatError, ManifestError, NoRepositoryError, TrustError
from xpm_index.fields import Fields
from xpm_index.git import BareRepo
from xpm_index.publishers import Publisher
from xpm_index.urls import is_loopback, origin_of, shown
from xpm_index.web import Web, WebError

DOCUMENT = "xpm-publisher.json"
WELL_KNOWN = f"/.well-known/{DOCUMENT}"
_MAX_BYTES = 64 << 10
_MAX_FETCH_BYTES = 256 << 20
_GONE = (404, 410)


class NotProvedError(TrustError):
    """A domain or a repository was asked, and does not say that the publisher's keys are its own."""


def check_domain(web: Web, domain: str, publisher: Publisher) -> None:
    """Ask ``domain`` whether every key of ``publisher`` that is not revoked is its own.

    Raises:
        NotProvedError: it does not say so. WebError: it can't be asked now.
    """
    scheme = "http" if is_loopback(urlsplit(f"//{domain}").hostname) else "https"
    url = f"{scheme}://{domain}{WELL_KNOWN}"
    try:
        with web.request(url) as answer:
            if origin_of(answer.url) != origin_of(url):
                raise NotProvedError(f"{url} redirects to elsewhere", hint="the file must lie on the domain itself")
            data = answer.read(_MAX_BYTES)
    except WebError as error:
        if error.status in _GONE:
            raise NotProvedError(f"{domain} does not vouch for {publisher.namespace}", context=error.message) from error
        raise
    _require_named(publisher, data, by=domain, where=url, hint=f"{WELL_KNOWN} there")


def check_repository(url: str, publisher: Publisher) -> str:
    """Ask the repository at ``url`` the same: its file at the tip of its default branch; the commit that this is.

    One commit is fetched, into a throw-away repository, and of its files the one alone where the
    server can leave others out.

    Raises:
        NotProvedError: it does not say so, or there is none that everybody can read. GitError: it can't be asked now.
    """
    try:
        with (
            tempfile.TemporaryDirectory(prefix="xpm-git-", ignore_cleanup_errors=True) as folder,
            BareRepo.init(Path(folder) / "tip.git") as repo,
        ):
            commit = repo.fetch(
                url,
                default=True,
                anonymous=True,
                depth=1,
                blobs=False,
                max_bytes=_MAX_FETCH_BYTES,
                max_object_bytes=_MAX_FETCH_BYTES,
            )
            id = repo.regular_id(commit, DOCUMENT)
            if id is None:
                raise NotProvedError(
                    f"{shown(url)} does not vouch for {publisher.namespace}",
                    context=f"there is no file {DOCUMENT} at the tip of its default branch",
                )
            if not repo.has(id):
                repo.fetch_objects(url, [id], anonymous=True, max_bytes=_MAX_BYTES, max_object_bytes=_MAX_BYTES)
            data = repo.read_object(id, max_bytes=_MAX_BYTES, what=DOCUMENT)
    except NoRepositoryError as error:
        raise NotProvedError(
            f"{shown(url)} does not vouch for {publisher.namespace}",
            context=f"{error.message}: {error.context}" if error.context else error.message,
            hint=error.hint,
        ) from error
    where = f"{DOCUMENT} of {shown(url)}"
    _require_named(publisher, data, by=shown(url), where=where, hint=f"{DOCUMENT} there")
    return commit


def _require_named(publisher: Publisher, data: bytes, *, by: str, where: str, hint: str) -> None:
    """Raise NotProvedError unless the document names every key of the publisher that is not revoked."""
    namespace = publisher.namespace
    said = _keys_said(data, where, namespace)
    for key in publisher.keys:
        if key.revoked_at is None and key.public.text not in said:
            raise NotProvedError(
                f"{by} does not say that {key.public.key_id} is a key of {namespace}",
                hint=f'{hint} is {{"publishers": {{"{namespace}": ["{key.public.text}"]}}}}',
            )


def _keys_said(data: bytes, where: str, namespace: str) -> tuple[str, ...]:
    try:
        publishers = Fields(strict_json.loads(data, what=where), error=IndexFormatError).object(
            "publishers", required=True
        )
        return publishers.strings(namespace)
    except (ManifestError, IndexFormatError) as error:
        raise NotProvedError(f"{where}: {error.message}", context=error.context) from error
