"""The command itself, on the base that comes with xpm, which was never trained to find anything:
its figures are nobody's."""

import json
from contextlib import contextmanager

import pytest

from xpm.operations import bench
from xpm.operations.options import DEFAULTS
from xpm_build.bench.context.run import ContextOptions

_QUICK = ["--task", "needle", "--threads", "1", "--windows", "1"]


def test_it_measures_every_length(command):
    done = command("bench", "context", "--lengths", "420,300", *_QUICK, "--cases", "1", "--json")
    found = json.loads(done.stdout)
    assert [(each["task"], each["length"]) for each in found["answered"]] == [("needle", 300), ("needle", 420)]
    assert found["base"].startswith("xpm-tiny")
    assert all(value > 0 for value in found["prefill_tok_s"].values())
    assert set(found["loss"]) == {"300", "420"}
    assert found["reach"] in (300, 420)
    assert all(each["formula"] > 0 for each in found["memory"].values())
    assert "window 1 of 1, 420 tokens" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "2048,9000"], "made for 2,048 positions"),
        (["--text", "absent.txt"], "can't be read"),
        (["xpm-huge"], "the base here is xpm-tiny"),
    ],
)
def test_what_can_not_be_measured(command, arguments, message):
    error = command("bench", "context", *arguments, *_QUICK, code=2)
    assert message in str(error)


@pytest.mark.parametrize("lengths", ["many", "12", "512,,1024", "9999999"])
def test_lengths_that_are_none(command, lengths):
    assert command("bench", "context", "--lengths", lengths, *_QUICK, code=2).code == 2


def test_what_was_measured_before_an_interruption_is_kept(environment_here):
    told = []

    @contextmanager
    def after_one():
        yield lambda: bool(told)

    options = ContextOptions(lengths=(300, 420), tasks=("needle",), cases=3, windows=0, threads=1)
    found = bench.context(
        environment_here, "xpm-tiny", options, progress=DEFAULTS.progress, report=told.append, interruption=after_one
    )
    assert found.is_stopped
    assert len(found.answered) == 1


@pytest.fixture
def environment_here(command):
    from xpm.cli.context import here

    command("list")
    return here()
