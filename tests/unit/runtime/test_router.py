"""The router's parts: words, keywords, signs, hints, heads as files, and what a decision takes along."""

import json
import struct

import numpy as np
import pytest

from xpm_runtime import ModelLoadError, RequestError
from xpm_runtime.router.card import RoutingCard
from xpm_runtime.router.decoding import DECODING, LEAST_TOKENS
from xpm_runtime.router.evaluation import Routed, calibration_error, evaluate
from xpm_runtime.router.head import MAX_BYTES, NUM_FEATURES, Head
from xpm_runtime.router.heads import Heads
from xpm_runtime.router.hint import MAX_CHARACTERS, MAX_DEPTH, Seen, parse_hint
from xpm_runtime.router.keywords import KeywordIndex
from xpm_runtime.router.prompt import read_prompt
from xpm_runtime.router.route import Router
from xpm_runtime.router.weights import place
from xpm_runtime.router.words import MAX_CHARACTERS as MOST_READ
from xpm_runtime.router.words import bounded, words_of

SQL = RoutingCard(name="expert-sql", keywords=("sql", "table"), capabilities=("sql",), tier="tech")
CYPHER = RoutingCard(name="expert-cypher", keywords=("cypher", "graph"), capabilities=("cypher",), tier="tech")
PYTHON = RoutingCard(name="expert-python", keywords=("python", "def"), capabilities=("python",), tier="language")
ALPHA = RoutingCard(name="expert-alpha", keywords=("alpha",), tier="domain")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("list c++ and c#", ["list", "c++", "and", "c#"]),
        ("über straße", ["über", "straße"]),
        ("显示sql表", ["显", "示", "sql", "表"]),
        ("a_b c-d", ["a", "b", "c", "d"]),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_of_a_long_prompt_beginning_and_end_are_read():
    text = "begin " + "x" * 3 * MOST_READ + " end"
    assert len(bounded(text)) <= MOST_READ + 1
    assert bounded(text).startswith("begin")
    assert bounded(text).endswith("end")


def test_keywords_are_told_apart():
    index = KeywordIndex([RoutingCard(name="a", keywords=("group by", "list", "翻译"), exclude_keywords=("cypher",))])
    text = "list them, group  by city, no cypher; 请翻译"
    found = index.matches(text, words_of(text)).of(0)
    assert (found.telling, found.ordinary, found.excluded) == (("group by", "翻译"), ("list",), ("cypher",)) or set(
        found.telling
    ) == {"group by", "翻译"}


@pytest.mark.parametrize(
    ("prompt", "sign"),
    [
        ("SELECT name FROM users", "code:sql"),
        ("who is it? Schema: users(id, name)", "shape:schema"),
        ("MATCH (a:Person)-[:KNOWS]->(b)", "code:cypher"),
        ("def add(a, b):\n    return a", "code:python"),
        ("fn add(a: i64) -> i64", "code:rust"),
        ("interface User { name: string }", "code:typescript"),
        ('{"a": 1}', "shape:json"),
        ("unique please: [2, 2, 3]", "shape:json"),
        ("fn add(a: i64) -> i64", "signature"),
        ("clamp(value, low) keeps it above low", "signature"),
        ("acronym('as soon as possible') -> 'ASAP'", "signature"),
        ("Average of A1:A20", "shape:cells"),
        ("What is SQL?", "asks:definition"),
        ("什么是JSON", "asks:definition"),
        ("hello!", "asks:nothing"),
    ],
)
def test_signs(prompt, sign):
    assert sign in read_prompt(prompt).signs


@pytest.mark.parametrize(
    "prompt", ["What does clamp(value, low) do?", "users(id, name)", "f (x)", "list.append(x)", "2(a)"]
)
def test_what_is_no_signature(prompt):
    assert "signature" not in read_prompt(prompt).signs


@pytest.mark.parametrize("prompt", ["show top products", "list the rows", "Show the names of users. Schema: users(id)"])
def test_requests_are_no_questions_about_things(prompt):
    assert not read_prompt(prompt).is_general


@pytest.mark.parametrize(
    ("hint", "holds"),
    [
        ("task=sql", True),
        ("task=sql AND NOT language=zh", True),
        ("(task=json OR names=sql) AND words<10", True),
        ("words>=10", False),
        ('"top users" OR task=json', True),
        ("language!=de", True),
        ("unknown=1", False),
    ],
)
def test_hints(hint, holds):
    values = {"task": frozenset({"sql"}), "names": frozenset({"sql"}), "language": "en", "words": 4.0}
    assert parse_hint(hint)(Seen("the top users please", values)) is holds


@pytest.mark.parametrize(
    "hint", ["(a=b", "a=", "AND", "a=b)", "x" * MAX_CHARACTERS + "=1", "(" * (MAX_DEPTH + 2) + "a"]
)
def test_what_is_no_hint_says_so(hint):
    with pytest.raises(RequestError, match="router_hint is no expression"):
        parse_hint(hint)


def test_a_sentence_is_no_hint():
    assert parse_hint("Use it for questions about tables") is None
    assert parse_hint("") is None


def head(**changes):
    rng = np.random.default_rng(1)
    fields = {"lexical": rng.normal(size=NUM_FEATURES).astype(np.float32), "bias": 0.25}
    return Head(**{**fields, **changes})


def test_a_head_is_what_it_was():
    vector = np.linspace(-1, 1, 16).astype(np.float32)
    whole = head(vector=vector, alone_slope=2.0, alone_bias=-1.0, embedder="e")
    again = Head.from_bytes(whole.to_bytes(), where="x")
    features = read_prompt("how many users are there").features
    for given in (None, vector):
        assert again.log_odds(features, given) == pytest.approx(whole.log_odds(features, given), abs=0.05)
        both = Heads.of([again, head()], "e").log_odds(features, given)
        assert both[0] == pytest.approx(again.log_odds(features, given), abs=0.05)
        assert both[1] == pytest.approx(head().log_odds(features), abs=0.05)


def two_heads():
    """Of which the second, for the embedder "better", says the opposite of the first."""
    vector = np.array([4.0, 0.0], np.float32)
    flat = {"lexical": np.zeros(NUM_FEATURES, np.float32), "bias": 0.0}
    return Head(
        **flat,
        vector=vector,
        embedder="words",
        embedded=Head(**flat, vector=-vector, embedder="better", alone_bias=-1.0),
    )


def test_a_head_for_another_embedder_comes_along():
    both = Head.from_bytes(two_heads().to_bytes(), where="x")
    assert both.embedded.embedder == "better"
    assert both.used_with({"words"}).embedder == "words"
    assert both.used_with({"words", "better"}).embedder == "better"
    assert both.used_with(()).embedder == "words"


class Always:
    """An embedder of one vector."""

    def __init__(self, digest):
        self.digest = digest

    def embed(self, texts):
        return np.array([[1.0, 0.0]] * len(texts), np.float32)


def test_the_embedder_that_is_here_decides_which_weights_count():
    cards = [RoutingCard(name="expert-alpha", head=Head.from_bytes(two_heads().to_bytes(), where="x"))]

    def odds(*digests):
        signals = Router(cards, encoders=[Always(each) for each in digests]).signals("anything")[0]
        return signals[0, place("head")]

    assert odds("words") == pytest.approx(4)
    assert odds("words", "better") == pytest.approx(-4)
    assert odds() == pytest.approx(0)


def altered(data, **changes):
    """The file with another description in its metadata."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    facts = json.loads(header["__metadata__"]["head"]) | changes
    header["__metadata__"]["head"] = json.dumps(facts)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:100],
        lambda data: data + b"\0" * MAX_BYTES,
        lambda data: struct.pack("<Q", 1 << 60) + data[8:],
        lambda data: altered(data, bias=1e300),
        lambda data: altered(data, bias="1"),
        lambda data: altered(data, lexical_scale=float("nan")),
        lambda data: data.replace(b"xpm-routing-head-1", b"xpm-routing-head-9"),
        lambda data: data.replace(b'"I8"', b'"U8"'),
        lambda data: data.replace(b"embedded.lexical", b"embedded.lexicol"),
        lambda data: data.replace(b'"embedded"', b'"embeddid"'),
        lambda data: b"\x10\0\0\0\0\0\0\0" + b"[" * 16,
    ],
)
def test_a_spoiled_head_is_refused(spoil):
    with pytest.raises(ModelLoadError, match="x is not a routing head"):
        Head.from_bytes(spoil(head(embedded=head()).to_bytes()), where="x")


def test_a_vector_that_is_no_number_is_refused():
    vector = np.full(8, np.nan, np.float32)
    with pytest.raises(ModelLoadError, match="not a routing head"):
        Head.from_bytes(head(vector=vector, embedder="e").to_bytes(), where="x")


def test_choices():
    router = Router([SQL, CYPHER, PYTHON, ALPHA])
    assert router.route("List users over 25. Schema: users(id, age)").experts == ("expert-sql",)
    assert router.route("Graph: (:Person {name})-[:KNOWS]->(:Person) who knows Anna?").experts == ("expert-cypher",)
    assert router.route("def add(a, b):").experts == ("expert-python",)
    assert router.route("do alpha now").experts == ("expert-alpha",)
    assert router.route("What is SQL?").experts == ()
    assert router.route("hello").experts == ()
    assert Router([]).route("anything").experts == ()


def test_what_is_required_comes_along_and_what_does_not_get_on_does_not():
    needs = RoutingCard(name="expert-beta", keywords=("beta",), requires=("expert-alpha",))
    decision = Router([ALPHA, needs]).route("do beta now")
    assert decision.experts == ("expert-beta", "expert-alpha")
    assert Router([ALPHA, needs]).route("do beta now", max_experts=1).experts == ()
    hates = RoutingCard(
        name="expert-beta", keywords=("beta",), requires=("expert-alpha",), incompatible=("expert-alpha",)
    )
    assert Router([ALPHA, hates]).route("do beta now").experts == ()


def test_what_is_hot_wins_a_tie():
    twins = [RoutingCard(name=f"expert-{name}", keywords=("alpha",)) for name in ("one", "two")]
    assert Router(twins).route("do alpha now").experts == ("expert-one",)
    assert Router(twins).route("do alpha now", hot=frozenset({"expert-two"})).experts == ("expert-two",)
    first = RoutingCard(name="expert-two", keywords=("alpha",), priority=0.9)
    assert Router([twins[0], first]).route("do alpha now").experts == ("expert-two",)


@pytest.mark.parametrize("number", [2, 300])
def test_priority_and_heat_decide_between_equals_however_many_they_are(number):
    equals = [RoutingCard(name=f"expert-{place:03}", keywords=("alpha",)) for place in range(number)]
    preferred = RoutingCard(name="expert-last", keywords=("alpha",), priority=0.7)
    router = Router([*equals, preferred])
    assert router.route("do alpha now").experts == ("expert-last",)
    assert router.route("do alpha now", hot=frozenset({"expert-001"})).experts == ("expert-001",)
    worse = RoutingCard(name="expert-other", priority=1.0)
    assert Router([*equals, worse]).route("do alpha now").experts == ("expert-000",)


def test_names_are_unique():
    with pytest.raises(RequestError, match="one name"):
        Router([SQL, SQL])


def test_decoding_of_tasks():
    assert DECODING["sql"].temperature == 0.3
    assert DECODING["json"].repetition_penalty == 1.0
    assert DECODING["json"].max_tokens_for(500) == 500
    assert DECODING["json"].max_tokens_for(5000) == 2048
    assert DECODING["classification"].max_tokens_for(600) == 300
    assert DECODING["classification"].max_tokens_for(10) == LEAST_TOKENS
    assert DECODING["creative"].max_tokens_for(10) == 8192


def test_figures():
    def routed(wanted, chosen, confidence):
        return Routed(prompt="p", wanted=frozenset(wanted), chosen=frozenset(chosen), confidence=confidence)

    found = evaluate([routed("a", "a", 0.9), routed("a", "b", 0.6), routed("", "", 0.8), routed("", "a", 0.7)])
    assert found.accuracy == 0.5
    scores = {each.name: (each.precision, each.recall) for each in found.scores}
    assert scores == {"(base)": (1.0, 0.5), "a": (0.5, 0.5), "b": (0.0, None)}
    assert found.confusion[("a", "b")] == 1
    assert calibration_error([1.0, 1.0], [True, False]) == 0.5
    assert calibration_error([0.5, 0.5], [True, False]) == 0.0
