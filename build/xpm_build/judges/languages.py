"""The languages that experts write: the one place that lists them."""

from collections.abc import Mapping

from xpm_build.errors import BuildError
from xpm_build.judges.cypher import CYPHER
from xpm_build.judges.json_value import JSON
from xpm_build.judges.language import Language
from xpm_build.judges.python import PYTHON
from xpm_build.judges.rust import RUST
from xpm_build.judges.sql import SQL
from xpm_build.judges.text import TEXT
from xpm_build.judges.typescript import TYPESCRIPT

LANGUAGES: Mapping[str, Language] = {
    language.name: language for language in (JSON, SQL, CYPHER, PYTHON, TYPESCRIPT, RUST, TEXT)
}


def language_of(name: str) -> Language:
    """
    Raises:
        BuildError: there is none of that name.
    """
    if name not in LANGUAGES:
        raise BuildError(
            f"there is no judge for {name!r}", hint=f"set evaluation.language to one of {', '.join(LANGUAGES)}"
        )
    return LANGUAGES[name]
