"""Breaks the rule imports."""

raise RuntimeError("not today")
