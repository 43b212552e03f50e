"""Searches over settings: which values are tried, what became of them, and which is the best.

A trial is a run that stops after its last epoch and is measured on the validation split alone.
Nothing here knows how a run trains, nor where it does.
"""
