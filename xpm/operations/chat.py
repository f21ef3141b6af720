"""A conversation with a base, in which each turn may go to other experts.

A turn is planned, which is quick and says who answers, and then answered. What is refused or interrupted on the way
changes nothing; of an answer that is stopped, what was written is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.operations.answering import Answerer, RunOptions
from xpm.operations.chat_documents import ChatDocuments
from xpm.operations.choice import Composition
from xpm.operations.context_files import ContextFiles
from xpm.operations.conversation import Conversation
from xpm.operations.parts import Part, part_of
from xpm.operations.run import messages, seeded
from xpm.progress import Progress

if TYPE_CHECKING:
    from xpm_runtime import GenerationResult, Message, SamplingParams
    from xpm_runtime.passages.choose import Chosen

_ANSWER_SHARE = 4
"""At most one part in so many of the context is kept free for the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What is about to be answered.

    ``left_out`` exchanges at the beginning of the conversation are not sent, as they would not fit. ``is_anew``: the
    answer is to replace the last one. ``shown`` is what is shown of documents with this turn, None if there are none.
    ``notes`` say what of the experts was given up for memory.
    """

    text: str
    messages: Sequence["Message"]
    experts: tuple[Part, ...]
    sampling: "SamplingParams"
    left_out: int
    is_anew: bool = False
    shown: "Chosen | None" = None
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.experts)


class Chat:
    """A context manager that frees the base. ``chosen`` are the experts that the user wants:
    None for the router's choice."""

    def __init__(
        self,
        environment: Environment,
        options: RunOptions,
        *,
        progress: Progress,
        documents: ContextFiles | None = None,
    ) -> None:
        self._environment, self._options, self._progress = environment, options, progress
        self.chosen = options.experts
        self.conversation = Conversation(options.system)
        self.documents = ChatDocuments(environment, documents)
        self.last: GenerationResult | None = None
        self._num_drawn = self._left_out = 0
        self._is_warned = False
        self._answerer = Answerer(environment, options, progress=progress)
        if self.chosen:
            self._answerer.candidates.compose("", self.chosen)  # an unknown name is told now
        self._answerer.start()

    def __enter__(self) -> "Chat":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answerer.close()

    # Turns

    def plan(self, text: str) -> Planned:
        """Choose who answers a user's turn, and what of the conversation they see. Waits until the base is loaded.

        Raises:
            CapacityError: the turn alone does not fit into the context, or not beside a passage of documents.
            EngineError: the base or an expert can't be loaded.
        """
        composition, notes = self._answerer.within_memory(self._composed(text))
        sampling = seeded(self._answerer.sampling(composition, text), self._num_drawn)
        bare = messages(self._options.system, text)
        shown = self.documents.shown(self._answerer.engine, text, bare, max_tokens=sampling.max_tokens)
        asked = text if shown is None else shown.before(text)
        if shown is not None:
            sampling = replace(sampling, grammar=self._answerer.sampling(composition, asked).grammar)
        left_out = self._least_left_out(asked, sampling.max_tokens)
        self._answerer.attach(composition.experts)
        return Planned(
            text=text,
            messages=self.conversation.messages(asked, left_out=left_out),
            experts=composition.experts,
            sampling=sampling,
            left_out=left_out,
            shown=shown,
            notes=notes,
        )

    def plan_anew(self) -> Planned:
        """Plan another answer to the last turn, which stays until there is one.

        Raises:
            UsageError: nothing was said yet; and as ``plan``.
        """
        exchange = self.conversation.turns[-2:]
        text = self.conversation.undo()
        try:
            return replace(self.plan(text), is_anew=True)
        finally:
            self.conversation.turns += exchange

    def answer(
        self, planned: Planned, *, show: Callable[[str], None], stopped: Callable[[], bool]
    ) -> "GenerationResult":
        """Answer a turn and remember it, unless it was stopped before anything was written."""

        def show_piece(number: int, piece: str) -> None:
            show(piece)

        (result,) = self._answerer.answers(
            planned.messages, planned.experts, [planned.sampling], show=show_piece, stopped=stopped
        )
        self._num_drawn += 1
        self._left_out = planned.left_out
        self.last = result
        if result.text or result.finish_reason != "cancelled":
            if planned.is_anew:
                self.conversation.undo()
            self.conversation.remember(planned.text, result.text, experts=planned.names, base=self.base)
        return result

    def undo(self) -> str:
        """Forget the last exchange; the user's text in it. Raises UsageError if there is none."""
        self._left_out = 0
        return self.conversation.undo()

    def _composed(self, text: str) -> Composition:
        """Who answers. Where the router finds nobody for a text that goes on with what was
        said, those who answered last."""
        composition = self._answerer.candidates.compose(text, self.chosen)
        if composition.experts or composition.decision is None:
            return composition
        from xpm_runtime.router.turns import goes_on

        before = tuple(each for each in self.installed if each.name in self._answered_before())
        if before and goes_on(composition.decision):
            return replace(composition, experts=before)
        if not self._is_warned:
            self._is_warned = True
            self._answerer.candidates.warn_of_nobody(text, composition)
        return composition

    def _answered_before(self) -> tuple[str, ...]:
        """Who gave the last answer, closing words and what was said to them left out."""
        from xpm_runtime.router.prompt import read_prompt
        from xpm_runtime.router.turns import is_closing

        turns = self.conversation.turns
        for asked, answer in reversed(list(zip(turns[::2], turns[1::2], strict=True))):
            if answer.experts or not is_closing(read_prompt(asked.content).signs):
                return answer.experts
        return ()

    def _least_left_out(self, text: str, max_tokens: int) -> int:
        """How many exchanges at the beginning have to be left out, so that the rest and an answer fit into the context.

        Not fewer than the last time: what is known of a prompt's beginning need not be computed again.
        """
        from xpm_runtime import CapacityError

        engine = self._answerer.engine
        room = engine.context - min(max_tokens, engine.context // _ANSWER_SHARE)
        begin = min(self._left_out, self.conversation.num_exchanges)
        for left_out in range(begin, self.conversation.num_exchanges + 1):
            try:
                num_tokens = engine.count_tokens(self.conversation.messages(text, left_out=left_out))
            except CapacityError:
                num_tokens = engine.context + 1
            if num_tokens <= room:
                return left_out
        if num_tokens >= engine.context:
            raise CapacityError(
                f"this alone is more than the context of {engine.context} tokens holds",
                hint="shorten it, or begin with a larger --context",
            )
        return self.conversation.num_exchanges

    # What answers

    @property
    def name(self) -> str:
        """The base's name and version, without waiting for it."""
        return self._answerer.candidates.base.label

    @property
    def base(self) -> str:
        """The base's name, version and variant, once it is loaded."""
        return self._answerer.label

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._answerer.engine.context

    @property
    def installed(self) -> list[Part]:
        """The experts that can be used by their names."""
        packages = self._answerer.candidates.packages
        return [part_of(each) for each in packages if each.package.kind == "expert"]

    def use(self, experts: tuple[str, ...] | None) -> None:
        """From now on these experts answer, by name or path; () the base alone, None the router's choice.

        Raises:
            NotFoundError: one is not there; nothing is changed.
        """
        if experts:
            self._answerer.candidates.compose("", experts)
        self.chosen = experts

    def change_base(self, path: str) -> None:
        """Go on with another base, named by its path, or "" for the environment's; the router
        chooses on the latter only.

        Raises:
            XpmError, EngineError: it can't be loaded; the old one stays.
        """
        answerer = Answerer(self._environment, replace(self._options, base=path), progress=self._progress)
        try:
            answerer.start()
            _ = answerer.engine
            if self.chosen:
                answerer.attach(answerer.candidates.compose("", self.chosen).experts)
        except BaseException:
            answerer.close()
            raise
        self._answerer.close()
        self._answerer = answerer
        self._left_out = 0

    def add_document(self, file: Path, *, budget: int | None = None) -> None:
        """Show what bears on a turn of this text from now on; raises as ``ChatDocuments.add``."""
        self.documents.add(file, budget=budget)
        self._left_out = 0

    def drop_document(self, name: str | None) -> None:
        """Show nothing of a document any more, None of none; raises as ``ChatDocuments.drop``."""
        self.documents.drop(name)
        self._left_out = 0

    def route(self, text: str) -> Composition:
        """Whom the router chooses for a text.

        Raises:
            UsageError: the base was named by its path, and there is nothing to choose from.
        """
        composition = self._answerer.candidates.compose(text, None)
        if composition.decision is None:
            raise UsageError(
                "the router chooses among what is installed, for the base here", hint="name experts with /use"
            )
        return composition

    # Files

    def load(self, path: Path) -> None:
        """Go on with a conversation that was saved; raises ConversationError and changes
        nothing if it can't be read."""
        self.conversation = Conversation.load(path)
        self._left_out, self.last = 0, None
