"""What every command starts from: the home, its settings, and the environment of the folder it is called in."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from xpm.config import Config
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.options import Options
from xpm.progress import Progress


def here() -> Environment:
    return Environment.find(Home.of_user(), Path.cwd())


def options(progress: Progress, *, offline: bool = False, **more: Any) -> Options:
    """An operation's options from the user's settings and what the command line says."""
    config = Config.read(Home.of_user().root)
    return Options(
        progress=progress,
        offline=offline or bool(config.get("network.offline")),
        jobs=config.number("network.jobs"),
        index_max_age=timedelta(hours=config.number("index.ttl_hours")),
        **more,
    )
