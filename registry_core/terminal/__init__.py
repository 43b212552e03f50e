"""What a person sees: tables and results on stdout; progress, warnings and errors on stderr.

The host's only Rich. A module of it is imported by the command that shows something with it.
"""
