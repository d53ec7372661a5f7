"""Hot keys, warming, rates, clean-up and metrics, on a real server."""
