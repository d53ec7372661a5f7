"""Database queries whose results are cached, and invalidated by what they depend on."""
