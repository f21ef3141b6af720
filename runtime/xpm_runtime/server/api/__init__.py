"""The protocols: each module turns one protocol's request into a wish, and what comes into that protocol's replies."""
