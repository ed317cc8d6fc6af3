"""Faults of every kind, put into a small sound project: python -m tests.faults --trials 3000."""
