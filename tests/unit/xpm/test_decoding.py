"""What manifests say of decoding and of keywords, and in what order experts act."""

import pytest

from tests.support.packages import make_manifest
from xpm.errors import UsageError
from xpm.operations.decoding import DEFAULT_MAX_TOKENS, sampling_defaults, sampling_params, task_defaults
from xpm_runtime.router.words import occurs


def manifest(name="expert-x", load_order=5, **decoding):
    return make_manifest(name, decoding=decoding, constraints={"load_order": load_order})


def test_what_is_read():
    said = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0, "repetition_penalty": 1.1, "max_new_tokens": 3}
    found = sampling_defaults([manifest(**said, stop_sequences=[";", "\n\n"], use_grammar=True)])
    assert found == {
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "min_p": 0,
        "repetition_penalty": 1.1,
        "max_tokens": 3,
        "stop": (";", "\n\n"),
    }
    assert sampling_defaults([manifest(max_new_tokens=3, max_tokens=5)])["max_tokens"] == 5
    assert sampling_defaults([manifest()]) == {"max_tokens": DEFAULT_MAX_TOKENS}


def test_one_text_is_one_stop_sequence():
    assert sampling_defaults([manifest(stop_sequences="\n\n")])["stop"] == ("\n\n",)
    assert sampling_defaults([manifest(stop_sequences=["", ";"])])["stop"] == (";",)
    assert "stop" not in sampling_defaults([manifest(stop_sequences="")])


@pytest.mark.parametrize(
    ("key", "value", "option"),
    [
        ("top_k", 2.5, "--top-k"),
        ("max_new_tokens", "3", "--max-tokens"),
        ("temperature", True, "--temperature"),
        ("stop_sequences", [5], "--stop"),
        ("stop_sequences", {"a": 1}, "--stop"),
    ],
)
def test_a_value_of_the_wrong_kind_is_the_publishers_mistake(key, value, option):
    with pytest.raises(UsageError, match=rf"expert-x 1\.0\.0 states a {key} that is not") as caught:
        sampling_defaults([manifest(**{key: value})])
    assert option in caught.value.hint
    given = option.removeprefix("--").replace("-", "_")
    assert sampling_defaults([manifest(**{key: value})], given=[given]).keys() <= {"max_tokens"}


def test_who_acts_last_has_the_last_word_in_the_locks_order():
    """A required expert acts before the one that requires it, whatever their load orders are."""
    first, last = manifest("expert-late", load_order=9, top_k=1), manifest("expert-early", load_order=1, top_k=2)
    assert sampling_defaults([first, last])["top_k"] == 2


def test_what_nobody_says_depends_on_the_task():
    defaults = task_defaults("sql", "How many?")
    assert (defaults["temperature"], defaults["top_p"], defaults["repetition_penalty"]) == (0.3, 0.95, 1.1)
    assert sampling_params([manifest()], {}, defaults=defaults).temperature == 0.3
    assert sampling_params([manifest()], {}, defaults=defaults).max_tokens == 2048
    assert sampling_params([manifest(max_tokens=9)], {}, defaults=defaults).max_tokens == 9
    assert sampling_params([manifest()], {"temperature": 0.0}, defaults=defaults).temperature == 0
    assert task_defaults("a task that nobody knows", "x")["temperature"] == 0.6


def test_an_expert_that_states_a_temperature_is_decoded_as_it_was_judged():
    params = sampling_params([manifest(temperature=0)], {}, defaults=task_defaults("sql", "How many?"))
    assert params == sampling_params([manifest(temperature=0)], {})
    assert (params.temperature, params.top_p, params.repetition_penalty) == (0, 1, 1)


@pytest.mark.parametrize(
    ("keyword", "prompt", "holds"),
    [
        ("sql", "Write SQL.", True),
        ("sql", "a 'sql' query", True),
        ("sql", "mysql", False),
        ("sql", "sql-like", False),
        ("group by", "count, GROUP\n BY city", True),
        ("group by", "group it by city", False),
        ("c++", "in C++, please", True),
        ("c++", "in c", False),
        ("c++", "C++17", True),
        ("c", "in C.", True),
        ("node.js", "for Node.js", True),
        ("node.js", "nodexjs", False),
        ("c#", "(C#)", True),
        (".net", "a .NET app", True),
        ("what is", "What is SQL?", True),
        ("user", "user-defined", False),
        ("", "anything", False),
        (" ", "a b", False),
        ("straße", "die STRASSE", True),
        ("it", "it's", False),
    ],
)
def test_keywords(keyword, prompt, holds):
    assert occurs(keyword, prompt.casefold()) is holds
