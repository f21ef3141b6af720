"""Answers that a grammar constrains, from a base that knows nothing."""

import ast
import json
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from tests.benchmarks import grammars
from tests.support.grammars import HOSTILE, THOUSAND_RULES, byte_constraints
from xpm_runtime import AdapterSpec, ConstraintError, Engine, Grammar, Message, Request, RequestError, SamplingParams
from xpm_runtime.closing import shortest_end
from xpm_runtime.constraint import Constraints, fitting
from xpm_runtime.grammars import BUILT_IN, built_in
from xpm_runtime.text import GrowingText
from xpm_runtime.vocabulary import TokenizerVocabulary, ids_before_a_text

SUMS = Grammar(
    kind="gbnf",
    text='root ::= sum\nsum ::= sum ws [+*] ws term | term\nterm ::= [1-9] [0-9]{0,2} | "(" sum ")"\nws ::= [ ]*',
)
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "size": {"enum": ["small", "large"]}},
    "required": ["name", "size"],
    "additionalProperties": False,
}
WORD = Grammar(kind="regex", text="[a-f]{3,5}")


def wild(grammar, seed, **changes):
    """Sampling at which random weights write anything."""
    return SamplingParams(**{"max_tokens": 120, "temperature": 1.5, "seed": seed, "grammar": grammar, **changes})


def test_random_weights_write_only_what_a_grammar_allows(tiny_engine):
    for seed in range(12):
        result = tiny_engine.generate("hello", sampling=wild(SUMS, seed))
        if result.finish_reason == "stop":
            ast.parse(result.text.strip(), mode="eval")
        schema = SamplingParams(max_tokens=120, temperature=1.5, seed=seed, response_format=_format(SCHEMA))
        result = tiny_engine.generate("hello", sampling=schema)
        assert result.finish_reason == "stop"
        jsonschema.validate(json.loads(result.text), SCHEMA)


def test_every_row_of_a_batch_has_its_own_constraint(tiny_engine):
    lark = Grammar(kind="lark", text='start: "<" ("x" | "y")~2 ">"')
    samplings = [
        wild(SUMS, 1),
        wild(WORD, 2, repetition_penalty=1.3, top_k=40),
        wild(None, 3, max_tokens=9),
        wild(lark, 4, top_p=0.9, min_p=0.01),
        wild(Grammar(kind="gbnf", text=THOUSAND_RULES), 5),
        SamplingParams(max_tokens=20, grammar=WORD),
    ]
    results = tiny_engine.generate_batch([Request(prompt="hello", sampling=each) for each in samplings])
    assert re.fullmatch("[a-f]{3,5}", results[1].text)
    assert len(results[2].token_ids) == 9
    assert re.fullmatch("<[xy]{2}>", results[3].text)
    assert results[4].text.startswith(("key0 ", "a", "b", "c", "end"))
    assert re.fullmatch("[a-f]{3,5}", results[5].text)
    alone = [tiny_engine.generate("hello", sampling=each) for each in samplings]
    assert [each.text for each in alone] == [each.text for each in results]


def test_a_constrained_answer_streams_and_ends_at_a_stop_string(tiny_engine):
    digits = Grammar(kind="regex", text="[0-9]+")
    *pieces, result = tiny_engine.stream("hello", sampling=wild(digits, 1, stop=("7",), max_tokens=200))
    assert "".join(pieces) == result.text
    assert result.finish_reason == "stop"
    assert re.fullmatch("[0-689]*", result.text)


def test_the_likeliest_of_what_is_allowed_is_taken(tiny_engine):
    """Greedy decoding, at each token checked against the logits."""
    result = tiny_engine.generate([5, 6, 7], sampling=SamplingParams(max_tokens=20, grammar=WORD))
    allowed = tiny_engine._codec.encode("abcdef")
    logits = tiny_engine.logits([5, 6, 7])[-1]
    assert result.token_ids[0] == allowed[int(np.argmax(logits[allowed]))]


def test_other_forms_draw_under_a_constraint(tmp_path):
    from tests.support.models import save_tiny_model
    from xpm_build.base.export import export_base

    source = save_tiny_model(tmp_path / "source", architecture="llama")
    export_base(source, tmp_path / "int4", variant="int4", block=32)
    for kernels in ("cuda", "portable"):
        with Engine.load(tmp_path / "int4", device="cpu", threads=1, kernels=kernels) as engine:
            for temperature in (0.0, 1.5):
                result = engine.generate("hello", sampling=wild(WORD, 1, temperature=temperature))
                assert re.fullmatch("[a-f]{3,5}", result.text), kernels


def _format(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def test_a_response_format_is_a_grammar():
    assert SamplingParams(response_format={"type": "text"}).grammar is None
    assert SamplingParams(response_format=_format({"a": 1})).grammar == Grammar(kind="json_schema", text='{"a": 1}')
    asked = SamplingParams(response_format={"type": "json_object"}).grammar
    assert list(fitting(asked, ['{"a": [1, null]}', "[]", "1"])) == [True, False, False]
    for wrong in ({}, {"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"schema": 1}}):
        with pytest.raises(ConstraintError, match="response_format is not understood"):
            SamplingParams(response_format=wrong)
    with pytest.raises(RequestError, match="contradict"):
        SamplingParams(grammar=WORD, response_format=_format({}))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "array", "uniqueItems": True, "contains": {}}, "can't be enforced: contains, uniqueItems"),
        ({"properties": {"a": {"not": {}}}}, "can't be enforced: not"),
        ({"if": {"type": "string"}, "then": {}}, "can't be enforced: if, then"),
        ({"x-guidance": {"lenient": True}, "uniqueItems": True, "type": "array"}, "can't be enforced: uniqueItems"),
        ({"oneOf": [{"type": "string"}, {"minLength": 3}]}, "can't be enforced: oneOf"),
        ({"items": {"type": "object", "minProperties": 2}}, "can't be enforced: minProperties above 1"),
        ({"$ref": "https://example.org/schema"}, "example.org"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "string", "format": "shape"}, "can't be enforced: the format shape"),
        (False, "schema false"),
    ],
)
def test_what_a_schema_can_t_have_is_named(schema, message):
    with pytest.raises(ConstraintError) as raised:
        byte_constraints().begin(Grammar.of_schema(schema))
    assert message in f"{raised.value.message} {raised.value.context}"


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("regex", "a(b", "unclosed group"),
        ("lark", 'start: "a" b', "unknown name"),
        ("lark", 'root: "a"', "no start rule"),
        ("json_schema", "{", "no JSON"),
        ("json_schema", "[1]", "is an object"),
        ("json_schema", "[" * 200_000, "no JSON"),
        ("regex", "(" * 100_000 + "a" + ")" * 100_000, "more than 100 deep"),
        ("lark", "start: " + "(" * 100_000, "more than 100 deep"),
        ("lark", 'start: start "a"', ""),
    ],
)
def test_a_malformed_grammar_is_an_error(kind, text, message):
    with pytest.raises(ConstraintError) as raised:
        byte_constraints().begin(Grammar(kind=kind, text=text))
    assert message in f"{raised.value.message} {raised.value.context}"
    assert raised.value.exit_code == 2


def test_an_error_of_one_row_s_grammar_is_that_row_s(tiny_engine):
    """``b`` never ends, which is met only behind an ``a``."""
    trap = Grammar(kind="lark", text='start: "a" b\nb: "x" b')
    trapped, free = tiny_engine.generate_batch(
        [Request(prompt="hello", sampling=wild(trap, 1)), Request(prompt="hello", sampling=wild(WORD, 1))]
    )
    assert free.finish_reason == "stop"
    assert trapped.finish_reason in ("length", "error")


def test_a_hostile_grammar_ends_in_time_and_in_little_memory():
    """As an error, or because it is harmless; in a process of its own, whose memory is told from ours."""
    code = "from tests.support.grammars import try_hostile; try_hostile()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    lines = [line.split("\t") for line in run.stdout.splitlines()]
    assert len(lines) == len(HOSTILE)
    for number, processor_s, peak_bytes in lines:
        assert float(processor_s) < 10, HOSTILE[int(number)][1][:100]  # of all threads
        assert int(peak_bytes) < 1_500_000_000, HOSTILE[int(number)][1][:100]


def test_what_took_too_long_is_known_when_it_is_asked_again(monkeypatch):
    monkeypatch.setattr("xpm_runtime.constraint.COMPILE_S", 0.0)
    slow = Grammar.of_schema({"enum": [f"value {number}" for number in range(3_000)]})
    with pytest.raises(ConstraintError, match="takes longer"):
        byte_constraints().begin(slow)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            byte_constraints().begin(slow)
            break
        except ConstraintError:
            time.sleep(0.05)
    assert byte_constraints()._known(slow)


def sentencepiece():
    """A tokenizer as SentencePiece has it: blanks as ▁, one before each text, bytes as <0x…>."""
    vocab = {"<unk>": 0, "</s>": 1, **{f"<0x{byte:02X}>": 2 + byte for byte in range(256)}}
    for piece in ("▁", "a", "b", "▁ab", "ab"):
        vocab[piece] = len(vocab)
    merges = [("a", "b"), ("▁", "ab")]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    tokenizer.add_special_tokens(["</s>"])
    return tokenizer


def test_byte_fallback_and_added_tokens_are_understood():
    """As SentencePiece has them: blanks as ▁, bytes as <0x…>; special tokens are never text, other added ones are."""
    vocab = {"<unk>": 0, "</s>": 1, **{f"<0x{byte:02X}>": 2 + byte for byte in range(256)}}
    for piece in ("▁", "a", "b", "▁ab", "ab"):
        vocab[piece] = len(vocab)
    merges = [("a", "b"), ("▁", "ab")]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.add_tokens(["<think>"])
    constraints = Constraints(lambda: TokenizerVocabulary(tokenizer, 300, [1]))
    constraint = constraints.begin(Grammar(kind="gbnf", text='root ::= " ab" "é" "<think>" "</s>"'))
    for token in (vocab["▁ab"], *(vocab[f"<0x{byte:02X}>"] for byte in "é".encode()), tokenizer.token_to_id("<think>")):
        assert constraint.allowed()[token]
        constraint.accept([token])
    assert np.flatnonzero(constraint.allowed()).tolist() == [vocab["<0x3C>"]]  # "<", not the special token


def test_what_must_follow_is_written_at_once_and_as_the_tokenizer_writes_it(tiny_engine):
    """A run of its own for each would be as many steps as tokens."""
    fixed = Grammar(kind="gbnf", text=r'root ::= "{\"name\": \"" [a-z] "\", \"the street and number\": " [0-9] "}"')
    sequence = tiny_engine.submit(Request(prompt="hello", sampling=wild(fixed, 3)))
    num_steps = 0
    while not sequence.is_finished:
        tiny_engine.step()
        num_steps += 1
        assert tiny_engine.violations() == []
    assert re.fullmatch(r'\{"name": "[a-z]", "the street and number": \d\}', sequence.text.text)
    assert sequence.token_ids == tiny_engine._codec.encode(sequence.text.text)
    assert num_steps == 3


def test_runs_of_forced_tokens_change_nothing(tiny_engine):
    """Beside other rows, where they are decoded one by one, and alone, where they are prefilled."""
    fixed = Grammar(kind="gbnf", text='root ::= ([a-f] " and then another one, or: "){2} [a-f]')
    samplings = [SamplingParams(max_tokens=100, grammar=fixed) for _ in range(3)] + [SamplingParams(max_tokens=30)]
    prompts = ["one", "two", "three", "four"]
    requests = [Request(prompt=prompt, sampling=each) for prompt, each in zip(prompts, samplings, strict=True)]
    together = tiny_engine.generate_batch(requests)
    alone = [tiny_engine.generate(each.prompt, sampling=each.sampling) for each in requests]
    assert [each.token_ids for each in together] == [each.token_ids for each in alone]


@pytest.mark.parametrize("name", BUILT_IN)
def test_short_of_tokens_an_answer_still_ends_legally(name, tiny_engine):
    count = 12
    requests = [
        Request(prompt=[1 + seed, 7], sampling=grammars.sampling(name, seed, max_tokens=20 + 5 * seed))
        for seed in range(count)
    ]
    for request, result in zip(requests, tiny_engine.generate_batch(requests), strict=True):
        assert result.missing is None, result
        assert len(result.token_ids) <= request.sampling.max_tokens
        assert grammars.JUDGES[name](result.text) == ""


@pytest.mark.parametrize(
    ("grammar", "written", "end"),
    [
        (Grammar(kind="lark", text='start: "begin" (" " /[a-z]+/ ";")* " " "end"'), "begin ab;", " end"),
        (
            Grammar(kind="lark", text='start: "SELECT " /[a-z]+/ " FROM " ("merge" | "truncate")'),
            "SELECT a",
            " FROM merge",
        ),
        (Grammar(kind="lark", text='start: "MATCH (n:" ("Set" | "Zip") ") RETURN n"'), "MATCH (n:", "Set) RETURN n"),
        (Grammar(kind="lark", text='start: "MATCH (n:" "DELETE"+ ") RETURN n"'), "MATCH (", "n:DELETE) RETURN n"),
        (Grammar(kind="lark", text='start: "MATCH (n) " ("DELETE n" | "RETURN n")'), "MATCH (n)", " RETURN n"),
        (Grammar(kind="lark", text='start: "MATCH (n) " ("DELETE n" | "SET n.x=1")'), "MATCH (n) DELE", "TE n"),
        (Grammar(kind="lark", text='start: "MATCH (n) " ("DELETE n" | "SET n.x=1")'), "MATCH (n)", None),
    ],
)
def test_the_shortest_end_where_names_look_like_keywords(grammar, written, end):
    found = shortest_end(byte_constraints().begin_bytes(grammar), written.encode())
    assert found == (None if end is None else end.encode())


@pytest.mark.parametrize(
    ("name", "written", "end"),
    [
        ("sql", "SELECT x FROM t WHERE a = 'b\\", "'"),  # a backslash escapes nothing there
        ("sql", "INSERT INTO t VALUES('\\', '\\\\', 'c", "')"),
        ("sql", "INSERT INTO t VALUES('\\''\\", "')"),
        ("json", '{"a": "b\\', '""}'),
        ("json", '{"a": "b\\"', '"}'),
        ("json", '{"a\\\\": ["\\\\", "\\"', '"]}'),
        ("cypher", "CREATE (:A {b: 'c\\", "''})"),
        ("cypher", "CREATE (:A {b: 'c\\'", "'})"),
    ],
)
def test_the_shortest_end_behind_a_backslash(name, written, end):
    assert shortest_end(byte_constraints().begin_bytes(built_in(name)), written.encode()) == end.encode()


def test_cypher_compares_texts_with_no_signed_number():
    """openCypher puts the sign above these operators."""
    query = "MATCH (n) WHERE n.a {} RETURN n"
    wanted = {"ENDS WITH -1": False, "CONTAINS - 1": False, "ENDS WITH 1 + -1": True, "= -1": True, "IN [-1]": True}
    assert list(fitting(built_in("cypher"), [query.format(each) for each in wanted])) == list(wanted.values())


def test_a_sentencepiece_text_begins_as_the_grammar_says():
    """The tokenizer puts a blank before all text, and its decoder takes one away."""
    tokenizer = sentencepiece()
    vocabulary = TokenizerVocabulary(tokenizer, 300, [1])
    constraints = Constraints(lambda: vocabulary)
    for text in ("ab", " ab", "</s> ab"):
        tokens = constraints.encode(text.encode())
        assert constraints.decode(tokens) == text.encode()
    before = ids_before_a_text(tokenizer)
    codec = SimpleNamespace(tokenizer=tokenizer, bytes_of=None)
    for text in ("ab", " ab"):
        growing = GrowingText(codec, (), before)
        for token in constraints.encode(text.encode()):
            growing.append(token)
        assert growing.finish() == text


def test_an_expert_s_own_grammar_is_followed_where_a_request_brings_none(tiny_base, tiny_adapter):
    asked = []

    def grammar(text):
        asked.append(text)
        return WORD

    folder = tiny_adapter("lora").slots
    with Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=1, context=256) as engine:
        engine.attach(AdapterSpec.read("writes", folder, grammar=grammar))
        engine.attach(AdapterSpec.read("silent", folder, load_order=9))
        for experts in (("writes",), ("writes", "silent")):
            assert re.fullmatch("[a-f]{3,5}", engine.generate("hello", experts=experts).text)
        conversation = [Message("user", "one"), Message("assistant", "two"), Message("user", "three")]
        assert re.fullmatch("[a-f]{3,5}", engine.generate(conversation, experts=["writes"]).text)
        digits = SamplingParams(grammar=Grammar(kind="regex", text="[0-9]"))
        assert re.fullmatch("[0-9]", engine.generate("hello", experts=["writes"], sampling=digits).text)
        free = SamplingParams(max_tokens=9)
        assert len(engine.generate("hello", experts=["silent"], sampling=free).token_ids) == 9
    assert asked == ["hello", "hello", "three"]


def test_what_is_missing_is_said(tiny_engine):
    fixed = Grammar(kind="gbnf", text='root ::= "it takes more than " [0-9] " tokens"')
    result = tiny_engine.generate("hello", sampling=SamplingParams(max_tokens=10, grammar=fixed))
    assert (result.finish_reason, result.text, result.missing) == ("length", "it takes m", "ore than 0 tokens")
    cut = tiny_engine.generate("hello", sampling=SamplingParams(max_tokens=40, grammar=fixed, stop=("than",)))
    assert (cut.finish_reason, cut.text, cut.missing) == ("stop", "it takes more ", "than 0 tokens")
    whole = tiny_engine.generate("hello", sampling=SamplingParams(max_tokens=40, grammar=fixed))
    assert (whole.finish_reason, whole.missing) == ("stop", None)
