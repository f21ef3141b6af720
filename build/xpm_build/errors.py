"""The errors of making packages."""

from xpm_index.errors import XpmError


class BuildError(XpmError):
    code = "build"
    exit_code = 12


class UsageError(BuildError):
    """A command was given what it can do nothing with."""

    code = "usage"
    exit_code = 2


class UnfitError(BuildError):
    """An adapter's tensors are not of the shapes, or for the layers, that the base has."""


class ParityError(BuildError):
    """What was built does not compute what Transformers and PEFT compute."""

    code = "parity"
    exit_code = 11


class DatasetError(BuildError):
    """Data, or what the manifest says of it, is not as it must be."""

    code = "dataset"
    exit_code = 10


class TrainingError(BuildError):
    code = "training"
    exit_code = 10


class EvaluationError(BuildError):
    code = "validation"
    exit_code = 11
