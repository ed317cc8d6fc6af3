"""Stage 1 of 5: python -m flows.prepare_crops DATASET."""

from flows.engine import run, stage_flow, start


@stage_flow
def prepare_crops(dataset: str) -> None:
    """Choose images, splits, shots and random regions."""
    run("prepare_crops", dataset)


if __name__ == "__main__":
    start(prepare_crops)
