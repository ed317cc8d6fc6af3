"""The cache of teacher and student features: shards, keys, the region store, dataset caches."""
