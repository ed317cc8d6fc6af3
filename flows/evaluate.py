"""Stage 4 of 5: python -m flows.evaluate DATASET."""

from flows.engine import run, stage_flow, start


@stage_flow
def evaluate(dataset: str) -> None:
    """Measure base and new accuracy of every method."""
    run("evaluate", dataset)


if __name__ == "__main__":
    start(evaluate)
