"""Is this machine fit for xpm? Each check looks at one thing and says what to do."""

import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from xpm.environment import Environment
from xpm.errors import LockfileError
from xpm.indexes import Indexes
from xpm.lockfile import require_current
from xpm.progress import Progress
from xpm.project import EMBEDDED
from xpm_index.git_program import is_available
from xpm_index.index import IndexSnapshot
from xpm_index.sparse_server import PREFIX, TIMESTAMP, Remote
from xpm_index.verified import expiry_of
from xpm_index.web import Web

_LEAST_FREE_BYTES = 2_000_000_000
_BUILT = datetime(2026, 1, 1, tzinfo=UTC)
_SOON = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``status`` is ok, warning or problem; ``advice`` says what to do, "" if nothing."""

    name: str
    status: str
    found: str
    advice: str = ""


def _ok(name: str, found: str) -> Finding:
    return Finding(name=name, status="ok", found=found)


def _warning(name: str, found: str, advice: str) -> Finding:
    return Finding(name=name, status="warning", found=found, advice=advice)


def _problem(name: str, found: str, advice: str) -> Finding:
    return Finding(name=name, status="problem", found=found, advice=advice)


def examine(environment: Environment, *, online: bool) -> list[Finding]:
    """Every check; ``online`` also asks the indexes' remotes. A check that fails itself is a problem."""
    findings: list[Finding] = []
    for name, check in (
        ("python", _python),
        ("runtime", _runtime),
        ("kernels", _kernels),
        ("home", _home),
        ("disk", _disk),
        ("keys", _keys),
        ("git", _git),
        ("clock", _clock),
        ("store", _store),
        ("environment", _environment),
    ):
        findings += _safely(name, lambda check=check: check(environment))  # type: ignore[misc]
    findings += _safely("indexes", lambda: _indexes(environment, online=online))
    return findings


def examine_device(environment: Environment, device: str, *, progress: Progress) -> list[Finding]:
    """Whether a device computes what the CPU does; if so, it may be used from now on."""

    def check() -> Iterator[Finding]:
        from xpm.operations.device_check import check_device

        is_same, found = check_device(environment, device, progress=progress)
        yield (
            _ok("device", f"{device}: {found}")
            if is_same
            else _problem("device", f"{device}: {found}", "use --device cpu")
        )

    return _safely("device", check)


def _safely(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:
        advice = getattr(error, "hint", None) or "see the message"
        return [_problem(name, str(error)[:200], advice)]


def _python(environment: Environment) -> Iterator[Finding]:
    yield _ok("python", f"{platform.python_version()} on {platform.platform(terse=True)}")


def _runtime(environment: Environment) -> Iterator[Finding]:
    import onnxruntime

    providers = [each.removesuffix("ExecutionProvider") for each in onnxruntime.get_available_providers()]
    found = f"onnxruntime {onnxruntime.__version__}: {', '.join(providers)}"
    has_gpu = shutil.which("nvidia-smi") is not None
    if has_gpu and "CUDA" not in providers:
        yield _warning(
            "runtime", f"{found}; there is an NVIDIA GPU that it can't use", "pip install 'xpm-experts[cuda]'"
        )
    else:
        yield _ok("runtime", found)


def _kernels(environment: Environment) -> Iterator[Finding]:
    """Which native kernels run here, and if none do, why: not compiled, not loadable, or nothing
    fast for such a processor."""
    from xpm_runtime import native

    family = native.family()
    if native.library() is not None:
        yield _ok("kernels", f"native kernels for {family} run here, for bases in int8 and int4")
        return
    instead = "quantised bases run on ONNX Runtime's own kernels, slower"
    if family:
        yield _ok("kernels", f"no native kernels: the processor has neither AVX2 nor ARM's dot products; {instead}")
    elif native.is_compiled():
        advice = "install xpm again on this machine"
        yield _warning("kernels", f"the native kernels can't be loaded, or are of another version; {instead}", advice)
    else:
        advice = "install a C compiler (Linux on x86-64 or ARM) and install xpm again, or leave it so"
        yield _warning("kernels", f"the native kernels were not compiled: {instead}", advice)


def _home(environment: Environment) -> Iterator[Finding]:
    root = environment.home.root
    environment.home.make()
    if not os.access(root, os.W_OK):
        yield _problem("home", f"{root} can't be written", "set XPM_HOME to another folder")
    elif hasattr(os, "getuid") and root.stat().st_uid != os.getuid():
        yield _warning("home", f"{root} is another user's", "set XPM_HOME to your own")
    else:
        yield _ok("home", str(root))


def _disk(environment: Environment) -> Iterator[Finding]:
    free = shutil.disk_usage(environment.home.root).free
    state = f"{free / 1e9:.1f} GB free"
    if free < _LEAST_FREE_BYTES:
        yield _warning("disk", state, "run `xpm gc`, or set XPM_HOME to a larger disk")
    else:
        yield _ok("disk", state)


def _keys(environment: Environment) -> Iterator[Finding]:
    paths = sorted(environment.home.keys.glob("*.json"))
    loose = [path.name for path in paths if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077]
    if loose:
        found = f"others can read {', '.join(loose)}"
        yield _problem("keys", found, f"chmod 600 {environment.home.keys}/*.json")
    else:
        yield _ok("keys", f"{len(paths)} keys" if paths else "no keys")


def _git(environment: Environment) -> Iterator[Finding]:
    if not is_available():
        advice = "install git: large indexes are fetched faster, and logins come from its credential helpers"
        yield _warning("git", "there is no git program", advice)
        return
    version = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    helper = subprocess.run(
        ["git", "config", "--get", "credential.helper"], capture_output=True, text=True
    ).stdout.strip()
    yield _ok("git", f"{version}, {f'credential helper {helper}' if helper else 'no credential helper'}")


def _clock(environment: Environment) -> Iterator[Finding]:
    now = datetime.now(UTC)
    if now < _BUILT:
        advice = "set the clock: with a wrong one, expired indexes and revoked keys look valid"
        yield _problem("clock", f"{now:%Y-%m-%d %H:%M} UTC is in the past", advice)
    else:
        yield _ok("clock", f"{now:%Y-%m-%d %H:%M} UTC")


def _store(environment: Environment) -> Iterator[Finding]:
    store = environment.store
    broken = [digest for digest in store.digests() if not (store.path_of(digest) / "manifest.json").is_file()]
    left = list((store.root / "tmp").glob("*")) if (store.root / "tmp").is_dir() else []
    if broken:
        advice = f"delete {store.path_of(broken[0])} and run `xpm sync`"
        yield _problem("store", f"{len(broken)} packages have no manifest", advice)
    elif left:
        yield _warning("store", "an interrupted command left files", "run `xpm gc`")
    else:
        yield _ok("store", f"{len(store.digests())} packages")


def _environment(environment: Environment) -> Iterator[Finding]:
    project, lock = environment.project(), environment.lockfile()
    if lock is None:
        yield _ok("environment", f"{environment.folder}: nothing is locked")
        return
    try:
        require_current(lock, project)
    except LockfileError as error:
        yield _warning("environment", error.message, error.hint or "")
        return
    missing = [package.name for package, ref in lock.stored if environment.store.get(ref.digest) is None]
    if missing:
        yield _warning("environment", f"not in the store: {', '.join(missing)}", "run `xpm sync`")
    else:
        yield _ok("environment", f"{environment.folder}: {len(lock.experts)} experts on {lock.base.name}")


def _indexes(environment: Environment, *, online: bool) -> Iterator[Finding]:
    now = datetime.now(UTC)
    with (
        environment.locked(),
        Indexes(environment.home, environment.project(), offline=True, allow_stale=True) as indexes,
    ):
        for name, source in indexes.sources.items():
            if name == EMBEDDED:
                continue
            what = f"index {name}"
            if indexes.age(name) == timedelta.max:
                yield _warning(what, "was never fetched", f"run `xpm index update {name}`")
                continue
            snapshot = indexes.snapshot(name)
            expires = expiry_of(snapshot.read_blob)
            state = (
                f"fetched {indexes.age(name).days} days ago, valid until {expires:%Y-%m-%d}" if expires else "fetched"
            )
            if expires and expires - now < _SOON:
                advice = f"run `xpm index update {name}`; if that does not help, tell its maintainer"
                yield (_warning if expires > now else _problem)(what, state, advice)
            else:
                yield _ok(what, state)
            if online:
                yield _ok(what, "reachable" + ("" if _is_newest(snapshot, source.url) else ", and has something newer"))


def _is_newest(snapshot: IndexSnapshot, url: str) -> bool:
    if not url.startswith(PREFIX):
        return snapshot.repo.remote_head(url) == snapshot.commit
    with Web() as web:
        return Remote(url, web).timestamp()[0] == snapshot.read_blob(TIMESTAMP)
