"""A conversation's state and file, and what a chat makes of both."""

import json

import pytest

from xpm.errors import UsageError
from xpm.operations.conversation import Conversation, ConversationError, Turn
from xpm_index.strict_json import MAX_BYTES


@pytest.fixture
def conversation():
    found = Conversation("Be brief.")
    found.remember("a", "A", experts=("expert-x",), base="tiny 1.0.0, fp32")
    found.remember("b", "", experts=(), base="tiny 1.0.0, fp32")
    return found


def said(messages):
    return [(each.role, each.content) for each in messages]


def test_what_an_engine_is_asked(conversation):
    system = ("system", "Be brief.")
    whole = [system, ("user", "a"), ("assistant", "A"), ("user", "b"), ("assistant", ""), ("user", "c")]
    assert said(conversation.messages("c")) == whole
    assert said(conversation.messages("c", left_out=1)) == [system, *whole[3:]]
    assert said(conversation.messages("c", left_out=2)) == [system, ("user", "c")]
    assert said(Conversation().messages("c")) == [("user", "c")]


def test_undo(conversation):
    assert conversation.last_experts == ()
    assert conversation.undo() == "b"
    assert (conversation.num_exchanges, conversation.last_experts) == (1, ("expert-x",))
    assert conversation.undo() == "a"
    with pytest.raises(UsageError, match="nothing was said"):
        conversation.undo()


def test_what_is_saved_is_what_is_loaded(conversation, tmp_path):
    path = tmp_path / "talk.json"
    conversation.save(path)
    conversation.save(path)  # over a conversation, without a question
    found = Conversation.load(path)
    assert (found.system, found.base) == ("Be brief.", "tiny 1.0.0, fp32")
    assert found.turns == conversation.turns
    assert found.turns[1] == Turn("assistant", "A", ("expert-x",))
    assert json.loads(path.read_text())["turns"][0] == {"role": "system", "content": "Be brief."}


def test_nothing_else_is_overwritten(conversation, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(UsageError, match="is no conversation"):
        conversation.save(path)
    assert path.read_text() == "mine"


def test_what_could_not_be_read_again_is_not_written(conversation, tmp_path):
    conversation.remember("x" * MAX_BYTES, "y", experts=(), base="")
    with pytest.raises(ConversationError, match="bytes"):
        conversation.save(tmp_path / "talk.json")
    assert not list(tmp_path.iterdir())


USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "experts": []}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be an object"),
        ({"turns": []}, "version is missing"),
        ({"version": 2, "turns": []}, "has version 2"),
        ({"version": True, "turns": []}, "version must be a whole number"),
        ({"version": 1, "turns": {}}, "turns must be an array"),
        ({"version": 1, "turns": ["x"]}, r"turns\[0\] must be an object"),
        ({"version": 1, "turns": [{"role": "tool", "content": "x"}, ANSWER]}, r"turns\[0\].role is 'tool'"),
        ({"version": 1, "turns": [{"role": "user", "content": 3}, ANSWER]}, r"turns\[0\].content must be a string"),
        ({"version": 1, "turns": [{"role": "user"}, ANSWER]}, r"turns\[0\].content is missing"),
        ({"version": 1, "turns": [ANSWER, USER]}, "turn 1 is of the assistant"),
        ({"version": 1, "turns": [USER, USER]}, "turn 2 is of the user"),
        ({"version": 1, "turns": [USER]}, "has no answer"),
        ({"version": 1, "turns": [USER, {**ANSWER, "experts": [1]}]}, r"experts\[0\] must be a string"),
        ({"version": 1, "base": 3, "turns": []}, "base must be a string"),
    ],
)
def test_a_file_that_is_no_conversation(document, message, tmp_path):
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConversationError, match=message):
        Conversation.load(path)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[" * 100_000, b'{"version": 1, "version": 1}', b" " * (MAX_BYTES + 1)]
)
def test_a_file_that_is_no_json(data, tmp_path):
    path = tmp_path / "talk.json"
    path.write_bytes(data)
    with pytest.raises(ConversationError):
        Conversation.load(path)
    with pytest.raises(ConversationError, match="cannot be read"):
        Conversation.load(tmp_path)
