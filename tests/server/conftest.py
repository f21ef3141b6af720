"""One server for all tests of the protocols: the base and the experts that come with xpm."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.serving import Served, serving
from xpm.environment import Environment
from xpm.home import Home
from xpm.project import EMBEDDED_EXPERTS, Project

QUESTION = "List the names of users with age over 25. Schema: users(id, name, age)"
ANSWER = "SELECT name FROM users WHERE age > 25;"


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("project")
    Project(wants=EMBEDDED_EXPERTS).save(folder)
    return Environment(home=Home(tmp_path_factory.mktemp("home")), folder=folder, is_project=True)


@pytest.fixture(scope="session")
def served(environment: Environment) -> Iterator[Served]:
    with serving(environment, max_lanes=4) as found:
        yield found


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=60) as client:
        yield client
    served.wait_until_idle()
