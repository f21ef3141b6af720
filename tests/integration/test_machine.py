"""doctor, config, cache, gc, undo, completion: what concerns the machine rather than a package."""

import json
import subprocess
import sys
from datetime import timedelta

import pytest
from click.testing import CliRunner

from tests.support.projects import Listening, new_project
from tests.support.simulator import IndexSimulator
from xpm.cli.completion import installed_names
from xpm.cli.main import cli
from xpm.config import SETTINGS, Config
from xpm.errors import LockfileError, StoreError, UsageError
from xpm.operations import indexes as index_operations
from xpm.operations import install as operations
from xpm.operations import publish
from xpm.operations import undo as undoing
from xpm.operations.collect import collect
from xpm.operations.doctor import examine
from xpm.operations.graph import outdated, tree, why
from xpm.operations.options import Options
from xpm.sources import FromIndex
from xpm_index.entries import Yanked
from xpm_index.requirements import Requirement
from xpm_index.versions import Version, VersionRange


@pytest.fixture
def index(tmp_path):
    made = IndexSimulator(tmp_path)
    made.serve("expert-a", "1.0.0", requires=["expert-b@^1"])
    made.serve("expert-b", "1.0.0")
    made.serve("expert-b", "1.1.0")
    made.serve("expert-b", "2.0.0")
    return made


def install(environment, *texts):
    return operations.install(environment, [Requirement.parse(text) for text in texts])


def files(environment):
    return {
        name: (environment.folder / name).read_text()
        for name in ("xpm.toml", "xpm.lock")
        if (environment.folder / name).is_file()
    }


# Undo


def test_undo_and_redo_step_by_step(environment):
    states = [files(environment)]
    for name in ("b@1.0.0", "a", "b@^1"):
        install(environment, name)
        states.append(files(environment))
    operations.update(environment, [])
    states.append(files(environment))
    for state in reversed(states[:-1]):
        undoing.undo(environment)
        assert files(environment) == state
    with pytest.raises(UsageError, match="nothing to undo"):
        undoing.undo(environment)
    for state in states[1:]:
        undoing.redo(environment)
        assert files(environment) == state
    with pytest.raises(UsageError, match="nothing to redo"):
        undoing.redo(environment)


def test_a_new_change_drops_what_was_undone(environment):
    install(environment, "a")
    undoing.undo(environment)
    install(environment, "b@2.0.0")
    with pytest.raises(UsageError, match="nothing to redo"):
        undoing.redo(environment)


def test_what_was_edited_by_hand_is_not_undone(environment):
    install(environment, "a")
    path = environment.folder / "xpm.toml"
    path.write_text(path.read_text() + "\n# mine\n")
    with pytest.raises(UsageError, match=r"xpm\.toml changed since"):
        undoing.undo(environment)
    assert "# mine" in path.read_text()


def test_undo_brings_back_what_was_collected(environment):
    install(environment, "b@1.0.0")
    install(environment, "b@2.0.0")
    assert collect(environment.home, keep_undo=timedelta()).removed
    assert undoing.undo(environment).experts == ("expert-b 1.0.0",)
    assert operations.sync(environment).fetched == ()


def test_a_damaged_history_is_told(environment):
    install(environment, "a")
    environment.history.path.write_text("{")
    with pytest.raises(StoreError, match="is damaged") as caught:
        undoing.undo(environment)
    assert "delete it" in caught.value.hint


# Garbage


def test_gc_keeps_what_any_environment_needs(environment, index, tmp_path):
    install(environment, "b@1.0.0")
    second = new_project(tmp_path, index, name="other")
    install(second, "a")
    operations.uninstall(environment, ["b"])
    assert collect(environment.home).removed == ()
    planned = collect(environment.home, keep_undo=timedelta(), dry_run=True)
    done = collect(environment.home, keep_undo=timedelta())
    assert planned.removed == done.removed
    assert len(done.removed) == 1
    assert done.freed_bytes > 0
    assert operations.sync(second).fetched == ()


def test_gc_forgets_environments_that_are_gone(environment, tmp_path):
    install(environment, "a")
    environment.folder.rename(tmp_path / "moved")
    done = collect(environment.home)
    assert done.forgotten == (str(environment.folder),)
    assert environment.store.digests() == []


def test_gc_removes_nothing_if_a_lock_can_t_be_read(environment):
    install(environment, "a")
    before = environment.store.digests()
    (environment.folder / "xpm.lock").write_text("format = 1\n[")
    with pytest.raises(LockfileError):
        collect(environment.home, keep_undo=timedelta())
    assert environment.store.digests() == before


# Questions


def test_tree_and_why(environment):
    install(environment, "a", "b@1.1.0")
    base, nodes = tree(environment)
    assert base.name == "xpm-tiny"
    shown = {node.package.name: [child.package.name for child in node.children] for node in nodes}
    assert shown == {"expert-a": ["expert-b"], "expert-b": []}
    assert why(environment, "b") == (
        ("the project", "expert-b@1.1.0"),
        ("the project", "expert-a@^1.0.0", "expert-b@^1"),
    )


def test_outdated(environment):
    install(environment, "b@1.0.0")
    (found,) = outdated(environment)
    assert (str(found.version), str(found.allowed), str(found.newest)) == ("1.0.0", "1.0.0", "2.0.0")


def test_bump(environment):
    install(environment, "b@^1")
    assert operations.update(environment, [], bump=True).updated == ("expert-b 1.1.0 -> 2.0.0",)
    assert environment.project().wants == {"expert-b": FromIndex(requirement=Requirement.parse("expert-b@^2.0.0"))}


# Settings


def test_settings_round_trip(tmp_path, monkeypatch):
    Config.read(tmp_path).set(tmp_path, "network.jobs", "8")
    Config.read(tmp_path).set(tmp_path, "network.offline", "true")
    config = Config.read(tmp_path)
    assert (config.get("network.jobs"), config.get("network.offline"), config.get("index.ttl_hours")) == (8, True, 24)
    monkeypatch.setenv("XPM_NETWORK_JOBS", "2")
    assert config.number("network.jobs") == 2
    monkeypatch.setenv("XPM_NETWORK_JOBS", "many")
    with pytest.raises(UsageError, match="XPM_NETWORK_JOBS is 'many'"):
        config.get("network.jobs")
    Config.read(tmp_path).set(tmp_path, "network.jobs", None)
    assert "jobs" not in (tmp_path / "config.toml").read_text()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("network.job", "1", "there is no setting"),
        ("network.jobs", "0", "whole number from 1 to 16"),
        ("network.jobs", "99", "whole number from 1 to 16"),
        ("network.offline", "yes", "true or false"),
        ("run.device", "tpu", "one of auto, cpu, cuda"),
    ],
)
def test_settings_that_are_refused(tmp_path, key, value, told):
    with pytest.raises(UsageError) as caught:
        Config.read(tmp_path).set(tmp_path, key, value)
    assert told in f"{caught.value.message} {caught.value.hint}"
    assert not (tmp_path / "config.toml").exists()


@pytest.mark.parametrize(
    "text", ["[network]\njobs = 0", "[network]\nspeed = 1", "network = 1", "[", "[network]\njobs = 'x'"]
)
def test_malformed_settings_are_told(tmp_path, text):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(UsageError):
        Config.read(tmp_path)


def test_every_setting_says_what_it_means():
    assert all(each.meaning and "." in key for key, each in SETTINGS.items())


# The command line


def run(environment, *arguments, monkeypatch, code=0):
    monkeypatch.setenv("XPM_HOME", str(environment.home.root))
    monkeypatch.chdir(environment.folder)
    done = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def test_doctor_finds_a_healthy_machine_healthy(environment, monkeypatch):
    install(environment, "a")
    findings = {
        each["name"]: each
        for each in json.loads(run(environment, "doctor", "--json", "--online", monkeypatch=monkeypatch))
    }
    assert {"python", "runtime", "home", "disk", "keys", "git", "clock", "store", "environment", "index main"} <= set(
        findings
    )
    assert not [each for each in findings.values() if each["status"] == "problem"]


def test_doctor_finds_what_is_wrong(environment, monkeypatch):
    install(environment, "a")
    key = environment.home.keys / "k.json"
    key.parent.mkdir()
    key.write_text("{}")
    key.chmod(0o644)
    environment.project().with_range("expert-b", VersionRange.parse("^1")).save(environment.folder)
    folder = environment.store.path_of(environment.store.digests()[0])
    folder.chmod(0o755)
    (folder / "manifest.json").unlink()
    (environment.home.store / "tmp" / "left").mkdir(parents=True)
    found = {each.name: each for each in examine(environment, online=False)}
    assert (found["keys"].status, found["store"].status, found["environment"].status) == (
        "problem",
        "problem",
        "warning",
    )
    assert all(found[name].advice for name in ("keys", "store", "environment"))
    assert "problem: keys" in run(environment, "doctor", monkeypatch=monkeypatch, code=1)
    (environment.folder / "xpm.lock").write_text("[")
    assert any(each.name == "environment" and each.status == "problem" for each in examine(environment, online=False))


def test_the_cache_is_listed_and_cleaned(environment, monkeypatch):
    environment.home.downloads.mkdir(parents=True)
    (environment.home.downloads / "ab.partial").write_bytes(b"123")
    assert json.loads(run(environment, "cache", "list", "--json", monkeypatch=monkeypatch)) == [
        {"file": "ab.partial", "bytes": 3}
    ]
    run(environment, "cache", "clean", "--dry-run", monkeypatch=monkeypatch)
    assert (environment.home.downloads / "ab.partial").exists()
    run(environment, "cache", "clean", monkeypatch=monkeypatch)
    assert not list(environment.home.downloads.iterdir())


def test_config_on_the_command_line(environment, monkeypatch):
    run(environment, "config", "set", "network.jobs", "7", monkeypatch=monkeypatch)
    assert run(environment, "config", "get", "network.jobs", monkeypatch=monkeypatch) == "7\n"
    assert json.loads(run(environment, "config", "list", "--json", monkeypatch=monkeypatch))["network.jobs"] == 7
    run(environment, "config", "unset", "network.jobs", monkeypatch=monkeypatch)
    assert run(environment, "config", "get", "network.jobs", monkeypatch=monkeypatch) == "4\n"


def test_bash_completes_commands_and_names(environment, monkeypatch):
    install(environment, "a")
    script = run(environment, "completion", "bash", monkeypatch=monkeypatch)
    assert "_XPM_COMPLETE" in script
    asked = {"_XPM_COMPLETE": "bash_complete", "COMP_WORDS": "xpm undo", "COMP_CWORD": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", "from xpm.cli.main import cli; cli(prog_name='xpm')"],
        env=asked,
        capture_output=True,
        text=True,
    )
    assert "plain,undo" in done.stdout
    names = [each.value for each in installed_names(None, None, "expert-")]
    assert names == ["expert-b", "expert-a"]
    monkeypatch.chdir(environment.home.root)
    assert installed_names(None, None, "zzz") == []


def test_json_errors_carry_the_proof(environment, monkeypatch, index):
    index.serve("expert-c", "1.0.0", requires=["expert-b@^2"])
    monkeypatch.setenv("XPM_HOME", str(environment.home.root))
    arguments = [sys.executable, "-m", "xpm", "install", "a", "c", "--json"]
    done = subprocess.run(arguments, cwd=environment.folder, capture_output=True, text=True)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (3, "resolution")
    assert error["proof"]
    assert error["graph"]["nodes"]
    assert error["graph"]["conclusion"] in {node["id"] for node in error["graph"]["nodes"]}


# Yanked, and what others allow


def test_outdated_respects_what_the_others_allow(environment):
    """xpm.toml allows any expert-b, expert-a only the first."""
    install(environment, "a", "b@>=1")
    (found,) = outdated(environment)
    assert (found.name, str(found.version), str(found.allowed), str(found.newest)) == (
        "expert-b",
        "1.1.0",
        "1.1.0",
        "2.0.0",
    )
    operations.uninstall(environment, ["a"])
    (found,) = outdated(environment)
    assert str(found.allowed) == "2.0.0"


def test_what_was_yanked_is_shown_so(environment, index, monkeypatch):
    install(environment, "b@=1.1.0")
    ring = index.index_keys.ring
    for version in ("1.1.0", "2.0.0"):
        yanked = Yanked(reason="bad data")
        publish.set_yanked(environment.home, str(index.path), "b", Version.parse(version), yanked, keys=ring)
    publish.set_yanked(environment.home, str(index.path), "a", Version.parse("1.0.0"), Yanked(reason="gone"), keys=ring)
    index_operations.update(environment, "main")
    monkeypatch.chdir(environment.folder)
    monkeypatch.setenv("XPM_HOME", str(environment.home.root))

    def xpm(*arguments):
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
        return done

    listed = xpm("list")
    assert "1.1.0 (yanked)" in listed.stdout
    assert "warning: expert-b was yanked: bad data" in listed.stderr
    assert [each["yanked"] for each in json.loads(xpm("list", "--json").stdout)] == [None, "bad data"]
    info = xpm("info", "b").stdout
    assert "expert-b 1.0.0\n" in info
    assert "1.0.0, 1.1.0 (yanked), 2.0.0 (yanked)" in info
    assert "installed    1.1.0 (yanked)" in info
    rows = {line.split()[0]: line for line in xpm("search", "expert").stdout.splitlines()}
    assert "1.0.0 (yanked)" in rows["expert-a"]
    assert "(yanked)" not in rows["expert-b"]


def test_a_yanked_version_is_had_by_its_exact_number_with_a_warning(environment, index):
    listening = Listening()
    ring = index.index_keys.ring
    publish.set_yanked(environment.home, str(index.path), "b", Version.parse("1.1.0"), Yanked(reason="bad"), keys=ring)
    change = operations.install(environment, [Requirement.parse("b@=1.1.0")], Options(progress=listening))
    assert change.added == ("expert-b 1.1.0",)
    assert listening.warnings == ["expert-b 1.1.0 was yanked: bad"]
