"""Exports: models and figures of versions as files and folders outside the registry.

`export` decides what to write, `formats` which formats there are, `outputs` where it may be
written. TensorFlow is imported only if a model has to be converted.
"""

from registry_core.exports.export import Export, ExportData, ExportRequest, export
from registry_core.exports.formats import FORMATS, choose_format

__all__ = ["FORMATS", "Export", "ExportData", "ExportRequest", "choose_format", "export"]
