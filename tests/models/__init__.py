"""The protocol's rules, explored exhaustively in the small.

With all of them nothing goes wrong; without any one of them something does. What a model leaves out stands in
its docstring. No model has, and only tests of real servers show:

- that replicas or disk have a record before it counts as acknowledged (`WAIT`, `WAITAOF`);
- the age limit of a cluster's commits, and the servers that a sweep must have gone over there;
- a log that is read in several readings: the horizon that sinks with each, and a full table that raises it;
- callers that are cancelled, but for one that waits for an invalidation (`outage`).

`python -m tests.models` explores every model within the bounds of the test suite, `--deep` within larger
ones.
"""
