"""A sample of the faults that ``make faults`` injects; and that what is published by a rename was synced before."""

import re

import pytest

from tests.faults import harness
from tests.faults.__main__ import check, preload
from tests.faults.scenarios import SCENARIOS, build

pytestmark = pytest.mark.skipif(not harness.is_possible(), reason="strace is not here, or may not trace")
_SAMPLE = 5


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_nothing_is_left_half_done(scenario, tmp_path):
    preload()
    tally = check(scenario, _SAMPLE, 3, tmp_path)
    assert tally.faults == _SAMPLE
    assert tally.wrong == []


@pytest.mark.parametrize("name", ["install", "undo", "publish"])
def test_what_a_rename_publishes_was_synced_before(name, tmp_path):
    """For files renamed into place, and for every file of a folder that is: fsync comes first,
    then the folder is synced."""
    preload()
    scenario = next(each for each in SCENARIOS if each.name == name)
    world = build(tmp_path / name, scenario)
    log = tmp_path / "log"
    options = ["-y", "-s", "200", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2", "-o", str(log)]
    arguments = [each.format(root=world.root) for each in scenario.arguments]
    assert harness.run(arguments, folder=world.project, home=world.home, strace=options).code == 0
    synced: set[str] = set()
    published: list[str] = []
    for line in log.read_text().splitlines():
        if (match := re.search(r"fsync\(\d+<([^>]+)>", line)) is not None:
            synced.add(match[1])
        elif (
            match := re.search(r'rename\w*\((?:AT_FDCWD[^,]*, )?"([^"]+)", (?:AT_FDCWD[^,]*, )?"([^"]+)"', line)
        ) is not None:
            old, new = match[1], match[2]
            if any(part in new for part in ("xpm.toml", "xpm.lock", "/history/", "refs/heads", "/store/sha256/")):
                assert any(each == old or each.startswith(f"{old}/") for each in synced), f"{new} was not synced before"
                published.append(new)
    assert published
    for new in published:
        assert new.rpartition("/")[0] in synced, f"the folder of {new} was not synced"
