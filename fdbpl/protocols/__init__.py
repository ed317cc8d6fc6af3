"""Protocols: which classes are learned, from how many shots, and what is tested."""
