"""The rules of mlreg's contract, one test each: `pytest` in this folder."""

import mlreg_early_stopping

from mlreg.testing import plugin_checks

test_plugin = plugin_checks(mlreg_early_stopping)
