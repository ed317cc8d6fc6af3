"""Transfer, stage 3 of 4: python -m flows.train_transfer."""

from flows.engine import run, stage_flow, start


@stage_flow
def train_transfer() -> None:
    """Learn every method on all classes of the source."""
    run("train_transfer")


if __name__ == "__main__":
    start(train_transfer)
