"""What the router knows of one expert."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpm_runtime.router.head import Head

DEFAULT_PRIORITY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingCard:
    """An expert as its publisher describes it.

    ``priority`` is 0 to 1 and decides between equals. ``hint`` is an expression (``xpm_runtime.router.hint``).
    ``examples`` are prompts that it answers. ``tier`` is one of format, language, tech, domain, task: experts of
    one tier are not combined.
    ``requires`` and ``incompatible`` are names of other cards.
    """

    name: str
    keywords: tuple[str, ...] = ()
    exclude_keywords: tuple[str, ...] = ()
    priority: float = DEFAULT_PRIORITY
    capabilities: tuple[str, ...] = ()
    description: str = ""
    examples: tuple[str, ...] = ()
    hint: str = ""
    tier: str = "domain"
    requires: tuple[str, ...] = ()
    incompatible: tuple[str, ...] = ()
    head: "Head | None" = field(default=None, repr=False)

    @property
    def title(self) -> str:
        """The name as words, without what all experts' names have."""
        return self.name.removeprefix("expert-").replace("-", " ")

    @property
    def text(self) -> str:
        """Everything that it says in words of what it is for."""
        return " ".join((self.title, self.description, *self.capabilities, *self.keywords, *self.examples))
