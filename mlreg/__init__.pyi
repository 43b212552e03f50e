# What type checkers read in place of __init__.py: the same names, without loading when first used.
from registry_core import *  # noqa: F403
from registry_core import __version__ as __version__
