"""The rules of mlreg's contract, one test each: `pytest` in this folder."""

import mlreg_digits

from mlreg.testing import plugin_checks

test_digits = plugin_checks(mlreg_digits)
