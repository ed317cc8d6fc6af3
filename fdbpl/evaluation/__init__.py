"""Evaluation: what decisions are worth, on classes seen, never seen, and on what is none."""
