"""The rules that a plugin is checked by: `mlreg plugins check`, and pytest tests of the same.

A rule is one object with a stable id. It works with the host's own code, in a child process with a
home of its own, because a plugin may print, write, or end the process.
"""
