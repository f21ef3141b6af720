"""`xpm serve --replicas`: several servers behind one address, by Ray Serve; on one machine, or
on those of a Ray cluster."""

import contextlib
import json
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations.choice import Candidates
from xpm.operations.extras import require_extra
from xpm.operations.install import require_stored
from xpm.operations.options import Options
from xpm.operations.serve import ServeOptions, application, require_key
from xpm.operations.serve_host import AUTO, BASE
from xpm.progress import Progress, Silent
from xpm_runtime.errors import ModelLoadError
from xpm_runtime.server.affinity import composition_key


def serve_by_ray(
    environment: Environment,
    options: ServeOptions,
    *,
    min_replicas: int,
    max_replicas: int,
    progress: Progress,
    ready: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C. Each replica loads the base, follows the lock and reads
    the keys as one server does.

    Args:
        ready: told of the address once requests are answered.
    Raises:
        MissingExtraError: the extra is not installed.
        UsageError: the address is public and there is no key, or processors are too few.
        XpmError, EngineError: what is installed can't be read or fetched, or no replica starts.
    """
    require_extra(("ray",), what="xpm serve --replicas", extra="ray")
    require_key(environment, options.host)
    import ray
    from ray import serve

    from xpm_runtime.server.ray_app import RaySettings, ray_application

    threads = options.run.threads
    settings = RaySettings(
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        num_cpus=threads or 1,
        num_gpus=1.0 if options.run.device == "cuda" else 0.0,
        max_ongoing=2 * options.max_lanes,
    )
    ended = threading.Event()
    home, folder = environment.home.root, environment.folder
    require_stored(environment, Options(progress=progress))  # fetched once, not by each replica
    try:
        with _told_as("Ray could not be started"):
            ray.init(ignore_reinit_error=True, include_dashboard=False, log_to_driver=False)
        _require_room(settings.min_replicas, settings.num_cpus, ray.cluster_resources().get("CPU", 0.0))
        app = ray_application(_opener(home, folder, options), _key_maker(home, folder, options), settings)
        with _told_as("the replicas could not be started"):
            serve.start(http_options={"host": options.host, "port": options.port})
            serve.run(app, name="xpm", route_prefix="/")
        for number in (signal.SIGTERM, signal.SIGINT):  # behind Ray's own, which end the process at once
            signal.signal(number, lambda *_: ended.set())
        ready(f"http://{options.host}:{options.port}")
        ended.wait()
        serve.shutdown()
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _told_as(message: str) -> Iterator[None]:
    """What Ray raises, bare exceptions among it, as an error of ours."""
    try:
        yield
    except Exception as error:
        raise ModelLoadError(
            message, context=str(error)[-300:], hint="try again, or `xpm serve` without --replicas"
        ) from error


def _require_room(num_servers: int, cpus_each: float, cpus: float) -> None:
    """Raise UsageError where Ray would wait for processors that do not come."""
    if num_servers * cpus_each > cpus:
        raise UsageError(
            f"{num_servers} servers of {cpus_each:g} CPUs each need {num_servers * cpus_each:g}, and there are "
            f"{cpus:g}",
            hint="lower --replicas or --threads, or add machines to the Ray cluster",
        )


def _opener(home: Path, folder: Path, options: ServeOptions) -> Callable[[], Any]:
    """Makes a replica's server in the replica's process: of paths, for an open environment can't be sent there."""

    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        with application(Environment.find(Home(home), folder), options, Silent()) as (app, worker):
            yield app
            worker.close(options.drain_s)

    return opened


def _key_maker(home: Path, folder: Path, options: ServeOptions) -> Callable[[], Callable[[str, bytes], str]]:
    """Makes, in the front's process, what says which experts a request is about."""

    def made() -> Callable[[str, bytes], str]:
        scratch = tempfile.TemporaryDirectory(prefix="xpm-front-")
        candidates = Candidates(
            Environment.find(Home(home), folder), base=options.run.base, scratch=Path(scratch.name), progress=Silent()
        )

        def key_of(path: str, body: bytes) -> str:
            with contextlib.suppress(Exception):  # any replica can answer, and says what is wrong with a request
                return _key_of(json.loads(body), candidates)
            return ""

        return key_of

    return made


def _key_of(asked: dict[str, Any], candidates: Candidates) -> str:
    model = str(asked.get("model") or AUTO)
    wanted = (asked.get("xpm") or {}).get("experts") or []
    names, scales = [str(each["id"]) for each in wanted], [float(each.get("scale", 1)) for each in wanted]
    if model not in (AUTO, BASE):
        names, scales = [model, *names], [1.0, *scales]
    if not names and model == AUTO:
        names = [each.name for each in candidates.compose(_last_turn(asked), None).experts]
        scales = [1.0] * len(names)
    return composition_key([name.replace(":", "@").partition("@")[0] for name in names], scales)


def _last_turn(asked: dict[str, Any]) -> str:
    """What the user said last, in whatever protocol."""
    turns = asked.get("messages") or asked.get("input") or asked.get("prompt") or ""
    if isinstance(turns, str):
        return turns
    content = next(each["content"] for each in reversed(turns) if each.get("role") == "user")
    return content if isinstance(content, str) else " ".join(str(each.get("text", "")) for each in content)
