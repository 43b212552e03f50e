"""Telling commands and web addresses what happened to aliases, from an outbox in the index."""
