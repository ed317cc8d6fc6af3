"""Deciding between classes: from features to logits, and the files that hold what decides."""
