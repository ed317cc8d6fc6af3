"""Models that were learned, as folders that can be passed on, and predictions by them."""
