"""What leaves the registry: versions written as files and folders for use elsewhere.

`outputs` decides where something may be written and puts it there; `export` decides what is
written. Nothing here imports TensorFlow unless a model has to be converted.
"""

from registry_core.exports.export import FORMATS, choose_format, export

__all__ = ["FORMATS", "choose_format", "export"]
