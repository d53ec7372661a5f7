"""The cache library: typed caches over Redis, honest under invalidation."""
