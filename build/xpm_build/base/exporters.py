"""Which exporter makes a base's graph: what can be written here is written, anything else is traced through Optimum."""

from pathlib import Path

from xpm_build.base.architecture import Architecture, obstacle_to_writing
from xpm_build.base.configuration import read_configuration
from xpm_build.errors import BuildError

EXPORTERS = ("auto", "written", "optimum")
TRACED_VARIANTS = ("fp32",)
DECODER_TASK = "text-generation-with-past"


def exporter_for(source: Path, wanted: str = "auto") -> str:
    """Whether the graph of the model in a folder or a GGUF file is "written", or traced through "optimum".

    Args:
        wanted: one of ``EXPORTERS``.
    Raises:
        BuildError: neither can be done, or not the one that is wanted.
    """
    if wanted not in EXPORTERS:
        raise BuildError(f"exporter {wanted!r} is unknown", hint=f"choose of {', '.join(EXPORTERS)}")
    if source.is_file():
        return "written"
    configuration = read_configuration(source)
    if wanted == "written":
        Architecture(configuration)
        return "written"
    obstacle = obstacle_to_writing(configuration)
    if wanted == "auto" and not obstacle:
        return "written"
    try:
        require_traceable(str(getattr(configuration, "model_type", None)), DECODER_TASK)
    except BuildError as error:
        context = error.message if obstacle else error.context
        raise BuildError(obstacle or error.message, context=context, hint=error.hint) from error
    return "optimum"


def require_traceable(kind: str, task: str) -> None:
    """Raise BuildError if Optimum is not installed, or can't export models of a type for a task."""
    try:
        import optimum.exporters.onnx.model_configs  # noqa: F401  registers what can be exported to ONNX
        from optimum.exporters.tasks import TasksManager
    except ImportError as error:
        raise BuildError(
            f"models of type {kind[:40]!r} are exported through Optimum, which is not installed",
            hint="pip install 'xpm-experts[build]'",
        ) from error
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(kind, "onnx", library_name="transformers")
    except KeyError:
        tasks = {}
    if task not in tasks:
        raise BuildError(f"Optimum can't export models of type {kind[:40]!r} for {task}")
