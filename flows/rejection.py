"""Over all datasets: python -m flows.rejection."""

from flows.engine import run, stage_flow, start


@stage_flow
def rejection() -> None:
    """Measure how well each method rejects what shows no base class."""
    run("rejection")


if __name__ == "__main__":
    start(rejection)
