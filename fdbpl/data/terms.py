"""Where the terms of each dataset stand: its authors' page, whatever a mirror's card says."""

from collections.abc import Mapping
from types import MappingProxyType

PAGES: Mapping[str, str] = MappingProxyType(
    {
        "imagenet": "https://image-net.org/download.php",
        "caltech-101": "https://data.caltech.edu/records/mzrjq-6wc02",
        "oxford_pets": "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        "stanford_cars": "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        "oxford_flowers": "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        "food-101": "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        "fgvc_aircraft": "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        "sun397": "https://vision.princeton.edu/projects/2010/SUN/",
        "dtd": "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        "eurosat": "https://github.com/phelber/EuroSAT",
        "ucf101": "https://www.crcv.ucf.edu/data/UCF101.php",
        "imagenetv2": "https://github.com/modestyachts/ImageNetV2",
        "imagenet-sketch": "https://github.com/HaohanWang/ImageNet-Sketch",
        "imagenet-adversarial": "https://github.com/hendrycks/natural-adv-examples",
        "imagenet-rendition": "https://github.com/hendrycks/imagenet-r",
    }
)
