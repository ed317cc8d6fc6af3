"""fdbpl: faster distillation-based prompt learning for CLIP-like models."""

__version__ = "0.1.0"
