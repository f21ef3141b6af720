"""Makes packages: exports bases with universal slots, quantises them, compiles adapters and checks each against PEFT.

Needs the ``build`` extra. Nothing else in the project imports torch, transformers, peft or onnx.
"""
