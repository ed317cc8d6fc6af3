"""Small models that know photographs, and evidence from eleven datasets of them."""
