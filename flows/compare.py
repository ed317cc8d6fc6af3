"""Stage 5 of 5: python -m flows.compare."""

from flows.engine import run, stage_flow, start


@stage_flow
def compare() -> None:
    """Compare all datasets of params.yaml: table and plot."""
    run("compare")


if __name__ == "__main__":
    start(compare)
