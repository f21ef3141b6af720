"""Serving what is installed over HTTP: the engine is loaded, the server bound, the lock watched,
and all is closed in order."""

import contextlib
import logging
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.operations.answering import RunOptions, load_engine
from xpm.operations.choice import Candidates
from xpm.operations.devices import require_checked
from xpm.operations.extras import require_extra
from xpm.operations.listening import address_of, is_loopback, listening_at
from xpm.progress import Progress

if TYPE_CHECKING:
    from fastapi import FastAPI

    from xpm.operations.serve_host import InstalledHost
    from xpm_runtime.server.worker import Worker

DEFAULT_PORT = 8642
KEYS_FILE, JOBS_FILE = "serve-keys.json", "serve-jobs.sqlite"
_WATCH_S = 1.0
_HEADER_BYTES = 32 << 10
_LOG = logging.getLogger("xpm.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """``run`` says what is loaded and how; its experts are those that are served, None for all that are installed.

    ``allowed_hosts`` are names beside the bound one that a request may be addressed to. ``drain_s`` is how long what
    runs may go on once the server is told to stop. ``jobs`` is the file of its jobs, None if it takes none.
    """

    run: RunOptions
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    max_lanes: int = 8
    max_queued: int = 256
    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 8 << 20
    timeout_s: float = 600.0
    drain_s: float = 30.0
    jobs: Path | None = None


def serve(environment: Environment, options: ServeOptions, *, progress: Progress, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, of which a second one ends it at once.

    Args:
        ready: told of the address once requests are answered.
    Raises:
        MissingExtraError: the extra is not installed. UsageError: the address can't be bound, or is public and
            there is no key. XpmError, EngineError: what is installed can't be read, fetched or loaded.
    """
    require_extra(("fastapi", "uvicorn", "prometheus_client"), what="xpm serve", extra="serve")
    require_key(environment, options.host)
    with (
        listening_at(options.host, options.port) as listening,  # first: that it can't be had is told at once
        application(environment, options, progress) as (app, worker),
    ):
        _run(app, worker, listening, options, ready)


def require_key(environment: Environment, host: str) -> None:
    """Raise UsageError if other machines can reach an address, and nobody has a key."""
    from xpm_runtime.server.keys import KeyFile

    if not is_loopback(host) and not KeyFile(environment.home.root / KEYS_FILE).active():
        raise UsageError(
            f"{host} can be reached from other machines, and there is no key",
            hint="make one with `xpm serve keys add NAME`, or leave --host out",
        )


@contextlib.contextmanager
def application(
    environment: Environment, options: ServeOptions, progress: Progress
) -> Iterator[tuple["FastAPI", "Worker"]]:
    """Everything behind the socket, loaded; freed at the end."""
    from xpm.operations.serve_host import InstalledHost
    from xpm_runtime.server.app import create_app
    from xpm_runtime.server.guard import Security
    from xpm_runtime.server.jobs import Jobs
    from xpm_runtime.server.keys import KeyFile
    from xpm_runtime.server.metrics import Metrics
    from xpm_runtime.server.service import Service
    from xpm_runtime.server.traces import tracer_of_environment
    from xpm_runtime.server.work import Limits
    from xpm_runtime.server.worker import Worker

    with tempfile.TemporaryDirectory(prefix="xpm-serve-") as scratch, contextlib.ExitStack() as stack:
        jobs = stack.enter_context(contextlib.closing(Jobs(options.jobs))) if options.jobs else None
        candidates = Candidates(environment, base=options.run.base, scratch=Path(scratch), progress=progress)
        require_checked(environment.home, candidates.base, options.run.device)
        engine = stack.enter_context(load_engine(candidates.base, options.run, max_lanes=options.max_lanes))
        host = InstalledHost(environment, candidates, engine, only=options.run.experts, progress=progress)
        worker = Worker(engine, limits=Limits(max_queued=options.max_queued, timeout_s=options.timeout_s))
        worker.start()
        stack.callback(worker.close, 0.0)
        stack.enter_context(_watched(host))
        security = Security(
            keys=KeyFile(environment.home.root / KEYS_FILE),
            hosts=("localhost", "127.0.0.1", "[::1]", options.host, *options.allowed_hosts),
            needs_key=not is_loopback(options.host),
            max_body_bytes=options.max_body_bytes,
        )
        if (tracer := tracer_of_environment()) is not None:
            stack.callback(tracer.close)
        service = Service(
            engine,
            worker,
            host,
            Metrics(worker.snapshot),
            spend=security.quotas.spend,
            priority_of=security.keys.priority,
            tracer=tracer,
            speculative=options.run.sampling.get("speculative"),
        )
        yield create_app(service, security, jobs=jobs, version=version("xpm-experts")), worker


@contextlib.contextmanager
def _watched(host: "InstalledHost") -> Iterator[None]:
    """Have the host look at the lock now and then; what goes wrong there is told, and what
    was served before goes on."""
    ended, told = threading.Event(), ""

    def watch() -> None:
        nonlocal told
        while not ended.wait(_WATCH_S):
            try:
                if (found := host.refresh()) is not None:
                    _LOG.info("the lock changed", extra={"fields": {"added": found.added, "removed": found.removed}})
                told = ""
            except Exception as error:
                if str(error) != told:
                    _LOG.warning("the lock can't be served: %s", error)
                told = str(error)

    thread = threading.Thread(target=watch, name="xpm-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _run(
    app: "FastAPI", worker: "Worker", listening: socket.socket, options: ServeOptions, ready: Callable[[str], None]
) -> None:
    import uvicorn

    from xpm_runtime.server.connections import PatientProtocol

    class Server(uvicorn.Server):
        """Says when it is ready, and on its way down lets what was accepted end."""

        async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
            await super().startup(list(sockets or ()))
            ready(address_of(listening))

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True
            threading.Thread(target=worker.close, args=(options.drain_s,), name="xpm-drain", daemon=True).start()

    settings: dict[str, Any] = {
        "http": PatientProtocol,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "h11_max_incomplete_event_size": _HEADER_BYTES,
        "timeout_graceful_shutdown": int(options.drain_s) + 1,
    }
    Server(uvicorn.Config(app, **settings)).run(sockets=[listening])
