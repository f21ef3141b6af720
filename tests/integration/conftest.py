"""What several tests of commands share: a home that a module keeps, and the command line in an empty folder."""

import pytest
from click.testing import CliRunner

from tests.support import models
from tests.support.gguf_files import write_gguf
from xpm.cli.main import cli


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def command(home, tmp_path, monkeypatch):
    """``command("run", …)`` in an empty folder, with the module's home; what it printed, or the
    error if ``code`` is not 0."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XPM_HOME", str(home))

    def call(*arguments, code=0, stdin=None):
        done = CliRunner().invoke(cli, arguments, input=stdin)
        if code:
            assert done.exception is not None
            return done.exception
        assert done.exit_code == 0, done.exception or done.output
        return done

    return call


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory):
    """A model's folder, and the same as a file."""
    place = tmp_path_factory.mktemp("models")
    source = models.save_tiny_model(place / "Tiny.Llama", architecture="llama", vocab_size=320)
    write_gguf(source, place / "tiny-Q4_1.gguf", kind="Q4_1")
    return place
