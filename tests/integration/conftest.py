"""What commands run in: a new project that uses the index which a test file's own ``index`` fixture makes."""

import pytest

from xpm.environment import Environment
from xpm.home import Home
from xpm.project import Project


@pytest.fixture
def environment(tmp_path, index):
    folder = tmp_path / "project"
    folder.mkdir()
    Project(indexes={"main": index.source}).save(folder)
    return Environment.find(Home(tmp_path / "home"), folder)
