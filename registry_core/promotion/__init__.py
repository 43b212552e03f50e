"""Promotion: the checks that decide whether an alias moves to a version."""
