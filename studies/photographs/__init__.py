"""Measurements on photographs of eleven public datasets, which lie outside the project."""
