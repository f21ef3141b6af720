"""What `xpm route` tells of one prompt: the decision, and how the answer would be decoded."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xpm.environment import Environment
from xpm.operations.choice import routed
from xpm.operations.decoding import sampling_params, task_defaults
from xpm.operations.install import require_stored
from xpm.operations.installed import packages_of
from xpm.operations.options import Options
from xpm.progress import Progress

if TYPE_CHECKING:
    from xpm_runtime.router.decision import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """``experts`` are in the order in which they act; ``sampling`` is what `xpm run` would decode with."""

    decision: "Decision"
    experts: tuple[str, ...]
    sampling: dict[str, Any]


def explain_route(environment: Environment, prompt: str, *, progress: Progress) -> Explained:
    """What `xpm run` would do with a prompt; nothing is loaded and nothing generated."""
    packages = packages_of(environment, require_stored(environment, Options(progress=progress)))
    decision, parts = routed(environment, packages, prompt, progress=progress)
    manifests = [each.manifest for each in parts if each.manifest]
    sampling = sampling_params(manifests, {}, defaults=task_defaults(decision.task, prompt))
    return Explained(decision=decision, experts=tuple(each.name for each in parts), sampling=asdict(sampling))
