"""What every room stands on: errors, files, processes, devices, folders of a run."""
