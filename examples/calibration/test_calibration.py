"""The rules of mlreg's contract, one test each: `pytest` in this folder."""

import mlreg_calibration

from mlreg.testing import plugin_checks

test_plugin = plugin_checks(mlreg_calibration)
