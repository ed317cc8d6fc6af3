"""The pipeline as Prefect flows; DVC calls the same modules as its stages."""
