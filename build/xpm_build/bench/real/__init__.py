"""A real model, from its GGUF file to answers and experts, beside llama.cpp and PEFT (`make real`)."""
