"""Models in the formats of other programs, which need no fdbpl."""
