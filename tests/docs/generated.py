"""What of the documentation is written by the program: tables between two comments of a page, and one picture.

A page holds ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``; what stands between them is replaced. ``python -m
tests.docs`` writes all of it, and a test holds what is committed against it.
"""

import re
from pathlib import Path

from tests.docs.commands import command_reference, settings_table
from tests.docs.picture import picture
from xpm_build.publish_scan import rules_table
from xpm_build.training.knobs import table_of
from xpm_build.training.settings import TrainingSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PICTURE = DOCS / "explanation" / "architecture.svg"

# page → (name of its place, what writes it)
PLACES = {
    DOCS / "reference" / "cli.md": ("the commands", command_reference),
    DOCS / "reference" / "settings.md": ("the settings", settings_table),
    DOCS / "reference" / "publish-rules.md": ("the rules", rules_table),
    DOCS / "reference" / "training.md": ("the knobs", lambda: table_of(TrainingSettings)),
}


def wanted() -> dict[Path, str]:
    """Each file → what it should hold."""
    pages = {path: between(path.read_text(encoding="utf-8"), name, write()) for path, (name, write) in PLACES.items()}
    return {**pages, PICTURE: picture()}


def between(document: str, name: str, text: str) -> str:
    """The document with ``text`` between the two comments of that name; raises ValueError if
    it has not just these two."""
    place = re.compile(rf"(?<=<!-- {name}: begin -->\n\n).*?(?=<!-- {name}: end -->)", re.DOTALL)
    changed, count = place.subn(lambda match: f"{text}\n\n", document)
    if count != 1:
        raise ValueError(f"the page has {count} places for {name}")
    return changed
