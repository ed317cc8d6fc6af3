"""Opening the caches of a dataset, sure that they are the ones the parameters ask for."""
