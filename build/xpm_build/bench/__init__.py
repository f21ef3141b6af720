"""``xpm bench``: the engine beside llama.cpp and Transformers + PEFT, on the same weights, in one interleaved run."""
