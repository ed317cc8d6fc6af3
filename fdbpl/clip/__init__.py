"""CLIP models: loading and fingerprints, encoding of regions, prompted text."""
