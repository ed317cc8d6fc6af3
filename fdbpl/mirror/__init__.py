"""Fetching the field's datasets from a public mirror on the Hugging Face hub."""
