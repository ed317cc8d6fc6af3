"""Transfer, stage 2 of 4: python -m flows.cache_transfer."""

from flows.engine import run, stage_flow, start


@stage_flow
def cache_transfer() -> None:
    """Encode what prepare-transfer planned and no run has encoded before."""
    run("cache_transfer")


if __name__ == "__main__":
    start(cache_transfer)
