"""The one error type of building."""

from xpm_index.errors import XpmError


class BuildError(XpmError):
    code = "build"
    exit_code = 12


class ParityError(BuildError):
    """What was built does not compute what Transformers and PEFT compute."""

    code = "parity"
    exit_code = 11
