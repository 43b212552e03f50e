"""Versions travel: between two registries, and through an archive file.

A copy keeps the digest of its manifest, gets the next number where it arrives, and says where it
was registered first. Nothing that arrives is trusted: see `store.arrivals`, and `examination` for
the file of the model.
"""
