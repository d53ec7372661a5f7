"""Answers of a language model, cached: whole ones and streamed ones."""
