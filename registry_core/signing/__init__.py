"""Signatures of versions, in the OpenSSF model-signing format."""
