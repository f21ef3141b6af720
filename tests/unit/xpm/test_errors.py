"""Every package's expected failures are told alike, and nothing else is taken for one."""

import click
import pytest

from xpm.cli.render import error_document
from xpm.errors import ExpectedError, ResolutionError, UsageError
from xpm_build.errors import BuildError
from xpm_index.errors import XpmError
from xpm_runtime.errors import CapacityError, EngineError


@pytest.mark.parametrize("kind", [XpmError, UsageError, ResolutionError, EngineError, CapacityError, BuildError])
def test_what_is_expected(kind):
    error = kind("what and where", context="why", hint="what to do")
    assert isinstance(error, ExpectedError)
    document = error_document(error)["error"]
    assert [document[key] for key in ("message", "context", "hint")] == ["what and where", "why", "what to do"]
    assert (document["code"], document["exit_code"]) == (kind.code, kind.exit_code)


@pytest.mark.parametrize("error", [ValueError("x"), OSError(28, "x"), click.UsageError("x")])
def test_what_is_not(error):
    assert not isinstance(error, ExpectedError)
