"""Of long documents the passages that bear on a prompt: cut, ranked, and chosen within a budget of tokens."""
