"""Tests for plugins: `plugin_checks` makes a pytest test for each rule of the contract.

from mlreg.testing import plugin_checks

test_digits = plugin_checks("digits")
"""

from registry_core.conformance.pytest_checks import plugin_checks

__all__ = ["plugin_checks"]
