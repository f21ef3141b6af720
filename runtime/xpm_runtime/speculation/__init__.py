"""Speculative decoding: several tokens are guessed, one run tells which of them would have been written anyway.

A drafter guesses (``ngram``), a policy decides whether and how far that pays (``policy``, with ``costs``); the
stepper verifies. Nothing here knows a model: token ids in, token ids out. The guesses decide only how fast a text is
written, never which one.
"""

from xpm_runtime.speculation.costs import RunCosts
from xpm_runtime.speculation.policy import METHODS, Speculation

__all__ = ["METHODS", "RunCosts", "Speculation"]
