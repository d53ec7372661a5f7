"""Records: named fields that can be asked for as in a dict, too."""

from __future__ import annotations

from typing import Any

import msgspec


class Record(msgspec.Struct, frozen=True):
    """Fields that can be asked for as in a dict, too: `record["provider"]`, `record.get("provider")`."""

    def __getitem__(self, name: str) -> Any:
        if name not in self.__struct_fields__:
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.__struct_fields__

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field by name; `default` where there is no such field."""
        return getattr(self, name) if name in self.__struct_fields__ else default

    def keys(self) -> tuple[str, ...]:
        """The fields' names: so `dict(record)` has all of them."""
        return self.__struct_fields__
