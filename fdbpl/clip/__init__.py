"""CLIP models: loading, encoding, prompting, and the tiny pair that ships with the package."""
