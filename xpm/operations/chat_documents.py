"""The documents of a chat: what bears on a turn is shown with that turn alone, and chosen anew for the next.

What was shown with earlier turns is no part of the conversation: it would fill the context with
what bore on other questions.
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.operations.context_files import LEAST_BUDGET, ContextFiles, encoder_of, passages_for, read_document

if TYPE_CHECKING:
    from xpm_runtime import Engine
    from xpm_runtime.passages.choose import Chosen, Document
    from xpm_runtime.passages.rank import Encoder
    from xpm_runtime.sequence import Prompt

_SHARE = 2
"""Unless somebody says otherwise, documents get at most one part in so many of the context: the
conversation has the rest."""


class ChatDocuments:
    """``budget`` bounds the tokens that are shown of all of them together; None for half of the context."""

    def __init__(self, environment: Environment, given: ContextFiles | None = None) -> None:
        self._environment = environment
        self.documents: tuple[Document, ...] = given.documents if given else ()
        self.budget = given.budget if given else None

    def add(self, file: Path, *, budget: int | None = None) -> None:
        """Read a document, in place of one of the same name; ``budget`` None leaves it as it is.

        Raises:
            UsageError: it is no text, all are too large together, or the budget is too small; nothing is changed.
        """
        if budget is not None and budget < LEAST_BUDGET:
            raise UsageError(f"{budget} tokens are too few for documents", hint=f"{LEAST_BUDGET} are the least")
        others = tuple(each for each in self.documents if each.name != file.name)
        self.documents = (*others, read_document(file, beside=others))
        self.budget = budget if budget is not None else self.budget

    def drop(self, name: str | None) -> None:
        """Let go of a document, None of all; raises UsageError if there is none of that name."""
        if name is None:
            self.documents = ()
            return
        left = tuple(each for each in self.documents if each.name != name)
        if len(left) == len(self.documents):
            known = ", ".join(each.name for each in self.documents) or "none"
            raise UsageError(f"there is no document {name[:80]} here", context=f"there are: {known}")
        self.documents = left

    def shown(self, engine: "Engine", text: str, asked: "Prompt", *, max_tokens: int) -> "Chosen | None":
        """What is shown of them with a turn, None where there are none.

        Args:
            asked: the turn as the engine gets it without documents, and without what was said before.
            max_tokens: of the answer.
        Raises:
            CapacityError: there is no room for a passage. ModelLoadError: the encoder can't be loaded.
        """
        if not self.documents:
            return None
        budget = engine.context // _SHARE if self.budget is None else self.budget
        context = ContextFiles(documents=self.documents, budget=budget)
        return passages_for(engine, context, text, asked, max_tokens=max_tokens, encoder=self._encoder)

    @cached_property
    def _encoder(self) -> "Encoder | None":
        return encoder_of(self._environment)
