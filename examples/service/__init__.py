"""A FastAPI service whose endpoints are cached."""
