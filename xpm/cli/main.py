"""The entry point: the command table, the options every command shares, and the one place that catches errors.

Command modules are imported when their command is called, so that ``xpm --help`` loads next to nothing.
"""

import os
import signal
import sys
from importlib import import_module

import click

from xpm.cli.render import Console, ReaderGone, show_crash, show_error
from xpm.errors import ExpectedError, UsageError, unwritable

# command → (module, one line for the overview); the function has the command's name
COMMANDS = {
    "init": ("xpm.cli.environment", "Start a project in this folder."),
    "new": ("xpm.cli.expert", "Start an expert."),
    "install": ("xpm.cli.environment", "Add experts to this environment."),
    "uninstall": ("xpm.cli.environment", "Remove experts from this environment."),
    "update": ("xpm.cli.environment", "Take the newest versions that xpm.toml allows."),
    "lock": ("xpm.cli.environment", "Make xpm.lock agree with xpm.toml."),
    "sync": ("xpm.cli.environment", "Install exactly what xpm.lock names."),
    "undo": ("xpm.cli.environment", "Take the last change back."),
    "redo": ("xpm.cli.environment", "Make the change again that was undone."),
    "list": ("xpm.cli.inspect", "List what is installed here."),
    "tree": ("xpm.cli.graph", "Show the tree of requirements."),
    "why": ("xpm.cli.graph", "Say by which requirements an expert is there."),
    "outdated": ("xpm.cli.graph", "List what is not the newest, or yanked."),
    "path": ("xpm.cli.inspect", "Print the folder of an installed base or expert."),
    "info": ("xpm.cli.inspect", "Show an expert or a base as a card."),
    "search": ("xpm.cli.inspect", "Search the indexes."),
    "versions": ("xpm.cli.graph", "List the published versions of a name."),
    "review": ("xpm.cli.review", "Review a version, and read what others say."),
    "verify": ("xpm.cli.inspect", "Verify installed packages, or a package file."),
    "gc": ("xpm.cli.graph", "Remove from the store what nothing needs."),
    "run": ("xpm.cli.run", "Answer a prompt."),
    "chat": ("xpm.cli.chat", "Hold a conversation."),
    "serve": ("xpm.cli.serve", "Serve what is installed over HTTP."),
    "eval": ("xpm.cli.eval", "Judge answers to a file of prompts."),
    "route": ("xpm.cli.route", "Explain which experts a prompt goes to."),
    "check": ("xpm.cli.expert", "Look for what is wrong with an expert's folder."),
    "dataset": ("xpm.cli.dataset", "Make and look after the data of an expert."),
    "train": ("xpm.cli.expert", "Train an expert as its manifest says."),
    "federate": ("xpm.cli.federate", "Train an expert by federated averaging, simulated."),
    "validate": ("xpm.cli.expert", "Judge an expert by running what it writes."),
    "compare": ("xpm.cli.expert", "Compare two validated experts."),
    "scales": ("xpm.cli.scales", "Learn how strongly experts should act that act together."),
    "fuse": ("xpm.cli.fuse", "Make one expert of several that act together."),
    "build": ("xpm.cli.build", "Build base and expert packages."),
    "convert": ("xpm.cli.build", "Write an adapter in another form: PEFT's, or a folder to build from."),
    "bench": ("xpm.cli.bench", "Measure the engine beside other programs."),
    "base": ("xpm.cli.base", "Look at the bases that the indexes have."),
    "key": ("xpm.cli.publish", "Make and list signing keys."),
    "sign": ("xpm.cli.publish", "Sign a package file."),
    "publish": ("xpm.cli.publish", "Publish package files into an index."),
    "yank": ("xpm.cli.publish", "Take a version out of circulation."),
    "unyank": ("xpm.cli.publish", "Take a yank back."),
    "index": ("xpm.cli.maintain", "Manage indexes."),
    "market": ("xpm.cli.market", "Show an index to people, as web pages."),
    "doctor": ("xpm.cli.doctor", "Look for what may keep xpm from working."),
    "cache": ("xpm.cli.doctor", "Look at and clean downloads."),
    "config": ("xpm.cli.config", "Look at and change settings."),
    "completion": ("xpm.cli.completion", "Print the completion script of a shell."),
    "trust": ("xpm.cli.trust", "Look at what is believed, and confirm roots."),
}

ALIASES = {"add": "install", "remove": "uninstall"}  # the words of other package managers
GROUPS = {
    "Use experts": "run chat serve eval route init install uninstall update lock sync undo redo",
    "Look around": "list search info versions outdated tree why path verify review base",
    "Make an expert": "new check dataset train federate validate compare scales fuse",
    "Build and publish": "build convert key sign publish yank unyank",
    "Keep an index": "index market trust",
    "This machine": "doctor config cache gc bench completion",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        module, _ = COMMANDS[name]
        command = getattr(import_module(module), f"{name}_command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in {*COMMANDS, *ALIASES} and not args[0].startswith("-"):
            import difflib

            alike = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {alike[0]!r}?" if alike else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, COMMANDS[name][1]) for name in names.split()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr; show tracebacks of crashes.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but results and errors.")
@click.version_option(package_name="xpm-experts", prog_name="xpm")
@click.pass_context
def cli(ctx: click.Context, verbose: bool, quiet: bool) -> None:
    """xpm: a Git-native package manager for AI experts, and the engine that runs them."""
    ctx.obj = Console(verbose=verbose, quiet=quiet)


def _require_utf8(arguments: list[str]) -> None:
    """Raise UsageError if an argument is not UTF-8, unless it is the path of a file: it could be
    neither searched for nor shown."""
    for number, argument in enumerate(arguments, start=1):
        shown = argument.encode("utf-8", "replace").decode()  # what is not UTF-8 arrives as lone surrogates
        if shown != argument and not os.path.exists(argument):
            raise UsageError(
                f"argument {number} is not UTF-8", context=shown[:80], hint="look at the terminal's encoding"
            )


class Terminated(BaseException):
    """SIGTERM came: what is half done is cleared away on the way out, as with Ctrl-C."""


def _end_in_order(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends at once
    raise Terminated


def main() -> None:
    """Run the command line; exit codes are those of the errors, 70 for a bug of ours, 130
    for Ctrl-C, 143 for SIGTERM."""
    signal.signal(signal.SIGTERM, _end_in_order)
    try:
        _require_utf8(sys.argv[1:])
        code = cli.main(prog_name="xpm", standalone_mode=False)  # click returns the code of an Exit
        sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:
        sys.exit(_report(_interruption(error) or error, as_json="--json" in sys.argv))
    sys.exit(code if isinstance(code, int) else 0)


def _interruption(error: BaseException) -> BaseException | None:
    """What a person or the system ended the command by, if the error only came of that on the way out."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, (KeyboardInterrupt, Terminated)):
        found = found.__context__
    return found


def _report(error: BaseException, *, as_json: bool) -> int:
    """Say what ended the command; the exit code."""
    match error:
        case click.ClickException():
            if as_json:
                show_error(UsageError(error.format_message()), as_json=True)
            else:
                error.show()
            return 2
        case KeyboardInterrupt() | click.Abort():
            sys.stderr.write("interrupted; nothing was left half done\n")
            return 130
        case Terminated():
            sys.stderr.write("terminated; nothing was left half done\n")
            return 128 + signal.SIGTERM
        case ReaderGone() | BrokenPipeError():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        case OSError():
            problem = unwritable(f"{error.filename or 'a file'} could not be read or written", error)
            show_error(problem, as_json=as_json)
            return problem.exit_code
        case Exception() if isinstance(error, ExpectedError):
            show_error(error, as_json=as_json)
            return error.exit_code
        case Exception():
            show_crash(error, verbose="-v" in sys.argv or "--verbose" in sys.argv)
            return 70
    raise error  # GeneratorExit and the like


if __name__ == "__main__":
    main()
