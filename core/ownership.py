"""What only the holder of a key may do with it: each holder writes a value that nobody else has."""

from __future__ import annotations

from stoker.core.link.script import Script

RENEW = Script("renew.lua")
RELEASE = Script("release.lua")
