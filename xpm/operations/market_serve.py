"""Serving the pages of an index: the index followed as it changes, the server bound and ended in order."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpm.environment import Environment
from xpm.errors import NotFoundError, UsageError
from xpm.operations.extras import require_extra
from xpm.operations.listening import address_of, is_loopback, listening_at
from xpm.operations.market import public_url, read_snapshot
from xpm.operations.options import DEFAULTS, Options
from xpm.operations.publish import publish
from xpm.operations.replay import replayed
from xpm.progress import Silent
from xpm.site.pages import Site
from xpm_index.archive import read_manifest
from xpm_index.digests import sha256_bytes
from xpm_index.errors import SignatureError
from xpm_index.git import BareRepo
from xpm_index.index import IndexSnapshot
from xpm_index.integrity import read_signature
from xpm_index.keys import PublicKey
from xpm_index.tuf_keys import Keyring
from xpm_index.uploads import UploadClaim

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from xpm.site.upload import Uploads

DEFAULT_PORT = 8643
_HEADER_BYTES = 32 << 10
_DRAIN_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketOptions:
    """``allowed_hosts`` are names beside the bound one that a request may be addressed to; "*" is any.

    ``takes_uploads``: publishers may hand in archives, which are staged as branches of the index; ``runs_examples``:
    their READMEs' examples are asked first, with the base that is installed here. ``runs_trials``: the experts for that
    base answer whoever asks from their pages.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    allowed_hosts: tuple[str, ...] = ()
    clone_url: str = ""
    fingerprint: str = ""
    takes_uploads: bool = False
    runs_examples: bool = False
    runs_trials: bool = False


class RepositorySource:
    """An index in a repository on this machine; what it commits is seen at once."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path, self._fingerprint = path, fingerprint
        self._repo = BareRepo.open(path)

    def head(self) -> str:
        head = self._repo.head()
        if head is None:
            raise NotFoundError(f"{self._path} has no commit", hint="make an index with `xpm index init`")
        return head

    def snapshot(self, *, ahead: bool = False) -> IndexSnapshot:
        return read_snapshot(self._repo, fingerprint=self._fingerprint, ahead=ahead)

    def close(self) -> None:
        self._repo.close()


class NamedSource:
    """An index of the environment, as it was when the server started."""

    def __init__(self, environment: Environment, name: str, options: Options) -> None:
        self._indexes = options.indexes(environment, environment.project(), allow_stale=True)
        self._indexes.require_whole(name)
        with environment.locked():
            self._snapshot = self._indexes.snapshot(name)

    def head(self) -> str:
        return self._snapshot.commit

    def snapshot(self, *, ahead: bool = False) -> IndexSnapshot:
        return self._snapshot

    def close(self) -> None:
        self._indexes.__exit__()


def serve_market(
    environment: Environment,
    index: str,
    market: MarketOptions,
    *,
    ready: Callable[[str], None],
    options: Options = DEFAULTS,
) -> None:
    """Serve an index's pages until SIGTERM or Ctrl-C.

    Args:
        index: the name of an index of the environment, or the path of a repository.
        ready: told of the address once requests are answered.
    Raises:
        MissingExtraError: the extra is not installed. UsageError: the address can't be bound, or the index is a URL.
    """
    require_extra(("markdown_it", "starlette", "uvicorn"), what="xpm market serve", extra="market")
    with (
        listening_at(market.host, market.port) as listening,
        application(environment, index, market, options=options) as app,
    ):
        import uvicorn

        class Server(uvicorn.Server):
            """Says when it is ready."""

            async def startup(self, sockets: Sequence[Any] | None = None) -> None:
                await super().startup(list(sockets or ()))
                ready(address_of(listening))

        settings: dict[str, Any] = {
            "ws": "none",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "proxy_headers": False,
            "h11_max_incomplete_event_size": _HEADER_BYTES,
            "timeout_graceful_shutdown": _DRAIN_S,
        }
        Server(uvicorn.Config(app, http="h11", **settings)).run(sockets=[listening])


@contextlib.contextmanager
def application(
    environment: Environment, index: str, market: MarketOptions, *, options: Options = DEFAULTS
) -> Iterator["ASGIApp"]:
    """Everything behind the socket; freed at the end."""
    from xpm.operations.trials import Trials
    from xpm.site.app import create_app
    from xpm.site.live import LiveSite
    from xpm.site.trial import trial_routes

    if "://" in index:
        raise UsageError(
            f"{index[:80]} is a URL",
            hint="serve a clone of it, or add it with `xpm index add` and serve it by its name",
        )
    is_repository = Path(index).is_dir()
    source: RepositorySource | NamedSource = (
        RepositorySource(Path(index), market.fingerprint) if is_repository else NamedSource(environment, index, options)
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(source))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="xpm-market-"))
        trials = stack.enter_context(Trials(environment, progress=options.progress)) if market.runs_trials else None
        clone_url = market.clone_url or _clone_url(environment, index, market)
        site = Site(clone_url=clone_url, live=True, trial_base=trials.base_digest if trials else "")
        live = LiveSite(source, site, Path(scratch))
        live.reply("index.html", {})  # an index that can't be read is told before anybody asks
        routes = _uploads(environment, Path(index), source, market).routes if market.takes_uploads else []
        if trials:
            routes = [*routes, *trial_routes(live, trials)]
        yield create_app(live, hosts=_hosts(market), routes=routes)


def _uploads(
    environment: Environment, index: Path, source: RepositorySource | NamedSource, market: MarketOptions
) -> "Uploads":
    """What takes archives in for an index on this machine; raises UsageError if it is none."""
    from xpm.site.upload import Desk, Uploads

    if not isinstance(source, RepositorySource):
        raise UsageError("uploads are staged in a repository on this machine", hint="serve the index by its path")

    def key_of(claim: UploadClaim, now: datetime) -> PublicKey:
        """Read from a repository of its own: that of the pages is read by another thread."""
        with BareRepo.open(index) as repo:
            publisher = read_snapshot(repo, fingerprint=market.fingerprint).publisher(claim.publisher)
        return publisher.key(claim.key_id, at=f"{now:%Y-%m-%dT%H:%M:%SZ}")

    def stage(archives: Sequence[Path], claim: UploadClaim) -> dict[str, Any]:
        return staged(environment, index, archives, claim, runs_examples=market.runs_examples)

    index_id = source.snapshot().info.id
    desk = Desk(index_id=index_id, key_of=key_of, stage=stage)
    return Uploads(desk, environment.home.root / "market-uploads" / sha256_bytes(index_id.encode())[7:23])


def staged(
    environment: Environment, index: Path, archives: Sequence[Path], claim: UploadClaim, *, runs_examples: bool = False
) -> dict[str, Any]:
    """Verify and scan a version's archives and propose it on a branch, whatever keys this machine has;
    what the publisher is told.

    Raises:
        SignatureError: one is signed by another than who hands it in. What ``publish`` raises.
    """
    for each in archives:
        signature = read_signature(read_manifest(each))
        if (signature.publisher, signature.key_id) != (claim.publisher, claim.key_id):
            raise SignatureError("the archive is signed by another than who hands it in")
    replay = partial(replayed, environment, progress=Silent()) if runs_examples else None
    done = publish(environment.home, str(index), archives, keys=Keyring(), replay=replay)
    return {
        "name": done.entry.name,
        "version": str(done.entry.version),
        "branch": done.branch,
        "findings": [each.to_dict() for each in done.findings],
    }


def _clone_url(environment: Environment, index: str, market: MarketOptions) -> str:
    """Where those who see the pages clone the index from, if nobody said; its path for those on this machine alone."""
    is_here_alone = is_loopback(market.host) and not market.allowed_hosts
    if is_here_alone and Path(index).is_dir():
        return Path(index).resolve().as_uri()
    return public_url(environment, index)


def _hosts(market: MarketOptions) -> tuple[str, ...]:
    """Names that requests may be addressed to; any if so asked, or if everybody may come anyway."""
    if "*" in market.allowed_hosts or (not is_loopback(market.host) and not market.allowed_hosts):
        return ()
    return ("localhost", "127.0.0.1", "[::1]", market.host, *market.allowed_hosts)
