"""Datasets: their images on disk, their splits, class names and templates."""
