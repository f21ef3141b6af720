"""Text that grows: whole characters, stop strings wherever tokens break them, nothing taken back; and chat templates."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import models
from xpm_runtime import Message, ModelLoadError, RequestError
from xpm_runtime.text import GrowingText, TextCodec


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tokenizer")
    models.save_tokenizer(made)
    return made


@pytest.fixture(scope="module")
def codec(folder):
    return TextCodec(folder)


def grow(codec, text, stop=()):
    """(the pieces taken after each byte, the final text)."""
    growing = GrowingText(codec, stop)
    pieces = []
    for token in codec.encode(text):
        growing.append(token)
        pieces.append(growing.take(final=False))
        if growing.is_stopped:
            break
    pieces.append(growing.take(final=True))
    return pieces, growing.text


def test_no_half_characters(codec):
    pieces, text = grow(codec, "naïve 漢字 🦜!")
    assert text == "naïve 漢字 🦜!"
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize(
    ("text", "stop", "wanted"),
    [
        ("one\n\ntwo", ("\n\n",), "one"),
        ("one\ntwo", ("\n\n",), "one\ntwo"),
        ("aaab", ("aab",), "a"),
        ("xENDy", ("END", "x"), ""),
        ("abcEN", ("END",), "abcEN"),
        ("say ünd", ("ünd",), "say "),
    ],
)
def test_stop_strings(text, stop, wanted, codec):
    pieces, got = grow(codec, text, stop)
    assert got == wanted
    assert "".join(pieces) == wanted


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="abü", max_size=20), st.lists(st.text(alphabet="abü", min_size=1, max_size=4), max_size=3))
def test_what_was_taken_is_the_text_up_to_the_first_stop(codec, text, stops):
    pieces, got = grow(codec, text, tuple(stops))
    assert "".join(pieces) == got
    assert text.startswith(got)
    assert not any(stop in got for stop in stops)
    if got != text:
        assert any(text[len(got) :].startswith(stop) for stop in stops)


def test_a_chat_ends_where_the_answer_begins(codec):
    ids = codec.encode_chat([Message("system", "be brief"), Message("user", "hi")])
    text = codec.tokenizer.decode(ids, skip_special_tokens=False)
    assert text == "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def _with_template(folder, tmp_path, template):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    return tmp_path


@pytest.mark.parametrize("stated", ["<|im_start|>", {"content": "<|im_start|>", "lstrip": False}])
def test_a_template_may_name_special_tokens(stated, folder, tmp_path):
    folder = _with_template(folder, tmp_path, "{{ bos_token }}{{ messages[0]['content'] }}{{ cls_token }}")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "bos_token": stated}))
    codec = TextCodec(folder)
    assert codec.encode_chat([Message("user", "hi")]) == codec.encode("<|im_start|>hi")


def test_a_template_may_refuse(folder, tmp_path):
    codec = TextCodec(_with_template(folder, tmp_path, "{{ raise_exception('no system turns') }}"))
    with pytest.raises(RequestError, match="refuses the messages") as caught:
        codec.encode_chat([Message("user", "hi")])
    assert caught.value.context == "no system turns"


@pytest.mark.parametrize(
    "template", ["{{ messages.__class__.__mro__ }}", "{{ ''.__class__.__base__.__subclasses__() }}"]
)
def test_a_template_is_in_a_sandbox(template, folder, tmp_path):
    codec = TextCodec(_with_template(folder, tmp_path, template))
    with pytest.raises(RequestError):
        codec.encode_chat([Message("user", "hi")])


def test_no_template_and_a_broken_one(folder, tmp_path):
    with pytest.raises(RequestError, match="no chat template"):
        TextCodec(_with_template(folder, tmp_path, None)).encode_chat([Message("user", "hi")])
    with pytest.raises(ModelLoadError, match="malformed"):
        TextCodec(_with_template(folder, tmp_path, "{% if %}"))


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(ModelLoadError, match="tokenizer"):
        TextCodec(tmp_path)
