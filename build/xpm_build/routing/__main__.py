"""``python -m xpm_build.routing``: train the topics that come with xpm anew, into the runtime's folder."""

import numpy as np

from xpm_build.routing.topics import make_topics
from xpm_runtime.router.topics import FILE
from xpm_runtime.router.vectors import own_vectors

data, lines = make_topics(own_vectors())
FILE.write_bytes(data)
for line in lines:
    print(line)
print(f"written: {FILE} ({len(data):,} bytes; numpy {np.__version__})")
