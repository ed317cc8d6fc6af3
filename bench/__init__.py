"""Measurements: programs that judge the project and write what they found into docs/."""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the stages do, before torch is loaded
