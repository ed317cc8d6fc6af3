"""Transfer, stage 4 of 4: python -m flows.transfer."""

from flows.engine import run, stage_flow, start


@stage_flow
def transfer() -> None:
    """Measure every method on the source and, unchanged, on the targets."""
    run("transfer")


if __name__ == "__main__":
    start(transfer)
