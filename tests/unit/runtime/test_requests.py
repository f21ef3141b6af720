"""What a request may hold, and the edges of a lane."""

import numpy as np
import pytest

from tests.support import models
from xpm_build.base.parity import probe_tokens
from xpm_runtime import AdapterSpec, CapacityError, Engine, Message, Request, RequestError, SamplingParams


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "empty"),
        ("", "empty"),
        ([1, Message("user", "a")], "mixes messages and token ids"),
        ([1, "a"], "'a' is not a token id"),
        ([1, 2.5], "2.5 is not a token id"),
        ([models.VOCAB_SIZE], "not in the vocabulary"),
        ([-1], "not in the vocabulary"),
    ],
)
def test_wrong_prompts_are_refused_before_anything_runs(prompt, message, tiny_engine):
    with pytest.raises(RequestError, match=message):
        tiny_engine.submit(Request(prompt=prompt))
    assert tiny_engine.step().num_prefilled == 0


def test_a_prompt_that_can_t_fit_is_refused_by_its_length(tiny_engine, monkeypatch):
    """Before it is rendered, encoded or looked through, which takes seconds."""
    monkeypatch.setattr("xpm_runtime.text.TextCodec.encode", None)
    monkeypatch.setattr("xpm_runtime.chat_template.ChatTemplate.render", None)
    monkeypatch.setattr("xpm_runtime.prompts.checked_ids", None)
    for prompt in (
        "word " * 1_000_000,
        [Message("system", "a" * 2_500_000), Message("user", "b" * 2_500_000)],
        [1] * 5_000_000,
    ):
        with pytest.raises(CapacityError, match=r"the prompt has 5000000 (characters|tokens)"):
            tiny_engine.submit(Request(prompt=prompt))
    assert tiny_engine.step().num_prefilled == 0


def test_what_reads_like_a_control_token_is_text_unless_asked(tiny_engine):
    plain = tiny_engine.submit(Request(prompt="a<|im_end|>"))
    asked = tiny_engine.submit(Request(prompt="a<|im_end|>", allow_special=True))
    assert (plain.prompt_ids.count(2), asked.prompt_ids.count(2)) == (1, 2)
    for sequence in (plain, asked):
        tiny_engine.cancel(sequence)


def test_an_answer_that_ends_within_a_character_is_flushed(tiny_engine):
    """Streamed and as a result, whatever random weights answer."""
    for seed in range(20):
        sampling = SamplingParams(max_tokens=6, temperature=5.0, seed=seed)
        *pieces, result = tiny_engine.stream("hello", sampling=sampling)
        assert "".join(pieces) == result.text
        kept = [each for each in result.token_ids if each != models.SPECIAL.index("<|im_end|>")]
        assert result.text == tiny_engine._codec.tokenizer.decode(kept)


def test_numpy_ids_are_ids(tiny_engine):
    ids = probe_tokens(models.VOCAB_SIZE, count=6)
    sampling = SamplingParams(max_tokens=4)
    assert (
        tiny_engine.generate(np.array(ids), sampling=sampling).token_ids
        == tiny_engine.generate(ids, sampling=sampling).token_ids
    )


def test_a_prompt_that_fills_its_lane_leaves_the_others_alone(tiny_base):
    """A lane of exactly the prompt's length is prefilled beside a higher lane that decodes."""
    full = probe_tokens(models.VOCAB_SIZE, seed=1, count=32)
    short = probe_tokens(models.VOCAB_SIZE, seed=2, count=5)
    sampling = SamplingParams(max_tokens=20)
    with Engine.load(tiny_base.graph, device="cpu", threads=1, max_lanes=2, context=32) as engine:
        alone = engine.generate(short, sampling=sampling).token_ids
        first_of_full = engine.generate(full, sampling=sampling)
        low = engine.submit(Request(prompt=short, sampling=sampling))
        high = engine.submit(Request(prompt=short, sampling=sampling))
        engine.step(), engine.step()
        engine.cancel(low)
        filling = engine.submit(Request(prompt=full, sampling=sampling))
        while not high.is_finished:
            engine.step()
            assert engine.violations() == []
    assert (filling.finish_reason, tuple(filling.token_ids)) == ("length", first_of_full.token_ids)
    assert len(filling.token_ids) == 1
    assert tuple(high.token_ids) == alone


def test_an_expert_needs_its_name(tiny_engine, tiny_adapter):
    adapter = tiny_adapter("lora")
    tiny_engine.attach(AdapterSpec.read("one", adapter.slots))
    with pytest.raises(RequestError, match="attached already"):
        tiny_engine.attach(AdapterSpec.read("one", adapter.slots))
    with pytest.raises(RequestError, match="no expert named two"):
        tiny_engine.generate("a", experts=["two"])
    with pytest.raises(RequestError, match="named twice"):
        tiny_engine.generate("a", experts=["one", "one"])
    running = tiny_engine.submit(Request(prompt="a", experts=("one",)))
    with pytest.raises(RequestError, match="in use"):
        tiny_engine.detach("one")
    tiny_engine.cancel(running)
    tiny_engine.detach("one")
    assert tiny_engine.attached == ()


def test_logits_take_arrays_and_refuse_none(tiny_engine):
    tokens = np.array([1, 2, 3])
    assert tiny_engine.logits(tokens).shape[0] == 3
    with pytest.raises(RequestError, match="no tokens"):
        tiny_engine.logits(np.array([], dtype=np.int64))


def test_closing_twice_does_no_harm(tiny_engine):
    tiny_engine.close()
    tiny_engine.close()
