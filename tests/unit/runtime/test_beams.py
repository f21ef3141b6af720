"""Beam search, beside Transformers' on the same weights, and what it must not disturb."""

import json
import threading

import pytest
import torch

from tests.support import models
from xpm_build.base.export import export_base
from xpm_runtime import Engine, Grammar, Request, RequestError, SamplingParams

LENGTH = 12


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model of random weights that many tokens end, so that beams end at every length."""
    folder = models.save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", seed=3)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": list(range(20, 110))}))
    return folder


@pytest.fixture(scope="module")
def engine(source, tmp_path_factory):
    base = tmp_path_factory.mktemp("base") / "fp32"
    export_base(source, base, variant="fp32")
    with Engine.load(base, device="cpu", max_lanes=6, context=64) as engine:
        yield engine


def searched(engine, ids, **sampling):
    return engine.search(Request(prompt=ids, sampling=SamplingParams(**{"max_tokens": LENGTH} | sampling)))


def wanted(source, ids, *, num_beams, length_penalty=1.0, eos):
    model = models.load(source).eval()
    out = model.generate(
        torch.tensor([ids]),
        num_beams=num_beams,
        num_return_sequences=num_beams,
        length_penalty=length_penalty,
        do_sample=False,
        max_new_tokens=LENGTH,
        eos_token_id=list(eos),
        pad_token_id=0,
    )
    found = []
    for row in out[:, len(ids) :].tolist():
        end = next((place + 1 for place, token in enumerate(row) if token in eos), len(row))
        found.append(tuple(row[:end]))
    return found


@pytest.mark.parametrize(("num_beams", "length_penalty"), [(2, 1.0), (3, 0.0), (3, 2.0), (5, 1.0), (5, -1.0)])
def test_the_answers_are_those_of_transformers(engine, source, num_beams, length_penalty):
    for seed in range(3):
        ids = torch.randint(5, 200, (7 + seed,), generator=torch.Generator().manual_seed(seed)).tolist()
        ids = [5, 6, 11, 12] if seed == 0 else ids
        found = searched(engine, ids, num_beams=num_beams, length_penalty=length_penalty)
        eos = engine.graph.eos_token_ids
        theirs = wanted(source, ids, num_beams=num_beams, length_penalty=length_penalty, eos=eos)
        assert [each.token_ids for each in found] == theirs
        assert engine.violations() == []


def test_beams_end_at_different_lengths(engine):
    """Else the comparison above would say nothing of how they are scored."""
    found = searched(engine, [5, 6, 11, 12], num_beams=5)
    assert len({len(each.token_ids) for each in found}) > 1
    assert {each.finish_reason for each in found} == {"stop"}


def test_one_beam_is_greedy_and_several_are_likelier(engine):
    greedy = engine.generate([7, 8, 9], sampling=SamplingParams(max_tokens=LENGTH))
    best = searched(engine, [7, 8, 9], num_beams=6, length_penalty=0.0)[0]
    assert searched(engine, [7, 8, 9], num_beams=1)[0].token_ids == greedy.token_ids
    assert _logprob(engine, [7, 8, 9], best.token_ids) >= _logprob(engine, [7, 8, 9], greedy.token_ids)


def _logprob(engine, prompt, answer):
    rows = torch.log_softmax(torch.tensor(engine.logits([*prompt, *answer])), dim=-1)
    return sum(float(rows[len(prompt) - 1 + place, token]) for place, token in enumerate(answer))


def test_every_answer_is_whole_under_a_grammar(tmp_path):
    """The random model would never end a value by itself: each is closed in time."""
    export_base(models.save_tiny_model(tmp_path / "model"), tmp_path / "base", variant="fp32")
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    grammar = Grammar.of_schema(schema)
    with Engine.load(tmp_path / "base", device="cpu", max_lanes=4, context=64) as engine:
        found = searched(engine, [7, 8, 9], num_beams=4, max_tokens=40, grammar=grammar)
    assert len({each.text for each in found}) == len(found) > 1
    for each in found:
        assert isinstance(json.loads(each.text)["a"], int)
        assert each.missing is None


def test_where_no_lane_is_free_it_waits_for_one(engine):
    """Others hold all lanes but one: what follows a beam beside the first is computed anew when one of them ends."""
    alone = [each.token_ids for each in searched(engine, [7, 8, 9, 11], num_beams=5)]
    others = [
        engine.submit(Request(prompt=[7, 8, 9, 10 + n], sampling=SamplingParams(max_tokens=20))) for n in range(5)
    ]
    engine.step()
    assert not any(each.is_finished for each in others)
    beside = [each.token_ids for each in searched(engine, [7, 8, 9, 11], num_beams=5)]
    assert beside == alone
    while not all(each.is_finished for each in others):
        engine.step()


def test_two_searches_and_other_requests_at_once(engine):
    wanted_first = [each.token_ids for each in searched(engine, [7, 8, 9], num_beams=5)]
    greedy = engine.generate([40, 41], sampling=SamplingParams(max_tokens=LENGTH)).token_ids
    found = {}

    def search(number):
        found[number] = [each.token_ids for each in searched(engine, [7, 8, 9], num_beams=5)]

    threads = [threading.Thread(target=search, args=(number,)) for number in range(2)]
    for each in threads:
        each.start()
    assert engine.generate([40, 41], sampling=SamplingParams(max_tokens=LENGTH)).token_ids == greedy
    for each in threads:
        each.join(60)
    assert found == {0: wanted_first, 1: wanted_first}


def test_a_stopped_search_gives_what_there_is(engine):
    asked = iter([False, False, True])
    request = Request(prompt=[7, 8, 9], sampling=SamplingParams(max_tokens=LENGTH, num_beams=3))
    found = engine.search(request, stopped=lambda: next(asked))
    assert len(found) == 3
    assert any(each.finish_reason == "cancelled" for each in found)
    assert engine.memory().cache == 0


def test_it_is_given_as_other_answers_are(engine):
    sampling = SamplingParams(max_tokens=LENGTH, num_beams=3)
    best = searched(engine, [7, 8, 9], num_beams=3)[0]
    assert engine.generate([7, 8, 9], sampling=sampling).token_ids == best.token_ids
    *pieces, result = engine.stream([7, 8, 9], sampling=sampling)
    assert (*pieces, result.token_ids) == ((best.text, best.token_ids) if best.text else (best.token_ids,))


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ({"num_beams": 0}, "num_beams must be 1 to 64"),
        ({"num_beams": 2, "temperature": 0.5}, "temperature must be 0 with num_beams"),
        ({"num_beams": 2, "logprobs": 1}, "logprobs must be left out with num_beams"),
    ],
)
def test_what_makes_no_sense_is_refused(sampling, said):
    with pytest.raises(RequestError, match=said):
        SamplingParams(**sampling)


def test_more_beams_than_lanes_are_refused(engine):
    with pytest.raises(RequestError, match="7 beams need as many lanes, and there are 6"):
        searched(engine, [7, 8, 9], num_beams=7)
    with pytest.raises(RequestError, match="a beam search is no single sequence"):
        engine.submit(Request(prompt=[7], sampling=SamplingParams(num_beams=2)))
