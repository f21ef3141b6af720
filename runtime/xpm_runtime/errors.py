"""Errors of the runtime: the same attributes as the package manager's, without importing it."""


class EngineError(Exception):
    """Base of every expected failure: what and where (message), why (context), what to do (hint)."""

    code = "engine"
    exit_code = 1

    def __init__(self, message: str, *, context: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context = context
        self.hint = hint


class ModelLoadError(EngineError):
    """A base's folder is incomplete, malformed or not loadable on the device asked for."""

    code = "model-load"


class AdapterMismatchError(EngineError):
    """An adapter does not fit the base: digest, names, shapes or values."""

    code = "adapter-mismatch"
    exit_code = 4


class CapacityError(EngineError):
    """A request or composition is larger than the engine may hold."""

    code = "capacity"


class RequestError(EngineError):
    """A request contradicts itself or names what is not there."""

    code = "request"
    exit_code = 2


class ConstraintError(EngineError):
    """A grammar is malformed, too large, of an unsupported kind, or no text fits it."""

    code = "constraint"
    exit_code = 2
