"""What can go wrong: the kinds of violation that the models look for."""

from __future__ import annotations

STALE = "stale"
"""A strict read returned what was there before an invalidation that was acknowledged when it began."""

BEHIND = "behind the bound"
"""A read from memory returned what was invalidated, or overwritten, longer ago than the bound."""

OUTLIVED = "outlived"
"""A copy in memory was served although its entry's life had been shortened, longer ago than the bound."""

LOST = "live entry lost"
"""A live entry was unlinked, or a dead one took its place."""

USELESS = "dead at once"
"""A value that is true was stored dead, though nothing had been changed since."""

REPLACED = "replaced by an older load"
"""A value that a caller vouched for gave way to a load that had begun before."""

DISOBEYED = "own invalidation not obeyed"
"""A process served what it had itself invalidated."""

SENT_ON = "sent on twice"
"""Who waits for a load was refused the result again and again."""

SECOND = "second load"
"""Two loads of a key were under way although no holder had died, and no lease had lapsed."""

BLOCKED = "blocked by the dead"
"""A dead entry was taken for a present one."""

TWICE = "created twice"
"""Two callers were both told that they created the entry."""

HELD = "held for ever"
"""An entry is taken for dead although all that it was read from has settled."""

HOLE = "hole"
"""As *stale*, and the server had lost the record of the invalidation."""
