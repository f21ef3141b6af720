"""Providers of ONNX Runtime that nobody compared with the CPU are refused; `xpm doctor --device` compares them."""

import json

import pytest
from click.testing import CliRunner

from xpm.cli.main import cli
from xpm.config import DEVICES
from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations.answering import installed_parts
from xpm.operations.device_check import check_device
from xpm.operations.devices import remember, require_checked
from xpm.progress import Silent
from xpm_runtime import Engine
from xpm_runtime.forms import DEVICES as KNOWN_TO_THE_ENGINE


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    done = CliRunner().invoke(cli, ["install", "sql"], env={"XPM_HOME": str(home)})
    assert done.exit_code == 0, done.output
    return Environment.find(Home(home), home)


def test_the_names_are_the_engines():
    assert DEVICES == KNOWN_TO_THE_ENGINE


def test_a_device_that_computes_the_same_is_remembered(environment):
    is_same, found = check_device(environment, "cpu", progress=Silent())
    assert is_same, found
    assert "and 2 experts beside the CPU: KL 0.0000, likeliest token the same 100.0%" in found
    (key,) = json.loads((environment.home.root / "devices.json").read_text())
    assert key.startswith("cpu onnxruntime-")


def test_a_device_that_computes_something_else_is_not(environment, monkeypatch):
    """The engine on the second device has an expert too many: what it computes is not what the CPU did."""
    logits = Engine.logits
    loaded = []

    def shifted(self, ids, *, experts=()):
        loaded.append(id(self))
        found = logits(self, ids, experts=experts)
        return found if loaded[0] == id(self) else found[:, ::-1].copy()

    monkeypatch.setattr(Engine, "logits", shifted)
    kept = (environment.home.root / "devices.json").read_bytes()
    is_same, found = check_device(environment, "cpu", progress=Silent())
    assert not is_same
    assert "KL" in found
    assert (environment.home.root / "devices.json").read_bytes() == kept


def test_a_device_is_refused_until_it_was_compared(environment):
    base, _ = installed_parts(environment, progress=Silent())
    with pytest.raises(UsageError, match="--device coreml was not compared") as caught:
        require_checked(environment.home, base, "coreml")
    assert "xpm doctor --device coreml" in caught.value.hint
    remember(environment.home, base, "coreml")
    require_checked(environment.home, base, "coreml")
    for device in ("auto", "cpu", "cuda"):
        require_checked(environment.home, base, device)


def test_a_provider_that_is_not_there(environment):
    arguments = ["doctor", "--device", "webgpu", "--json"]
    done = CliRunner().invoke(cli, arguments, env={"XPM_HOME": str(environment.home.root)})
    assert done.exit_code == 1
    (finding,) = json.loads(done.stdout)
    assert finding["status"] == "problem"
    assert "WebGpuExecutionProvider could not be started" in finding["found"]
