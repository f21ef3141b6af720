"""The recipe of the embedded default: a small base and its experts, rebuilt by ``make embedded``.

Owns the material (vocabularies, task generators, corpus), the training of the base and of the experts, and their
evaluation by execution. Knows nothing of archives or indexes beyond calling ``xpm_build``'s public functions.
"""

import xpm_build  # noqa: F401 - before Transformers is imported, whose telemetry it switches off
