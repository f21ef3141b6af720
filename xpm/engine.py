"""An engine of what a folder has installed: for programs that use xpm from Python.

The only way from a project to a running engine; what it returns is ``xpm_runtime``'s own ``Engine``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.answering import RunOptions, attach, installed_parts, load_engine
from xpm.operations.devices import require_checked
from xpm.progress import Silent

if TYPE_CHECKING:
    from xpm_runtime import CacheSettings, Engine


def open_engine(
    folder: str | Path = ".",
    *,
    device: str = "auto",
    threads: int | None = None,
    max_lanes: int = 8,
    context: int | None = None,
    rope: str = "",
    cache: "CacheSettings | None" = None,
    memory: int | None = None,
    kernels: str = "auto",
    grammars: bool = True,
) -> "Engine":
    """Load the base of the project that ``folder`` lies in and attach all its experts, under their
    names, in the lock's order.

    Outside a project it is the user's default environment. What xpm.lock names and the store lacks is
    fetched and verified first. Close the engine after use (it is a context manager). The other arguments are
    those of ``Engine.load``.

    Args:
        rope: how positions are scaled where a request is longer than the base was made for, e.g.
            "yarn"; "" for not at all.
        cache: how keys and values are kept; None for as the base's graph does.
        grammars: whether answers match what the manifests of their experts ask for, where a request
            brings no grammar itself.

    Raises:
        XpmError: the project can't be read, resolved or fetched. EngineError: the base or an expert can't be loaded.
    """
    environment = Environment.find(Home.of_user(), Path(folder).absolute())
    base, experts = installed_parts(environment, progress=Silent())
    require_checked(environment.home, base, device)
    options = RunOptions(
        sampling={},
        device=device,
        threads=threads,
        memory=memory,
        kernels=kernels,
        context=context,
        rope=rope,
        cache=cache,
    )
    engine = load_engine(base, options, max_lanes=max_lanes)
    try:
        attach(engine, experts, with_grammars=grammars)
    except BaseException:
        engine.close()
        raise
    return engine
