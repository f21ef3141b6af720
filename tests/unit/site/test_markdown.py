"""READMEs become HTML in which nothing runs, and headings and code that every reader can use."""

import re
from html.parser import HTMLParser

import pytest

from tests.support.payloads import PAYLOADS
from xpm.site.markdown import examples_in, is_web, to_html

_TAGS = set(
    "a p h3 h4 h5 h6 pre code em strong ul ol li blockquote hr br table thead tbody tr th td".split()
)  # what CommonMark and tables come to
_ATTRIBUTES = {"href", "rel", "title", "tabindex", "start"}


class _Seen(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs


@pytest.mark.parametrize("payload", PAYLOADS)
def test_of_a_hostile_readme_only_harmless_elements_come(payload):
    seen = _Seen()
    seen.feed(
        str(to_html(f"# x\n\n{payload}\n\n[a]({payload})\n\n![b]({payload})\n\n<{payload}>\n\n```{payload}\nx\n```\n"))
    )
    assert seen.tags <= _TAGS
    assert {name for name, _ in seen.attributes} <= _ATTRIBUTES
    assert all(is_web(value) for name, value in seen.attributes if name == "href")


def test_headings_go_below_the_page_s_own_without_a_gap():
    html = str(to_html("# One\n\n#### Four\n\n## Two\n\n#\n"))
    assert re.findall(r"<(h\d)>", html) == ["h3", "h4", "h4"]


def test_code_can_be_reached_by_keyboard():
    assert '<pre tabindex="0"><code>a &lt; b\n</code></pre>' in str(to_html("```sql\na < b\n```"))


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//example.org", "docs/x.md", "#x", "data:text/html,x", "ftp://x"]
)
def test_a_link_to_anywhere_but_the_web_is_none(url):
    assert "<a" not in str(to_html(f"[x]({url})"))


def test_examples_are_a_prompt_and_the_block_behind_it():
    text = (
        "```prompt\nask\n```\n\n```sql\nSELECT "
        "1;\n```\n\n```prompt\nalone\n```\n\n```prompt\nagain\n```\n```\nyes\n```\n"
    )
    assert [each.to_dict() for each in examples_in(text)] == [
        {"prompt": "ask\n", "answer": "SELECT 1;\n", "language": "sql"},
        {"prompt": "again\n", "answer": "yes\n", "language": ""},
    ]
