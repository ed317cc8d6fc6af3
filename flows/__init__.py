"""The pipeline as Prefect flows; DVC's stages call flows.stage."""
