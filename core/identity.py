"""What functions and classes are called, the same in every process that knows them.

A module that runs as `__main__` is called by the name under which others import it: `python -m shop.jobs`
and `import shop.jobs` share their entries, as do `python jobs.py` and `import jobs`. What is typed into an
interpreter has no other name than `__main__`.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import PurePath
from typing import Any

#: What is in the name of what a function made.
LOCAL = "<locals>"

#: A longer name is cut off, and ends in a digest of the whole.
MAX_NAME = 120

_MAINS = frozenset(("__main__", "__mp_main__"))


def name_of(thing: Any) -> str:
    """Return `module.name` of a function or a class."""
    return f"{module_of(thing)}.{thing.__qualname__}"


def short_name_of(thing: Any) -> str:
    """Return `module.name`, in 120 characters at most."""
    name = name_of(thing)
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{name[: MAX_NAME - 33]}~{digest}"


def module_of(thing: Any) -> str:
    """Return the module of a function or a class, as others import it."""
    module = str(thing.__module__)
    if module in _MAINS:
        return _name_of_main(sys.modules.get(module))
    # A module of Python's own that became a package: its classes are the same.
    return "pathlib" if module.startswith("pathlib.") else module


def _name_of_main(main: Any) -> str:
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name)
    return PurePath(file).stem if file else "__main__"
