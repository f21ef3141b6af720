"""What every command starts from: the home and the environment of the folder it is called in."""

from pathlib import Path

from xpm.environment import Environment
from xpm.home import Home


def here() -> Environment:
    return Environment.find(Home.of_user(), Path.cwd())
