"""review: say what one thinks of a version, and read what others do."""

import click

from xpm.cli.completion import installed_names
from xpm.cli.context import here, options
from xpm.cli.render import Console
from xpm.errors import UsageError
from xpm.home import Home
from xpm.operations import review as operations
from xpm.operations.publish import load_key
from xpm_index.reviews import MOST_STARS, Rating
from xpm_index.urls import without_credentials
from xpm_index.versions import Version


@click.command("review")
@click.argument("package", metavar="NAME[@VERSION]", shell_complete=installed_names)
@click.option("--stars", type=click.IntRange(1, MOST_STARS), help="How good it is.")
@click.option("--text", default="", help="Why.")
@click.option("--key", default="", help="The key to sign with: a name or a file. One review per key and version.")
@click.option("--index", default="", metavar="PATH|URL", help="The index repository to hand it in to.")
@click.option("--tell-setup", is_flag=True, help="Tell too which base and experts are locked here.")
@click.option("--list", "is_list", is_flag=True, help="Show the reviews that there are.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def review_command(
    console: Console,
    package: str,
    stars: int | None,
    text: str,
    key: str,
    index: str,
    tell_setup: bool,
    is_list: bool,
    as_json: bool,
) -> None:
    """Review a version: the signed review is put in force, or proposed on a branch to the index's maintainer. A later
    one by the same key takes its place. With --list, show what others say.

    Example: xpm review expert-sql@0.3.0 --stars 4 --text "joins are right" --key me --index ./acme.git
    """
    name, at, version = package.partition("@")
    if is_list:
        _list(console, name, as_json=as_json)
        return
    missing = [
        option
        for option, given in (
            ("@VERSION", at),
            ("--stars", stars),
            ("--text", text),
            ("--key", key),
            ("--index", index),
        )
        if not given
    ]
    if missing:
        raise UsageError(f"a review needs {', '.join(missing)}", hint="or read what others say with --list")
    home = Home.of_user()
    done = operations.review(
        home,
        index,
        name,
        Version.parse(version),
        stars=stars or 0,
        text=text,
        key=load_key(home, key),
        used_with=operations.used_with(here()) if tell_setup else (),
        progress=console,
    )
    if as_json:
        console.json({"name": done.name, "version": version, "key_id": done.key_id, "branch": done.branch})
    elif done.branch is None:
        console.say(f"reviewed: {done.name} {version} in {without_credentials(index)}")
    else:
        console.say(
            f"proposed: a review of {done.name} {version} on branch {done.branch} of {without_credentials(index)};"
            f" its maintainer puts it in force with `xpm index accept {done.branch}`"
        )


def _list(console: Console, name: str, *, as_json: bool) -> None:
    found = operations.reviews_of(here(), name, options(console))
    if as_json:
        reviews = [{"key_id": file.key.key_id, **each.to_dict()} for file in found.files for each in file.reviews]
        removed = [
            {"key_id": file.key.key_id, "version": str(each.version), "reason": each.reason, "at": each.removed_at}
            for file in found.files
            for each in file.removed
        ]
        rating = found.rating.to_dict() if found.rating else None
        console.json(
            {"name": found.name, "index": found.index, "rating": rating, "reviews": reviews, "removed": removed}
        )
        return
    if found.rating:
        console.say(f"{found.name}: {rated(found.rating)}")
    rows = [
        (each.version, "★" * each.stars, each.written_at[:10], file.key.key_id, each.text)
        for file in found.files
        for each in file.reviews
    ]
    if rows:
        console.table(("version", "stars", "written", "key", "text"), rows)
    else:
        console.say(f"nobody has reviewed {found.name}")
    for file in found.files:
        for gone in file.removed:
            console.say(f"taken down: the review of {gone.version} by {file.key.key_id}: {gone.reason}")


def rated(rating: Rating) -> str:
    reviews = f"{rating.count} review{'' if rating.count == 1 else 's'}"
    return f"{rating.mean:.1f} of {MOST_STARS} stars ({rating.low:.1f} to {rating.high:.1f}; {reviews})"
