"""The page of results: what the records of one or more worlds say, in tables and plain words."""
