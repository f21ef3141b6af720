"""Documents cut into passages, ranked and chosen: nothing is lost on the way, and nothing exceeds its bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpm_runtime.errors import CapacityError, RequestError
from xpm_runtime.passages.choose import MARK, Document, choose
from xpm_runtime.passages.rank import MAX_EMBEDDED, rank
from xpm_runtime.passages.split import LEAST_TOKENS, split

_WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()


def _bytes(text):
    """The most tokens that a text can have."""
    return len(text.encode())


def _words(text):
    return len(text.split())


def _prose(topic, sentences=12):
    return " ".join(f"The {topic} is {each} today." for each in (_WORDS * 3)[:sentences]) + "\n\n"


@given(st.text(alphabet="ab .\n#=-é漢😀{", max_size=400), st.integers(LEAST_TOKENS, 60))
@settings(deadline=None)
def test_passages_are_the_document_and_keep_their_bound(text, most):
    passages = split(text, _bytes, max_tokens=most)
    assert "".join(text[each.start : each.end] for each in passages) == text
    assert all(_bytes(text[each.start : each.end]) == each.num_tokens <= most for each in passages)
    for each in passages:
        assert text[: each.start].count("\n") + 1 == each.first_line
        assert text[: each.end - 1].count("\n") + 1 == each.last_line


def test_a_passage_is_not_too_small():
    with pytest.raises(RequestError, match="at least 16"):
        split("x", _words, max_tokens=LEAST_TOKENS - 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# Ships\n" + "sea " * 12 + "\n", "# Trains\n" + "rail " * 12 + "\n"),
        ("Ships\n=====\n\n" + "sea " * 12 + "\n\n", "Trains\n======\n\n" + "rail " * 12 + "\n"),
        ("def ship(sea):\n" + "    sail = sea\n" * 4 + "\n\n", "@rail\ndef train():\n" + "    ride = rail\n" * 4),
        ("pub fn ship() {\n" + "    sail();\n" * 12 + "}\n\n", "pub struct Train {\n" + "    rail: u8,\n" * 5 + "}\n"),
        ("sea " * 12 + "\nsea sea\n\n", "rail " * 12 + "\nrail\n"),
        ("The sea is wide. " * 3, "The rail is long and narrow here. " * 2),
    ],
)
def test_it_is_cut_where_something_begins(before, after):
    first, *_ = split(before + after, _words, max_tokens=18)
    assert (before + after)[: first.end].strip() == before.strip()


def test_headings_are_known_below():
    text = "# Ships\n\n" + "\n\n".join(_prose("ship", 3) for _ in range(4)) + "## Trains #\n\n" + _prose("train", 3)
    found = split(text, _words, max_tokens=20)
    assert {each.heading for each in found} == {"Ships", "Trains"}


def test_words_rank_and_numbers_and_ordinary_words_count():
    texts = [_prose("ship"), "See section 12 of the table.", _prose("train"), "Create a column of that type."]
    assert rank(texts, "Which train is gamma?")[0] == 2
    assert rank(texts, "What is in 12?")[0] == 1
    assert rank(texts, "How do I make a column?")[0] == 3
    assert rank(texts, "zebra") == [0, 1, 2, 3]


class _Meanings:
    """Vectors by the first letter of a text; knows how many texts it was given."""

    def __init__(self):
        self.seen = 0

    def embed(self, texts):
        self.seen += len(texts)
        result = np.zeros((len(texts), 26), np.float32)
        for row, text in enumerate(texts):
            result[row, ord(text.strip()[0].lower()) - ord("a")] = 1
        return result


def test_vectors_find_what_words_do_not():
    texts = ["ants are small", "boats swim", "cars drive"]
    assert rank(texts, "bicycle")[0] == 0
    assert rank(texts, "bicycle", encoder=_Meanings())[0] == 1
    assert rank(texts, "b cars", encoder=_Meanings())[:2] in ([2, 1], [1, 2])


def test_of_very_many_only_some_are_embedded():
    texts = [f"a{number}" for number in range(MAX_EMBEDDED + 40)] + ["b needle"]
    meanings = _Meanings()
    assert rank(texts, "needle", encoder=meanings)[0] == len(texts) - 1
    assert meanings.seen == MAX_EMBEDDED + 1


def test_all_is_shown_if_it_fits():
    documents = [Document(name="a.md", text="one\n\ntwo\n"), Document(name="b.md", text="three")]
    chosen = choose(documents, "x", budget=50, count=_words)
    assert chosen.text == "a.md:\none\n\ntwo\n\nb.md:\nthree"
    assert [(each.num_left_out_tokens, each.lines) for each in chosen.documents] == [(0, ((1, 3),)), (0, ((1, 1),))]


def test_what_bears_on_the_prompt_is_kept_in_order_with_marks():
    topics = "ship train plane horse bicycle sledge".split()
    text = "".join(_prose(topic) for topic in topics)
    documents = [Document(name="ways.txt", text=text), Document(name="other.txt", text=_prose("cow") * 3)]
    chosen = choose(documents, "Of the bicycle and the train", budget=140, count=_words, passage_tokens=64)
    assert chosen.num_tokens == _words(chosen.text) <= 140
    train, bicycle = chosen.text.index("train"), chosen.text.index("bicycle")
    assert train < bicycle
    assert chosen.text.startswith(f"ways.txt:\n{MARK}\n")
    ways, other = chosen.documents
    assert ways.num_tokens + ways.num_left_out_tokens == _words(text)
    assert other.num_kept == 0
    assert other.lines == ()
    assert "other.txt" not in chosen.text
    shown = [text.split("\n")[line - 1] for first, last in ways.lines for line in range(first, last + 1)]
    assert all(line in chosen.text for line in shown)


@given(st.integers(70, 400), st.lists(st.sampled_from(_WORDS + ["\n", "\n\n# H\n"]), min_size=1, max_size=300))
@settings(deadline=None, max_examples=50)
def test_a_budget_is_kept(budget, words):
    documents = [Document(name="a", text=" ".join(words)), Document(name="b", text=" ".join(reversed(words)))]
    chosen = choose(documents, "alpha kappa", budget=budget, count=_bytes)
    assert _bytes(chosen.text) == chosen.num_tokens <= budget


@pytest.mark.parametrize("budget", [-5, 0, 3])
def test_a_budget_that_holds_nothing(budget):
    with pytest.raises(CapacityError, match="hold no passage"):
        choose([Document(name="a.md", text=_prose("ship"))], "ship", budget=budget, count=_words)
