"""Measurements: programs that judge the project and write what they found into docs/."""
