"""A conversation: who said what, and its file. Knows no engine.

The file is JSON: ``version``, ``base`` (its label), and ``turns`` with ``role``, ``content`` and, of
answers, ``experts``. A system's turn may come first; then a user's and an assistant's take turns, and
an assistant's is the last.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from xpm.errors import UsageError, unwritable
from xpm.files import write_atomically
from xpm_index.errors import ManifestError, XpmError
from xpm_index.fields import Fields
from xpm_index.strict_json import MAX_BYTES, loads

if TYPE_CHECKING:
    from xpm_runtime import Message

_VERSION = 1
_ROLES = ("system", "user", "assistant")


class ConversationError(XpmError):
    """A file holds no conversation, or none that can be read here."""

    code = "conversation"
    exit_code = 2


@dataclass(frozen=True, slots=True)
class Turn:
    """``experts`` are those that answered."""

    role: Literal["system", "user", "assistant"]
    content: str
    experts: tuple[str, ...] = ()


class Conversation:
    """``turns`` are a user's and an assistant's by turns; ``base`` is the label of the base that
    answered last, "" if none did."""

    def __init__(self, system: str = "") -> None:
        self.system = system
        self.base = ""
        self.turns: list[Turn] = []

    @property
    def num_exchanges(self) -> int:
        return len(self.turns) // 2

    @property
    def last_experts(self) -> tuple[str, ...]:
        """The experts that gave the last answer."""
        return self.turns[-1].experts if self.turns else ()

    def messages(self, text: str, *, left_out: int = 0) -> list["Message"]:
        """What an engine is asked: all that was said, but for the first ``left_out``
        exchanges, and a user's new turn."""
        from xpm_runtime import Message

        begin = [Message("system", self.system)] if self.system else []
        said = [Message(each.role, each.content) for each in self.turns[2 * left_out :]]
        return [*begin, *said, Message("user", text)]

    def remember(self, text: str, answer: str, *, experts: tuple[str, ...], base: str) -> None:
        self.turns += [Turn("user", text), Turn("assistant", answer, experts)]
        self.base = base

    def undo(self) -> str:
        """Forget the last exchange; the user's text in it.

        Raises:
            UsageError: nothing was said yet.
        """
        if not self.turns:
            raise UsageError("nothing was said yet")
        text = self.turns[-2].content
        del self.turns[-2:]
        return text

    def save(self, path: Path) -> None:
        """Write the file; one that is there is replaced only if it holds a conversation.

        Raises:
            UsageError: it holds something else. ConversationError: it would be too large.
                XpmError: it can't be written.
        """
        system = [{"role": "system", "content": self.system}] if self.system else []
        document = {"version": _VERSION, "base": self.base, "turns": [*system, *map(_turn_document, self.turns)]}
        data = json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
        if len(data) > MAX_BYTES:
            raise ConversationError(
                f"the conversation has {len(data)} bytes, a file may have {MAX_BYTES}",
                hint="take turns back with /undo",
            )
        try:
            if path.exists():
                Conversation.load(path)
            write_atomically(path, data)
        except ConversationError as error:
            raise UsageError(
                f"{path} is there, and is no conversation", context=error.message, hint="save under another name"
            ) from error
        except OSError as error:
            raise unwritable(f"{path} could not be written", error) from error

    @classmethod
    def load(cls, path: Path) -> "Conversation":
        """
        Raises:
            ConversationError: it can't be read, or is not such a file; names the key.
        """
        try:
            with path.open("rb") as file:
                document = loads(file.read(MAX_BYTES + 1), what=str(path))
        except OSError as error:
            raise ConversationError(f"{path} cannot be read", context=str(error)[:200]) from error
        except ManifestError as error:
            raise ConversationError(error.message, context=error.context) from error
        return cls._parsed(Fields(document, error=ConversationError))

    @classmethod
    def _parsed(cls, fields: Fields) -> "Conversation":
        if (version := fields.integer("version")) != _VERSION:
            raise ConversationError(
                f"the conversation has version {version}, this xpm reads {_VERSION}", hint="update xpm"
            )
        turns = [_parsed_turn(each) for each in fields.objects("turns")]
        system = turns.pop(0).content if turns and turns[0].role == "system" else ""
        for number, turn in enumerate(turns):
            if turn.role != ("user", "assistant")[number % 2]:
                raise ConversationError(
                    f"turn {number + 1} is of the {turn.role}",
                    context="a user's and an assistant's turn follow one another; a system's may come first",
                )
        if len(turns) % 2:
            raise ConversationError("the last turn has no answer", hint="take it out of the file")
        found = cls(system)
        found.base, found.turns = fields.text("base", required=False), turns
        return found


def _turn_document(turn: Turn) -> dict[str, Any]:
    document: dict[str, Any] = {"role": turn.role, "content": turn.content}
    return {**document, "experts": list(turn.experts)} if turn.role == "assistant" else document


def _parsed_turn(fields: Fields) -> Turn:
    role = fields.text("role")
    if role not in _ROLES:
        raise ConversationError(f"{fields.at('role')} is {role[:40]!r}", hint=f"it is one of {', '.join(_ROLES)}")
    # An answer may be empty; what was never said may not.
    content = fields.text("content", required=role != "assistant")
    return Turn(cast(Any, role), content, fields.strings("experts"))
