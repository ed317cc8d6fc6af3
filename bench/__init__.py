"""Measurements: programs that judge the project and write what they found into docs/."""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
