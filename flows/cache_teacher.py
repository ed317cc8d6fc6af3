"""Stage 2 of 5: python -m flows.cache_teacher DATASET."""

from flows.engine import run, stage_flow, start


@stage_flow
def cache_teacher(dataset: str) -> None:
    """Encode the regions that no run has encoded before, with both models."""
    run("cache_teacher", dataset)


if __name__ == "__main__":
    start(cache_teacher)
