"""Whole parameter files for the runs people want, and how one takes the place of `params.yaml`."""
