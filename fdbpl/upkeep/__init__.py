"""Looking after caches and region stores: listing, verifying, describing, cleaning."""
