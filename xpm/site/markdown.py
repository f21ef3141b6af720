"""READMEs as HTML: CommonMark and tables, without raw HTML, without images, with links to the web alone.

Also the examples in them: a block marked ``prompt`` and the block behind it. Only this module imports markdown_it.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

MAX_CHARS = 100_000
_MAX_EXAMPLE_CHARS = 2_000
_FIRST_LEVEL = 3  # the page has headings of its own above
_PLAIN_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+#-")


@dataclass(frozen=True, slots=True)
class Example:
    """What is asked and what is answered; ``language`` is how the README marks the answer."""

    prompt: str
    answer: str
    language: str

    def to_dict(self) -> dict[str, str]:
        return {"prompt": self.prompt, "answer": self.answer, "language": self.language}


def to_html(text: str) -> Markup:
    """HTML that holds no script, style, image, or address but http(s), whatever the text is;
    of long ones the beginning."""
    parser = _parser()
    tokens = parser.parse(text[:MAX_CHARS])
    _lower_headings(tokens)
    for token in tokens:
        token.attrs.pop("style", None)  # a table's alignment, which the policy of the pages does not let through
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def examples_in(text: str, *, count: int = 3) -> list[Example]:
    """The first examples of a README."""
    fences = [each for each in _parser().parse(text[:MAX_CHARS]) if each.type == "fence"]
    found = []
    for asked, answered in pairwise(fences):
        if asked.info.strip() == "prompt" and answered.info.strip() != "prompt":
            language = "".join(each for each in answered.info.strip().lower() if each in _PLAIN_CHARS)
            found.append(
                Example(asked.content[:_MAX_EXAMPLE_CHARS], answered.content[:_MAX_EXAMPLE_CHARS], language[:20])
            )
    return found[:count]


def is_web(url: str) -> bool:
    """Whether an address may be linked to: http or https, without characters that no address has."""
    return url.lower().startswith(("https://", "http://")) and url.isprintable() and not set(url) & set(" <>\"'`\\")


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image"])
    parser.validateLink = is_web  # type: ignore[method-assign]
    parser.add_render_rule("link_open", _link)
    for kind in ("fence", "code_block"):
        parser.add_render_rule(kind, _code)
    return parser


def _link(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("rel", "nofollow noopener noreferrer")
    rendered: str = self.renderToken(tokens, index, options, env)
    return rendered


def _code(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    """Code can be scrolled, so the keyboard has to reach it."""
    from markdown_it.common.utils import escapeHtml

    return f'<pre tabindex="0"><code>{escapeHtml(tokens[index].content)}</code></pre>\n'


def _lower_headings(tokens: "list[Token]") -> None:
    """Put headings below the page's own, without a level left out."""
    last = _FIRST_LEVEL - 1
    for opening, content, closing in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if opening.type == "heading_open":
            wanted = int(opening.tag[1]) + _FIRST_LEVEL - 1
            last = min(wanted, last + 1, 6)
            tag = f"h{last}" if content.content.strip() else "p"
            opening.tag = closing.tag = tag
