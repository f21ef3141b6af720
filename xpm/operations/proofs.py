"""Domains and Git repositories that vouch for publishers: asked, recorded by an index, asked again."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from xpm.home import Home
from xpm.operations.clock import now
from xpm.operations.open_index import opened
from xpm.operations.publish import keyring
from xpm.progress import Progress, Silent
from xpm_index.errors import GitError
from xpm_index.index_writer import IndexWriter
from xpm_index.proofs import NotProvedError, check_domain, check_repository
from xpm_index.publishers import DomainProof, GitProof, Publisher, parse_domain, parse_repository
from xpm_index.tuf_keys import Keyring
from xpm_index.web import Web, WebError


def verify_publisher(
    home: Home,
    index: str,
    namespace: str,
    *,
    domain: str = "",
    repository: str = "",
    keys: Keyring | None = None,
    progress: Progress | None = None,
) -> Publisher:
    """Ask a domain, a repository or both whether the publisher's keys are its own, and record the
    answer with the targets key.

    Raises:
        IndexFormatError: ``domain`` or ``repository`` is none. NotProvedError: it does not say so. WebError,
            GitError: it can't be asked.
    """
    domain, repository = domain and parse_domain(domain), repository and parse_repository(repository)
    with opened(home, index, keys=keys or keyring(home), progress=progress or Silent()) as target, Web() as web:
        publisher = target.writer.publisher(namespace)
        if domain:
            publisher = _asked_domain(web, domain, publisher)
        if repository:
            publisher = _asked_repository(repository, publisher)
        target.writer.put_publisher(publisher)
        return publisher


def ask_again(writer: IndexWriter, progress: Progress) -> None:
    """Ask every domain and repository that vouches for a publisher again, and record what came of it.

    One that can't be asked is warned of and stands; one that no longer says so is taken out.
    """
    with Web() as web:
        for namespace in writer.publishers():
            known = publisher = writer.publisher(namespace)
            if known.proof is not None:
                ask = partial(_asked_domain, web, known.proof.domain)
                publisher = _asked_again(ask, publisher, known.proof.domain, progress) or replace(publisher, proof=None)
            if known.git_proof is not None:
                url = known.git_proof.repository
                ask = partial(_asked_repository, url)
                publisher = _asked_again(ask, publisher, url, progress) or replace(publisher, git_proof=None)
            if publisher != known:
                writer.put_publisher(publisher)


def _asked_again(
    ask: Callable[[Publisher], Publisher], publisher: Publisher, who: str, progress: Progress
) -> Publisher | None:
    """The publisher with what was said now, or as it is if nobody could be asked; None if it
    is no longer vouched for."""
    try:
        return ask(publisher)
    except (WebError, GitError) as error:
        progress.warn(f"{who}, which vouches for {publisher.namespace}, could not be asked: {error.message}")
        return publisher
    except NotProvedError as error:
        progress.warn(f"{publisher.namespace} is no longer vouched for by {who}: {error.message}")
        return None


def _asked_domain(web: Web, domain: str, publisher: Publisher) -> Publisher:
    check_domain(web, domain, publisher)
    return replace(publisher, proof=DomainProof(domain=domain, checked_at=now()))


def _asked_repository(url: str, publisher: Publisher) -> Publisher:
    commit = check_repository(url, publisher)
    return replace(publisher, git_proof=GitProof(repository=url, commit=commit, checked_at=now()))
