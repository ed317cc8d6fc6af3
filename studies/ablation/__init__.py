"""Ablation: which part of the method, of the regions and of the cache earns what."""
