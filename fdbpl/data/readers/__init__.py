"""Readers of datasets, a layout a file."""
