"""Chat templates: the text that Transformers makes of them, and none of the work that a hostile one asks for."""

import json
from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer

from tests.support import models
from xpm_runtime import CapacityError, Message, ModelLoadError, RequestError
from xpm_runtime.text import TextCodec

TURNS = [
    Message("system", "be brief"),
    Message("user", "Why? <b>&</b>"),
    Message("assistant", "So."),
    Message("user", "ü 漢"),
]
SIMPLE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
QWEN = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and not(message.content.startswith('<tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}
    {%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- if '</think>' in content %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}
        {%- if loop.index0 > ns.last_query_index %}{{- '<think>\\n' ~ content }}{%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content }}{%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""
AS_TRANSFORMERS = {
    "simple": SIMPLE,
    "qwen": QWEN,
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{% set x = 1 %}{{ m.content "
    "}}\n"
    "{% endgeneration %}{{ x }}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "break": "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "continue": "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
    "year": "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "date": "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}26 Jul 2024{% endif %}"
    "{{ messages[0].content }}",
    "nothing-is-given": "{{ tools is none }} {{ documents is none }} {{ tools is defined }} {{ documents is defined }}"
    "{{ bos_token }}",
    "tojson": "{{ messages|tojson(indent=2) }}{{ {'a': 'ü', 'b': [1, none, 2.5]}|tojson }}{{ "
    "[1]|tojson(separators=(',', ':')) }}",
    "filters": "{{ messages|map(attribute='content')|join('|') }}{{ messages|selectattr('role', 'equalto', "
    "'user')|list|length }}{{ (messages|last).content|trim|upper|replace('漢', 'x')|indent(2) }}{{ "
    "messages[0].content|title|wordcount }}",
    "texts": "{{ 'a' * 3 ~ 1 ~ none }}{{ ', '.join(['a', 'b']) }}{{ '{} {:>5}'.format('a', 2) }}{{ '%s-%d' % ('x', 3) "
    "}}{{ 'a b'.split()|first }}{{ messages[0].content.replace('b', '') }}{{ messages[0]['role'].title() }}{{ 7 // 2 "
    "** 2 % 3 - 1 }}",
    "macro": "{% macro turn(m) %}[{{ m.role }}: {{ m.content }}]{% endmacro %}{% for m in messages %}{{ turn(m) }}{% "
    "endfor %}{% set all %}{% for m in messages %}{{ loop.index }}{% if not loop.last %},{% endif %}{% endfor %}{% "
    "endset %}{{ all }}",
    "unpacking": "{% for key, value in messages[0].items() %}{{ key }}={{ value }};{% endfor %}"
    "{% set a, b = 1, 'x' %}{{ b }}{{ (a, b) }}",
    "additional": "{{ additional_special_tokens|join(',') }}{{ messages[0].content }}",
}


REAL = sorted(
    path
    for path in (Path(trl.__file__).parent / "chat_templates").glob("*.jinja")
    if not path.stem.startswith("llava")  # whose messages are lists of parts
)


@pytest.fixture
def folder(tmp_path):
    models.save_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "bos_token": "<|endoftext|>"}))
    return tmp_path


def with_template(folder, template):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    return folder


def transformers_ids(folder, messages):
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    turns = [{"role": each.role, "content": each.content} for each in messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", AS_TRANSFORMERS)
def test_templates_say_what_they_say_in_transformers(name, folder):
    with_template(folder, AS_TRANSFORMERS[name])
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "additional_special_tokens": ["<|im_start|>"]}))
    assert TextCodec(folder).encode_chat(TURNS) == transformers_ids(folder, TURNS)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_templates_say_what_they_say_in_transformers(path, folder):
    with_template(folder, path.read_text(encoding="utf-8"))
    turns = TURNS[1:] if "gemma" in path.stem or "glm" in path.stem else TURNS  # some know no system turn
    assert TextCodec(folder).encode_chat(turns) == transformers_ids(folder, turns)


def test_of_named_templates_the_default_is_taken(folder):
    with_template(folder, [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": SIMPLE}])
    assert TextCodec(folder).encode_chat(TURNS) == transformers_ids(folder, TURNS)
    with_template(folder, [{"name": "tool_use", "template": "tools"}])
    with pytest.raises(RequestError, match="no chat template"):
        TextCodec(folder).encode_chat(TURNS)


@pytest.mark.parametrize(
    "template",
    [
        "{% for t in tools %}{{ t }}{% endfor %}",
        "{{ messages[9].content.x }}",
        "{{ 1 // 0 }}",
        "{{ 'a' + 1 }}",
        "{{ messages[0].content|tojson(indent={}) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ loop(1) }}",
    ],
)
def test_what_an_expression_raises_is_the_template_s_refusal(template, folder):
    with pytest.raises(RequestError, match="the chat template refuses the messages"):
        TextCodec(with_template(folder, template)).encode_chat(TURNS)


@pytest.mark.parametrize("template", ["", "{# nothing #}", "{% if false %}a{% endif %}"])
def test_a_template_that_makes_nothing(template, folder):
    with pytest.raises(RequestError, match="makes nothing of the messages"):
        TextCodec(with_template(folder, template)).encode_chat(TURNS)


LOOPS = "{% for a in range(99999) %}" * 4 + "." + "{% endfor %}" * 4
NAMESPACES = "{% set x0 = namespace() %}" + "".join(
    f"{{% set x{number} = namespace() %}}{{% set x{number}.a = x{number - 1} %}}{{% set x{number}.b = x{number - 1} %}}"
    for number in range(1, 41)
)
HOSTILE = {
    "nested ranges": LOOPS.replace(".", ""),
    "nested ranges that write": LOOPS,
    "loops over what they pass over": "{% set x = range(99999)|list %}"
    "{% for a in x %}{% for b in x if false %}{% endfor %}{% endfor %}",
    "a tower of powers": "{{ 9**(9**9) }}",
    "a large product": "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor "
    "%}{{ ns.x }}",
    "a power with a filter": "{{ 1|round(999999999, 'ceil') }}",
    "a smaller power with a filter": "{{ 5|round(-3999999) }}",
    "a long text": "{{ 'a' * 10**9 }}",
    "a long list": "{{ [1] * 10**9 }}",
    "a text that doubles by +": "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x "
    "%}{% endfor %}",
    "a text that doubles by ~": "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x "
    "%}{% endfor %}",
    "a text that doubles by a block": "{% set ns = namespace(x='a') %}{% for i in range(60) %}"
    "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
    "a list that doubles": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% "
    "endfor %}{{ ns.x == ns.x|list }}",
    "a dict that doubles": "{% set ns = namespace(x=1) %}{% for i in range(60) %}"
    "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x|tojson }}",
    "a namespace in itself": "{% set ns = namespace() %}{% set ns.x = [ns, ns] %}{{ ns }}",
    "a width": "{{ 'a'|center(999999999) }}",
    "a width of a method": "{{ 'a'.ljust(999999999) }}",
    "a width of format": "{{ '{:999999999}'.format(1) }}",
    "a width given to format": "{{ '{:{}}'.format(1, 999999999) }}",
    "a width of %": "{{ '%0999999999d' % 1 }}",
    "a width given to %": "{{ '%*d' % (999999999, 1) }}",
    "a width of a filter": "{{ '%0999999999d'|format(1) }}",
    "tabs": "{{ ('\\t' * 99999).expandtabs(99999) }}",
    "an indent": "{{ ('\\n' * 99999)|indent(99999) }}",
    "an indent of JSON": "{{ [[[1]]]|tojson(indent=999999999) }}",
    "replace": "{{ ('a' * 99999)|replace('a', 'b' * 99999) }}",
    "replace by keyword": "{{ ('a' * 99999)|replace(old='a', new='b' * 99999) }}",
    "replace in what is large as text": NAMESPACES + "{{ x40|replace('a', 'b') }}",
    "join by what is large as text": NAMESPACES + "{{ [1, 2]|join(x40) }}",
    "an indent by what is large as text": NAMESPACES + "{{ 'a'|indent(x40) }}{{ 1|tojson(indent=x40) }}",
    "the method replace": "{{ ('a' * 99999).replace('a', 'b' * 99999) }}",
    "join": "{{ range(99999)|join('b' * 99999) }}",
    "join of what is made bit by bit": "{{ range(99999)|map('string')|join('b' * 99999) }}",
    "the method join": "{{ ('b' * 99999).join(('a' * 99999)|list) }}",
    "batches": "{{ [1]|batch(999999999, 1)|list }}",
    "slices": "{{ [1]|slice(999999999)|list }}",
    "lists added up": "{{ ([[1]] * 99999)|sum(start=[]) }}",
    "the same text many times": "{{ (['a' * 99999] * 99999)|join }}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro "
    "%}{{ f(60) }}",
    "a loop that calls itself": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "filters in loops": "{% for a in range(9999) %}{{ range(9999)|map('string')|list|length }}{% endfor %}",
    "sorting in loops": "{% set x = range(99999)|list %}{% for a in range(9999) %}{{ x|sort(reverse=true)|first }}{% "
    "endfor %}",
    "a long date": "{{ strftime_now('%c' * 999999) }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_has_only_so_much_to_spend(name, folder):
    with pytest.raises((RequestError, ModelLoadError), match="chat template") as caught:
        TextCodec(with_template(folder, HOSTILE[name])).encode_chat(TURNS)
    assert any(
        name in caught.value.context for name in ("TooMuchError", "RecursionError", "OverflowError", "ValueError")
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ " + "(" * 5000,
        "{{ " + "1+" * 5000 + "1 }}",
        "{{ x" + ".a" * 50_000 + " }}",
        "{{ 'a'|urlize }}",
        "x" * (1 << 19),
        "{% if a %}" * 5000 + "{% endif %}" * 5000,
    ],
)
def test_what_can_t_be_compiled_is_malformed(template, folder):
    with pytest.raises(ModelLoadError, match="the chat template is malformed"):
        TextCodec(with_template(folder, template))


def test_a_long_conversation_is_within_the_bounds(folder):
    turns = [Message("user" if number % 2 == 0 else "assistant", "word " * 200) for number in range(301)]
    codec = TextCodec(with_template(folder, QWEN))
    assert len(codec.encode_chat(turns)) > 300_000


@pytest.mark.parametrize(
    "template", [SIMPLE, "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"]
)
def test_a_long_prompt_is_refused_by_its_length(template, folder):
    codec = TextCodec(with_template(folder, template))
    with pytest.raises(CapacityError, match="has 5000000 characters, a lane holds 2048 tokens"):
        codec.encode_chat([Message("user", "a" * 5_000_000)], max_tokens=2048)
    with pytest.raises(CapacityError, match="a lane holds 2048 tokens"):
        TextCodec(with_template(folder, "{{ 'a' * 99999 }}")).encode_chat(TURNS, max_tokens=2048)
