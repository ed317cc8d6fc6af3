"""Studies: what the evidence in docs/results.md is taken by, on top of the package."""
