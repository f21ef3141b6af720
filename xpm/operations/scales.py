"""Learning the scales of a set of experts: finds them and their base; the work is that of
``xpm_build`` (the ``build`` extra)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.errors import UsageError
from xpm.operations.expert import base_of, place_of
from xpm.operations.extras import require_extra
from xpm.operations.model_folder import model_folder
from xpm.progress import Progress

if TYPE_CHECKING:
    from xpm_build.composition.learn import Learned, ScaleOptions


def learn(
    environment: Environment,
    experts: Sequence[str],
    out: Path,
    *,
    base: str,
    options: "ScaleOptions",
    progress: Progress,
    report: Callable[[str], None],
) -> "Learned":
    """Learn how strongly each of some experts should act when all of them do.

    Args:
        experts: folders, package files, or names of what is installed here.
        base: a model's folder or GGUF file, or a base's name; by default that of the first expert.
    Raises:
        UsageError: there are fewer than two. NotFoundError: one is none of these.
    """
    require_extra()
    from xpm_build.composition.learn import learn_scales

    if len(experts) < 2:
        raise UsageError("scales need two experts or more", hint="xpm scales expert-sql expert-json")
    places = [place_of(environment, each) for each in experts]
    base = base or base_of(places)
    with environment.home.alone_in(out), model_folder(environment, base, progress=progress) as model:
        return learn_scales(places, model, out, options, report=report)
