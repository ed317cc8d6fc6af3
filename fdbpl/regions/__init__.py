"""Regions of images: which they are, and the plan of what is learned from which."""
