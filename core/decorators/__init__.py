"""Functions whose results are cached, and writers that invalidate them."""
