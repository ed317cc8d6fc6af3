"""Training: from features and names to prompts."""
