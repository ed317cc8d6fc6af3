"""Photographs: what the methods reach on small pictures of real things."""
