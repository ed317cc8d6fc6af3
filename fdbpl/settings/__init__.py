"""What `params.yaml` may say, and whole files of it as presets."""
