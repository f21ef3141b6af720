"""chat: a conversation on the terminal, or line by line from a script.

The one command that goes on after an error, if a person is there to be told; ``xpm.cli.main`` catches the others.
"""

from dataclasses import replace
from pathlib import Path

import click

from xpm.cli.answering import adapter_memory_option, answering_options, figures_of, warn_of
from xpm.cli.chat_commands import COMMANDS, is_command, run_command
from xpm.cli.context import here
from xpm.cli.documents import context_options, told_of
from xpm.cli.interrupt import EXIT_CODE, interruptible
from xpm.cli.line_input import LineInput, line_input
from xpm.cli.render import Console, show_error
from xpm.errors import ExpectedError
from xpm.operations.answering import RunOptions
from xpm.operations.chat import Chat, Planned
from xpm.operations.context_files import read_context

_HISTORY = "chat-history"


@click.command("chat")
@click.option("--load", "saved", type=click.Path(path_type=Path, dir_okay=False), help="Go on with this conversation.")
@context_options("half of the context")
@adapter_memory_option
@click.option("--stats", is_flag=True, help="Show the speed of each answer on stderr.")
@click.pass_obj
@answering_options
def chat_command(
    console: Console,
    /,
    saved: Path | None,
    context_files: tuple[Path, ...],
    context_tokens: int | None,
    adapter_memory: int | None,
    stats: bool,
    options: RunOptions,
) -> None:
    """Talk with the base here; the router chooses experts for each turn, unless --expert names them.

    Ctrl-C stops an answer. Lines that begin with a slash are commands; /help lists them. Without a terminal, each line
    of stdin is a turn, and the first error ends it.

    Example: xpm chat --system "Answer in SQL."
    """
    environment = here()
    documents = read_context(context_files, budget=context_tokens, context=options.context)
    options = replace(options, adapter_memory=adapter_memory)
    with Chat(environment, options, progress=console, documents=documents) as chat:
        if saved is not None:
            chat.load(saved)
        lines = line_input(environment.home.root / _HISTORY, tuple(COMMANDS))
        if lines.is_terminal:
            console.aside(f"{chat.name}, {len(chat.installed)} experts; /help lists commands, Ctrl-D leaves")
        code = _Talk(console, chat, lines, stats=stats or console.verbose).run()
    click.get_current_context().exit(code)


class _Talk:
    """The loop of reading and answering."""

    def __init__(self, console: Console, chat: Chat, lines: LineInput, *, stats: bool) -> None:
        self._console, self._chat, self._lines, self._stats = console, chat, lines, stats
        self._told: tuple[str, int, tuple[str, ...]] = ("", 0, ())

    def run(self) -> int:
        """Until somebody leaves; the exit code."""
        is_leaving = False
        while True:
            try:
                line = self._lines.read().strip()
            except EOFError:
                return 0
            except KeyboardInterrupt:
                if is_leaving or not self._lines.is_terminal:
                    return EXIT_CODE
                is_leaving = True
                self._console.aside("Ctrl-C once more, or Ctrl-D, leaves")
                continue
            is_leaving = False
            if line and (code := self._take(line)) is not None:
                return code

    def _take(self, line: str) -> int | None:
        """Do what a line says; the exit code if that ends the chat."""
        try:
            if not is_command(line):
                return self._answer(self._chat.plan(line[1:] if line.startswith("//") else line))
            outcome = run_command(self._console, self._chat, line)
            if outcome.leave:
                return 0
            return self._answer(self._chat.plan_anew()) if outcome.anew else None
        except KeyboardInterrupt:
            if not self._lines.is_terminal:
                raise
            self._console.aside("interrupted")
        except Exception as error:
            if not self._lines.is_terminal or not isinstance(error, ExpectedError):
                raise
            show_error(error, as_json=False)
        return None

    def _answer(self, planned: Planned) -> int | None:
        self._tell(planned)
        with interruptible() as stopped:
            result = self._chat.answer(planned, show=self._console.answer, stopped=stopped)
        self._console.out("")
        if result.finish_reason == "length":
            self._console.aside(
                f"(ended after {len(result.token_ids)} tokens; --max-tokens and --context set the limit)"
            )
        warn_of(self._console, result)
        if self._stats:
            self._console.figures(figures_of(result))
        if result.finish_reason != "cancelled":
            return None
        if not self._lines.is_terminal:
            return EXIT_CODE
        self._console.aside("(stopped)" if result.text else "(stopped; nothing was written, and nothing is remembered)")
        return None

    def _tell(self, planned: Planned) -> None:
        """Say who answers, and what was left out, where that is not as before."""
        who = " + ".join(planned.names) or "the base alone"
        told, self._told = self._told, (who, planned.left_out, planned.notes)
        before = self._chat.conversation.last_experts
        if who != told[0]:
            self._console.aside(f"({who})")
        if planned.is_anew and planned.sampling.temperature == 0 and planned.names == before:
            self._console.aside("(the temperature is 0, so the answer will be the same; --temperature sets it)")
        if planned.left_out > told[1]:
            turns = "turn is" if planned.left_out == 1 else f"{planned.left_out} turns are"
            self._console.aside(
                f"(the first {turns} left out: the context of {self._chat.context:,} tokens does not hold all; "
                "--context sets it)"
            )
        for line in planned.notes if planned.notes != told[2] else ():
            self._console.aside(f"({line})")
        for line in told_of(planned.shown) if planned.shown else ():
            self._console.aside(f"({line})")
