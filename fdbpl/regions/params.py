"""The section `regions` of the parameters."""

from pydantic import Field, field_validator

from fdbpl.system.section import Section


class RegionParams(Section):
    """The random crops of training images; `seed` is independent of shots and training."""

    seed: int = Field(0, ge=0, lt=2**32)
    per_image: int = Field(10, ge=1, le=65535)
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: float = Field(0.5, ge=0, le=1)

    @field_validator("scale", "ratio")
    @classmethod
    def _ordered(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if not 0 < pair[0] <= pair[1]:
            raise ValueError("two numbers, 0 < smallest <= largest")
        return pair

    @field_validator("scale")
    @classmethod
    def _within_image(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if pair[1] > 1:
            raise ValueError("shares of the image's area, at most 1")
        return pair
