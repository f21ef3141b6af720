"""A page's document as HTML and as JSON.

Every text is escaped; what is markup already comes of ``xpm.site.markdown`` and ``xpm.site.graph`` alone.
"""

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from xpm.site.graph import to_svg
from xpm.site.markdown import is_web, to_html
from xpm.site.pages import MAX_PROMPT_CHARS, MAX_TRIAL_TOKENS, Page, Site, folder_of
from xpm.site.search import Wanted
from xpm_index.digests import sha256_bytes

STATIC = ("style.css", "site.js", "icon.svg")
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'"
)


def to_page(page: Page, document: dict[str, Any], *, index: str, site: Site) -> bytes:
    """The HTML of a page."""
    root = page.root if page.path != "404" else urlsplit(site.url).path or "/"  # it is shown in the place of any page
    template = _templates().get_template(page.template)
    known = {"page": document, "path": page.path, "title": page.title, "index": index, "site": site, "policy": POLICY}
    known["has_json"] = page.path != "404" and not page.is_answer
    html = template.render(known, root=root)
    return html.encode()


def to_json(document: dict[str, Any]) -> bytes:
    """A document as it lies beside its page."""
    return (json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n").encode()


def static(name: str) -> bytes:
    return resources.files("xpm.site").joinpath("static", name).read_bytes()


@cache
def code_digest() -> str:
    """Of everything that makes pages of a snapshot: other code, other pages."""
    folder = Path(str(resources.files("xpm.site")))
    files = sorted(path for suffix in ("py", "html", "css", "js", "svg") for path in folder.rglob(f"*.{suffix}"))
    return sha256_bytes(b"\0".join(path.name.encode() + path.read_bytes() for path in files))


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(str(resources.files("xpm.site").joinpath("templates"))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"day": _day, "size": _size, "percent": _percent, "markdown": to_html, "folder": folder_of}
    environment.tests["web_url"] = is_web
    environment.globals |= {"svg": to_svg, "nothing_wanted": Wanted().to_dict()}
    environment.globals |= {"max_prompt_chars": MAX_PROMPT_CHARS, "max_trial_tokens": MAX_TRIAL_TOKENS}
    return environment


def _day(time: str) -> str:
    return time[:10]


def _size(num_bytes: int) -> str:
    size = float(num_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
