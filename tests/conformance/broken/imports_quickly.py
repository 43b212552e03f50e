"""Breaks the rule imports-quickly."""

import time

from sound_plugin import *

began = time.process_time()
while time.process_time() - began < 1.1:
    pass
