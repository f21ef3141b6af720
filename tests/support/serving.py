"""A server in a thread of this process, on a free port."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from xpm.environment import Environment
from xpm.operations.answering import RunOptions
from xpm.operations.serve import ServeOptions, application
from xpm.progress import Silent
from xpm_runtime.server.connections import PatientProtocol
from xpm_runtime.server.work import Snapshot


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    app: Any

    @property
    def service(self) -> Any:
        return self.app.state.service

    def wait_until(self, is_so: Callable[[Snapshot], bool], seconds: float = 60.0) -> None:
        """Until the worker's snapshot is as wanted; fails if that takes longer."""
        deadline = time.monotonic() + seconds
        while not is_so(now := self.service.worker.snapshot()):
            assert time.monotonic() < deadline, now
            time.sleep(0.01)

    def wait_until_idle(self, seconds: float = 60.0) -> None:
        """Until nothing runs or waits; fails if that takes longer."""
        self.wait_until(lambda now: not now.running and not sum(now.waiting), seconds)


@contextlib.contextmanager
def serving(environment: Environment, **options: Any) -> Iterator[Served]:
    run = RunOptions(device="cpu", threads=1, **options.pop("run", {}))
    wanted = ServeOptions(run=run, port=0, **options)
    with application(environment, wanted, Silent()) as (app, _), socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http=PatientProtocol, log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", app)
        finally:
            server.should_exit = True
            thread.join()
