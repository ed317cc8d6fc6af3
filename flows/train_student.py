"""Stage 3 of 5: python -m flows.train_student DATASET."""

from flows.engine import run, stage_flow, start


@stage_flow
def train_student(dataset: str) -> None:
    """Learn the prompts of every method and seed."""
    run("train_student", dataset)


if __name__ == "__main__":
    start(train_student)
