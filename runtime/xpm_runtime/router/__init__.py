"""Which experts answer a prompt, and how it is decoded: cards in, a decision out (docs/explanation/routing.md).

Knows cards, not manifests, stores or engines. Everything is pure scoring on the CPU; importing
it is cheap but for numpy.
"""
