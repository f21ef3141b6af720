"""The commands within a chat: lines that begin with a slash."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xpm.cli.answering import figures_of
from xpm.cli.render import Console
from xpm.errors import UsageError
from xpm.operations.chat import Chat

_ROUTER, _NOBODY, _HERE, _ALL = "auto", "none", "here", "all"


@dataclass(frozen=True, slots=True)
class Outcome:
    """``anew``: the last turn is to be answered again; ``leave`` ends the chat."""

    anew: bool = False
    leave: bool = False


_NOTHING = Outcome()


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """``run`` gets the words behind the command; ``usage`` names them, "" if there are none."""

    run: Callable[[Console, Chat, list[str]], Outcome]
    usage: str
    meaning: str


def is_command(line: str) -> bool:
    """Whether a line is for the chat itself; one that begins with two slashes is text that begins with one."""
    return line.startswith("/") and not line.startswith("//")


def run_command(console: Console, chat: Chat, line: str) -> Outcome:
    """
    Raises:
        UsageError: there is no such command, or it does not take these words; and whatever the command raises.
    """
    name, _, rest = line.partition(" ")
    if name not in COMMANDS:
        raise UsageError(
            f"there is no {name[:40]} here", hint=f"/help lists what there is; to ask it as text, write /{name[:40]}"
        )
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise UsageError(f"{name}: {error}", hint="close the quotation mark") from error
    command = COMMANDS[name]
    if words and not command.usage:
        raise UsageError(f"{name} takes nothing behind it")
    return command.run(console, chat, words)


def _experts(console: Console, chat: Chat, words: list[str]) -> Outcome:
    chosen, last = chat.chosen, chat.conversation.last_experts
    rows = [
        (each.name, "in use" if each.name in (chosen or ()) else "answered last" if each.name in last else "")
        for each in chat.installed
    ]
    if rows:
        console.table(("expert", ""), rows)
    console.out(_who(chosen))
    return _NOTHING


def _who(chosen: tuple[str, ...] | None) -> str:
    if chosen is None:
        return "the router chooses for each turn"
    return f"{' + '.join(chosen)} answer{'s' if len(chosen) == 1 else ''}" if chosen else "the base alone answers"


def _use(console: Console, chat: Chat, words: list[str]) -> Outcome:
    if not words:
        raise UsageError("/use whom?", hint=f"name experts, `{_ROUTER}` for the router's choice, or `{_NOBODY}`")
    chat.use(None if words == [_ROUTER] else () if words == [_NOBODY] else tuple(words))
    console.aside(_who(chat.chosen))
    return _NOTHING


def _base(console: Console, chat: Chat, words: list[str]) -> Outcome:
    if words:
        path = _only(words, "/base")
        chat.change_base("" if path == _HERE else path)
    console.out(chat.base)
    return _NOTHING


def _route(console: Console, chat: Chat, words: list[str]) -> Outcome:
    turns = chat.conversation.turns
    if not words and not turns:
        raise UsageError("nothing was said yet", hint="write the text behind /route")
    composition = chat.route(" ".join(words) or turns[-2].content)
    decision = composition.decision
    assert decision is not None
    console.out(" + ".join(each.name for each in composition.experts) or "the base alone")
    console.out(f"{decision.reason} ({decision.confidence:.0%} sure)")
    for each in decision.candidates[:3]:
        console.out(f"  {each.name} {each.probability:.0%}: {'; '.join(each.reasons)}")
    return _NOTHING


def _stats(console: Console, chat: Chat, words: list[str]) -> Outcome:
    last = chat.last
    card: dict[str, object] = {
        "base": chat.base,
        "turns": chat.conversation.num_exchanges,
        "experts": _who(chat.chosen),
    }
    if last is not None:
        used = last.num_prompt_tokens + len(last.token_ids)
        card |= {
            "context": f"{used:,} of {chat.context:,} tokens",
            "last": figures_of(last),
            "known before": f"{last.num_reused_tokens} tokens of the prompt",
        }
    console.card(card)
    return _NOTHING


def _save(console: Console, chat: Chat, words: list[str]) -> Outcome:
    path = Path(_only(words, "/save")).expanduser()
    chat.conversation.save(path)
    console.aside(f"wrote {path}: {_exchanges(chat)}")
    return _NOTHING


def _load(console: Console, chat: Chat, words: list[str]) -> Outcome:
    path = Path(_only(words, "/load")).expanduser()
    chat.load(path)
    console.aside(f"{path}: {_exchanges(chat)}, answered by {chat.conversation.base or 'nobody'}")
    if chat.conversation.turns:
        console.answer("".join(f"{turn.role}: {turn.content}\n" for turn in chat.conversation.turns[-2:]))
    return _NOTHING


def _file(console: Console, chat: Chat, words: list[str]) -> Outcome:
    documents = chat.documents
    if not words:
        if documents.documents:
            rows = [(each.name, f"{each.text.count(chr(10)) + 1:,}") for each in documents.documents]
            console.table(("document", "lines"), rows)
        console.out(_shown_of(chat))
        return _NOTHING
    if len(words) > 2 or not all(each.isascii() and each.isdigit() for each in words[1:]):
        raise UsageError("/file takes a path, and how many tokens", hint="put a path with spaces in quotation marks")
    chat.add_document(Path(words[0]).expanduser(), budget=int(words[1][:9]) if words[1:] else None)
    console.aside(_shown_of(chat))
    return _NOTHING


def _drop(console: Console, chat: Chat, words: list[str]) -> Outcome:
    if not words:
        raise UsageError("/drop what?", hint=f"name a document, or `{_ALL}`; /file lists them")
    chat.drop_document(None if words == [_ALL] else " ".join(words))
    console.aside(_shown_of(chat))
    return _NOTHING


def _shown_of(chat: Chat) -> str:
    number, budget = len(chat.documents.documents), chat.documents.budget
    if not number:
        return "there are no documents"
    most = "half of the context" if budget is None else f"{budget:,} tokens"
    return f"of {number} document{'' if number == 1 else 's'}, what bears on a turn is shown with it: {most} at most"


def _undo(console: Console, chat: Chat, words: list[str]) -> Outcome:
    console.aside(f"taken back: {chat.undo()[:80]!r}")
    return _NOTHING


def _regenerate(console: Console, chat: Chat, words: list[str]) -> Outcome:
    return Outcome(anew=True)


def _help(console: Console, chat: Chat, words: list[str]) -> Outcome:
    width = max(len(f"{name} {each.usage}") for name, each in COMMANDS.items())
    for name, each in COMMANDS.items():
        console.out(f"{f'{name} {each.usage}':{width}}  {each.meaning}")
    console.out("Ctrl-C stops an answer; twice on an empty line, or Ctrl-D, it leaves. Alt-Enter begins a new line.")
    return _NOTHING


def _quit(console: Console, chat: Chat, words: list[str]) -> Outcome:
    return Outcome(leave=True)


def _only(words: list[str], name: str) -> str:
    if len(words) != 1:
        raise UsageError(f"{name} takes one path", hint="put one with spaces in quotation marks")
    return words[0]


def _exchanges(chat: Chat) -> str:
    number = chat.conversation.num_exchanges
    return f"{number} turn{'' if number == 1 else 's'}"


COMMANDS: Mapping[str, ChatCommand] = {
    "/experts": ChatCommand(_experts, "", "list the experts that are installed, and who answers"),
    "/use": ChatCommand(
        _use, "EXPERT...", f"let these answer; `{_ROUTER}`: the router's choice, `{_NOBODY}`: the base"
    ),
    "/base": ChatCommand(_base, "[PATH]", f"say which base answers, or go on with another; `{_HERE}`: the one here"),
    "/route": ChatCommand(_route, "[TEXT]", "say whom the router chooses for a text, or for the last turn"),
    "/file": ChatCommand(_file, "[PATH [N]]", "show what bears on a turn of this text, N tokens of all; or list them"),
    "/drop": ChatCommand(_drop, "NAME", f"show nothing of a document any more; `{_ALL}`: of none"),
    "/stats": ChatCommand(_stats, "", "show figures of the last answer"),
    "/save": ChatCommand(_save, "FILE", "write the conversation into a file"),
    "/load": ChatCommand(_load, "FILE", "go on with a conversation that was saved"),
    "/undo": ChatCommand(_undo, "", "take the last turn back"),
    "/regen": ChatCommand(_regenerate, "", "answer the last turn anew"),
    "/help": ChatCommand(_help, "", "list these commands"),
    "/quit": ChatCommand(_quit, "", "leave"),
}
