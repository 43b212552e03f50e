"""Tables and results on stdout; progress, warnings and errors on stderr.

The only room that imports Rich. A command imports one of its modules when it shows something.
"""
