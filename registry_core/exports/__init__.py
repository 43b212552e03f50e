"""Exports: models and figures of versions as files and folders outside the registry.

`export` decides what to write, `outputs` where it may be written. TensorFlow is imported only if a
model has to be converted.
"""

from registry_core.exports.export import FORMATS, choose_format, export

__all__ = ["FORMATS", "choose_format", "export"]
