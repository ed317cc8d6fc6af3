"""metrics/datasets/NAME.json: what was measured on a dataset, as `evaluate` writes it.

`fdbpl.stages.evaluated` reads it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fdbpl.system.files import write_whole
from fdbpl.system.sealed import sealed_json

Measures = dict[str, float | dict[str, float]]
"""Accuracies in per cent by name; nested where label spaces are tested in several ways."""

Kind = Literal["own", "shifted", "cross-dataset"]
"""What a tested dataset is to the one learned on: itself, it in other pictures, or another."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Cell(_Record):
    """One method and seed.

    Attributes:
        measures: what the protocol measures, in per cent; `agreement` with the teacher in place of
            `accuracy` where no test image has a class.
        prompts: SHA-256 of the prompts, of a method that has some.
        penalty: that a linear probe chose.
    """

    measures: Measures
    prompts: str | None = None
    penalty: float | None = None


class Run(_Record):
    """One protocol from one number of shots.

    Attributes:
        learned_on: the dataset.
        kind: what the dataset tested is to that.
        classes: of each label space tested, how many.
        test_images: of each label space tested, how many.
        left_out: methods of params.yaml that cannot be learned or carried here.
        methods: by name and seed.
    """

    learned_on: str
    kind: Kind
    classes: dict[str, int]
    test_images: dict[str, int]
    left_out: list[str]
    methods: dict[str, dict[str, Cell]]

    def measures(self, method: str, seeds: list[int]) -> dict[str, Measures]:
        """Return what was measured of a method, by seed."""
        return {str(seed): self.methods[method][str(seed)].measures for seed in seeds}


class DatasetRecord(_Record):
    """What was measured on a dataset.

    Attributes:
        dataset: its name.
        plan: SHA-256 of its plan.
        student: architecture and weights.
        protocols: by name and number of shots.
        made_with: see `fdbpl.stages.made_with`.
    """

    dataset: str
    plan: str
    student: dict[str, Any]
    protocols: dict[str, dict[str, Run]] = Field(default_factory=dict)
    made_with: dict[str, Any]

    def run(self, protocol: str, shots: int | str) -> Run | None:
        """Return the run of a protocol; None where the dataset takes no part in it."""
        return self.protocols.get(protocol, {}).get(str(shots))

    def single_classes(self, protocol: str) -> list[str]:
        """Return a protocol's label spaces of one class, from which nothing can be told."""
        runs = self.protocols.get(protocol, {}).values()
        return sorted({name for run in runs for name, count in run.classes.items() if count == 1})


def write_record(path: Path, record: DatasetRecord) -> None:
    """Write it whole or not at all, with its digest."""
    write_whole(path, sealed_json(record.model_dump(exclude_none=True)))


def runs_of(
    records: Mapping[str, DatasetRecord], protocol: str, shots: int | str
) -> dict[str, Run]:
    """Return the runs of a protocol, by dataset, of those that take part in it."""
    found = {name: record.run(protocol, shots) for name, record in records.items()}
    return {name: run for name, run in found.items() if run is not None}
