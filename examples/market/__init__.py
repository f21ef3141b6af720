"""A marketplace to look at: an index of small experts that were really trained, judged and reviewed; built on demand.

``plan`` says which experts there are, ``specialist`` and ``halves`` make them, ``shelf`` publishes and reviews them.
"""
