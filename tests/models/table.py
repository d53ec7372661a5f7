"""The table of rules in docs/architecture.md."""

from __future__ import annotations

from tests.models.catalogue import all_rules


def render_table() -> str:
    """Return the rules, what each says, where it is explored, and what goes wrong without it."""
    lines = ["| rule | model | without it |", "|---|---|---|"]
    for part, rule, _ in all_rules():
        says = rule.says[0].upper() + rule.says[1:]
        lines.append(f"| {says}. | `{part}`: `{rule.name}` | *{rule.kind}*: {rule.otherwise} |")
    return "\n".join(lines)
