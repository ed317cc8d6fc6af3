"""Transfer, stage 1 of 4: python -m flows.prepare_transfer."""

from flows.engine import run, stage_flow, start


@stage_flow
def prepare_transfer() -> None:
    """Plan the source with all its classes, and the targets that have no plan."""
    run("prepare_transfer")


if __name__ == "__main__":
    start(prepare_transfer)
