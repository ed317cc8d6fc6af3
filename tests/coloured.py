"""An image tower for tests of studies, made at once."""

import numpy as np
from PIL import Image

from fdbpl.classify.decision import unit
from fdbpl.clip.preprocessing import Floats, Preprocessing


class Colours:
    """Stands for a small model's image tower: random features (1280) of coarse colours."""

    pixels_of = Preprocessing(4, (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest")
    weights = np.random.default_rng(0).normal(size=(48, 1280))

    def pixels(self, image: Image.Image, box: None = None) -> Floats:
        """Return a picture's coarse colours (3, 4, 4)."""
        return self.pixels_of.pixels(image, box)

    def encode(self, pixels: Floats) -> Floats:
        """Return unit features (n, 1280) of coarse colours (n, 3, 4, 4)."""
        return unit(pixels.reshape(len(pixels), -1) @ self.weights)
