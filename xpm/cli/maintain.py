"""index: keeping an index; these commands join the group of ``xpm.cli.index``."""

from pathlib import Path

import click

from xpm.cli.index import index_command
from xpm.cli.render import Console
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations import maintain
from xpm.operations.proofs import verify_publisher
from xpm.operations.publish import Published, keyring, public_key
from xpm.operations.review import Reviewed, take_down
from xpm.operations.verify_index import IndexReport, verify_index
from xpm_index.urls import without_credentials
from xpm_index.versions import Version

__all__ = ["index_command"]

_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
_index = click.option("--index", required=True, metavar="PATH|URL", help="The index repository.")
_keys = click.option(
    "--key", "keys", multiple=True, help="A further key file to sign with, beside the keys of this user."
)


@index_command.command("init")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The index's name for itself.")
@click.option(
    "--root-key", "root_keys", multiple=True, help="A root key by name or file; repeatable. Made if not given."
)
@click.option("--threshold", type=click.IntRange(1), default=1, show_default=True, help="Root keys that must sign.")
@click.option("--targets-key", default="", help="The offline key for publishers; made if not given.")
@click.option("--online-key", default="", help="The key for entries; made if not given.")
@click.option(
    "--bin-bits",
    type=click.IntRange(1, maintain.MAX_BIN_BITS),
    default=4,
    show_default=True,
    help="Entries are split into 2**BITS bins; 8 to 10 for an index of 100,000 names.",
)
@_json
@click.pass_obj
def index_init_command(
    console: Console,
    path: Path,
    name: str,
    root_keys: tuple[str, ...],
    threshold: int,
    targets_key: str,
    online_key: str,
    bin_bits: int,
    as_json: bool,
) -> None:
    """Make a new index: a bare Git repository at PATH, with the keys that vouch for it.

    Example: xpm index init ./index.git --name acme
    """
    made = maintain.init_index(
        Home.of_user(),
        path,
        name,
        root_keys=root_keys,
        threshold=threshold,
        targets_key=targets_key,
        online_key=online_key,
        bin_bits=bin_bits,
    )
    if as_json:
        console.json({"path": str(made.path), "fingerprint": made.fingerprint, "made_keys": made.made_keys})
        return
    console.say(f"made index {name} at {path}")
    if made.made_keys:
        console.say(
            f"made keys {', '.join(made.made_keys)}; move {name}-root and {name}-targets to where only you can read "
            "them"
        )
    console.say("publish this fingerprint where users can compare it:")
    console.out(made.fingerprint)


@index_command.command("add-publisher")
@click.argument("publisher")
@_index
@click.option(
    "--publisher-key",
    required=True,
    metavar="KEY",
    help="The publisher's public key (ed25519:…), or a key's name or file.",
)
@click.option("--contact", default="", help="How to reach the publisher.")
@click.option("--homepage", default="", help="The publisher's page, for people.")
@_keys
@click.pass_obj
def index_add_publisher_command(
    console: Console, publisher: str, index: str, publisher_key: str, contact: str, homepage: str, keys: tuple[str, ...]
) -> None:
    """Register a publisher with a key, or a further key of a publisher; needs the targets key.

    Example: xpm index add-publisher acme --index ./index.git --publisher-key ed25519:…
    """
    home = Home.of_user()
    key = public_key(home, publisher_key)
    maintain.add_publisher(
        home, index, publisher, key, contact=contact, homepage=homepage, keys=keyring(home, keys), progress=console
    )
    console.say(f"registered {publisher} with key {key.key_id} in {without_credentials(index)}")


@index_command.command("verify-publisher")
@click.argument("publisher")
@click.option("--domain", default="", help="The domain that says that the publisher's keys are its own.")
@click.option("--git", "repository", default="", metavar="URL", help="The Git repository that says so, or says so too.")
@_index
@_keys
@click.pass_obj
def index_verify_publisher_command(
    console: Console, publisher: str, domain: str, repository: str, index: str, keys: tuple[str, ...]
) -> None:
    """Record that a domain or a Git repository vouches for a publisher; needs the targets key.

    A domain is asked for /.well-known/xpm-publisher.json, a repository for xpm-publisher.json on its default branch.

    Example: xpm index verify-publisher acme --git https://git.example.org/acme/about --index ./index.git
    """
    if not (domain or repository):
        raise UsageError("say who vouches for the publisher", hint="--domain DOMAIN, or --git URL of a repository")
    home = Home.of_user()
    proved = verify_publisher(
        home, index, publisher, domain=domain, repository=repository, keys=keyring(home, keys), progress=console
    )
    if domain and proved.proof:
        console.say(f"{proved.proof.domain} vouches for {publisher}")
    if repository and proved.git_proof:
        console.say(f"{proved.git_proof.repository} vouches for {publisher}, at commit {proved.git_proof.commit[:12]}")


@index_command.command("revoke")
@click.argument("publisher")
@click.argument("key_id")
@_index
@_keys
@click.pass_obj
def index_revoke_command(console: Console, publisher: str, key_id: str, index: str, keys: tuple[str, ...]) -> None:
    """Revoke a publisher's key from now on; what it published before stands.

    Example: xpm index revoke acme 0f3a… --index ./index.git
    """
    home = Home.of_user()
    maintain.revoke(home, index, publisher, key_id, keys=keyring(home, keys), progress=console)
    console.say(f"revoked key {key_id} of {publisher}; yank what it may have signed wrongly")


@index_command.command("rotate-key")
@click.argument("role", type=click.Choice(["root", "targets", "online"]))
@_index
@click.option("--new", required=True, metavar="KEY", help="The new key: a name, a file, or ed25519:….")
@click.option("--old", metavar="KEY_ID", help="The key it replaces; without it the role gets one key more.")
@_keys
@_json
@click.pass_obj
def index_rotate_key_command(
    console: Console, role: str, index: str, new: str, old: str | None, keys: tuple[str, ...], as_json: bool
) -> None:
    """Replace a key of the index itself, or without --old add one; needs as many root keys as its threshold says.

    Example: xpm index rotate-key online --index ./index.git --old 0f3a… --new acme-online-2
    """
    home = Home.of_user()
    fingerprint = maintain.rotate_key(
        home, index, role, old=old, new=public_key(home, new), keys=keyring(home, keys), progress=console
    )
    if as_json:
        console.json({"fingerprint": fingerprint, "replaced": old})
        return
    done = "rotated a key of" if old else "added a key to"
    still = "" if old else "; its old keys are still valid (replace one with --old)"
    console.say(f"{done} {role}{still}; users who trust an earlier root follow by themselves, new ones compare:")
    console.out(fingerprint)


@index_command.command("accept")
@click.argument("items", nargs=-1, required=True, metavar="FILE...|BRANCH|git+URL@TAG#PATH...")
@_index
@_keys
@click.option("--dry-run", is_flag=True, help="Verify and change nothing.")
@_json
@click.pass_obj
def index_accept_command(
    console: Console, items: tuple[str, ...], index: str, keys: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Put in force what is handed in: archives, a branch made by `xpm publish` or `xpm review`, or
    archives in a Git repository.

    Example: xpm index accept publish/expert-sql-1.2.0 --index ./index.git
    """
    home = Home.of_user()
    accepted = maintain.accept(home, index, items, keys=keyring(home, keys), progress=console, dry_run=dry_run)
    if as_json:
        console.json([dict(zip(("name", "version"), _accepted(each), strict=False)) for each in accepted])
    for each in accepted if not as_json else ():
        name, version, who = _accepted(each)
        console.say(f"{'would accept' if dry_run else 'accepted'} {name} {version} {who}")


def _accepted(done: Published | Reviewed) -> tuple[str, str, str]:
    """(name, version, by whom and what)."""
    if isinstance(done, Reviewed):
        return done.name, str(done.review.version), f"as reviewed by {done.key_id}"
    return done.entry.name, str(done.entry.version), f"by {done.entry.publisher}"


@index_command.command("remove-review")
@click.argument("package", metavar="NAME@VERSION")
@click.argument("key_id")
@_index
@click.option("--reason", required=True, help="Why, shown in its place.")
@_keys
@click.pass_obj
def index_remove_review_command(
    console: Console, package: str, key_id: str, index: str, reason: str, keys: tuple[str, ...]
) -> None:
    """Put a reason in the place of a review; its key can't write it anew. Needs the online key.

    Example: xpm index remove-review expert-sql@1.2.0 0f3a… --index ./index.git --reason "advertising"
    """
    name, at, version = package.partition("@")
    if not at:
        raise UsageError(f"{package} names no version", hint="write e.g. expert-sql@1.2.0")
    home = Home.of_user()
    take_down(
        home, index, name, Version.parse(version), key_id, reason=reason, keys=keyring(home, keys), progress=console
    )
    console.say(f"the review of {package} by {key_id} is taken down")


@index_command.command("refresh")
@_index
@_keys
@_json
@click.pass_obj
def index_refresh_command(console: Console, index: str, keys: tuple[str, ...], as_json: bool) -> None:
    """Sign anew what would expire, at least the timestamp; run it from a timer.

    Example: xpm index refresh --index ./index.git
    """
    home = Home.of_user()
    signed = maintain.refresh(home, index, keys=keyring(home, keys), progress=console)
    if as_json:
        console.json({"signed": signed})
    else:
        console.say(f"signed anew: {', '.join(signed)}")


@index_command.command("compact")
@_index
@_keys
@click.pass_obj
def index_compact_command(console: Console, index: str, keys: tuple[str, ...]) -> None:
    """Drop the history before the present state, so that first fetches stay small; needs the root keys.

    Example: xpm index compact --index ./index.git
    """
    home = Home.of_user()
    epoch = maintain.compact(home, index, keys=keyring(home, keys), progress=console)
    console.say(f"started epoch {epoch}; run `git gc --prune=now` in the repository to free the space")


@index_command.command("verify")
@click.argument("index", metavar="PATH|URL")
@_json
@click.pass_obj
def index_verify_command(console: Console, index: str, as_json: bool) -> None:
    """Verify a whole index: metadata, publishers, entries, the archives that it holds, and that there is nothing else.

    The exit code is 6 if there is a problem.

    Example: xpm index verify ./index.git
    """
    report = verify_index(Home.of_user(), index, progress=console)
    if as_json:
        console.json(_report(report))
    else:
        rows = [
            (r.name, r.version, f"{r.expires:%Y-%m-%d}", f"{r.threshold} of {', '.join(r.key_ids)}")
            for r in report.roles
        ]
        console.table(("role", "version", "expires", "keys"), rows)
        console.out(
            f"{report.num_names} names, {report.num_versions} versions, {report.num_archives} archives held,"
            f" {report.num_publishers} publishers"
        )
        console.out(f"fingerprint {report.fingerprint}")
        for path in report.others:
            console.say(f"nothing vouches for {path}, and no client reads it")
        for problem in report.problems:
            console.out(f"problem: {problem}")
    if report.problems:
        raise click.exceptions.Exit(6)


def _report(report: IndexReport) -> dict[str, object]:
    roles = [
        {
            "name": role.name,
            "version": role.version,
            "expires": role.expires.isoformat(),
            "keys": role.key_ids,
            "threshold": role.threshold,
        }
        for role in report.roles
    ]
    return {
        "names": report.num_names,
        "versions": report.num_versions,
        "archives": report.num_archives,
        "publishers": report.num_publishers,
        "fingerprint": report.fingerprint,
        "problems": report.problems,
        "others": report.others,
        "roles": roles,
    }
