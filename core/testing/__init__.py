"""For tests: the contract that every store keeps, to run over one's own.

The fixtures `stoker_cache` and `stoker_redis_cache` come by themselves where pytest runs; see
docs/testing.md.
"""

from stoker.core.testing.contract import CacheContract
from stoker.core.testing.failures import FailureContract

__all__ = ["CacheContract", "FailureContract"]
