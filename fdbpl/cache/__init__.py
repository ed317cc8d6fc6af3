"""The cache of teacher and student features: shards, keys, the region store, dataset caches."""

from fdbpl.cache.build import Counts, build_cache, region_features
from fdbpl.cache.cache import Cache, open_cache
from fdbpl.cache.store import RegionStore

__all__ = ["Cache", "Counts", "RegionStore", "build_cache", "open_cache", "region_features"]
