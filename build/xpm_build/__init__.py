"""Makes packages: exports bases with universal slots, quantises them, compiles adapters and checks each against PEFT.

Needs the ``build`` extra. Nothing else in the project imports torch, transformers, peft or onnx.
"""

import os

os.environ.setdefault(
    "HF_HUB_DISABLE_TELEMETRY", "1"
)  # TRL tells its hub of every training otherwise; nobody asked for that
