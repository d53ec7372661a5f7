"""The protocol's rules, explored exhaustively in the small.

With all of them nothing goes wrong; without any one of them something does.

`python -m tests.models` explores every model within the bounds of the test suite, `--deep` within larger
ones.
"""
