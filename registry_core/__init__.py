"""The host of mlreg. Its public API is what is named here; users import it from `mlreg`.

Names load when they are first used, so that importing this package costs nothing and brings in
neither pydantic nor TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry_core.config import RunConfig as RunConfig
    from registry_core.errors import AliasMovedError as AliasMovedError
    from registry_core.errors import BusyError as BusyError
    from registry_core.errors import CancelledError as CancelledError
    from registry_core.errors import DamagedIndexError as DamagedIndexError
    from registry_core.errors import DataError as DataError
    from registry_core.errors import IntegrityError as IntegrityError
    from registry_core.errors import Interrupted as Interrupted
    from registry_core.errors import MissingRoleError as MissingRoleError
    from registry_core.errors import MlregError as MlregError
    from registry_core.errors import NewerSchemaError as NewerSchemaError
    from registry_core.errors import PluginError as PluginError
    from registry_core.errors import RefusedError as RefusedError
    from registry_core.errors import RuleChangedError as RuleChangedError
    from registry_core.errors import StorageError as StorageError
    from registry_core.errors import TrainingError as TrainingError
    from registry_core.errors import UsageError as UsageError
    from registry_core.evaluation.beliefs import Prediction as Prediction
    from registry_core.evaluation.comparison import SideBySide as SideBySide
    from registry_core.executors.interface import Placement as Placement
    from registry_core.lifecycle.predict import Predictions as Predictions
    from registry_core.plugins.hookspecs import hookimpl as hookimpl
    from registry_core.process.requirements import MissingLibraryError as MissingLibraryError
    from registry_core.promotion.gates import Decision as Decision
    from registry_core.promotion.gates import PromotionRefusedError as PromotionRefusedError
    from registry_core.promotion.gates import VerdictChangedError as VerdictChangedError
    from registry_core.promotion.pairs import Check as Check
    from registry_core.promotion.promote import ApprovalNeededError as ApprovalNeededError
    from registry_core.promotion.requests import OutdatedRequestError as OutdatedRequestError
    from registry_core.records import FileRecord as FileRecord
    from registry_core.records import GarbageCollection as GarbageCollection
    from registry_core.records import LedgerRow as LedgerRow
    from registry_core.records import ModelSummary as ModelSummary
    from registry_core.records import Objection as Objection
    from registry_core.records import Origin as Origin
    from registry_core.records import Promotion as Promotion
    from registry_core.records import PromotionRequest as PromotionRequest
    from registry_core.records import Removal as Removal
    from registry_core.records import RunLog as RunLog
    from registry_core.records import UnfinishedRun as UnfinishedRun
    from registry_core.records import Version as Version
    from registry_core.refs import Ref as Ref
    from registry_core.registry import Registry as Registry
    from registry_core.registry import open_registry as open_registry
    from registry_core.reports.report import Report as Report
    from registry_core.rules import PromotionRule as PromotionRule
    from registry_core.rules import RuleChange as RuleChange
    from registry_core.rules import SetRule as SetRule
    from registry_core.sections import Axis as Axis
    from registry_core.sections import Bar as Bar
    from registry_core.sections import BarChart as BarChart
    from registry_core.sections import Block as Block
    from registry_core.sections import Code as Code
    from registry_core.sections import Facts as Facts
    from registry_core.sections import Gallery as Gallery
    from registry_core.sections import GalleryItem as GalleryItem
    from registry_core.sections import Heatmap as Heatmap
    from registry_core.sections import Histogram as Histogram
    from registry_core.sections import LineChart as LineChart
    from registry_core.sections import ParallelCoordinates as ParallelCoordinates
    from registry_core.sections import Picture as Picture
    from registry_core.sections import Scatter as Scatter
    from registry_core.sections import Section as Section
    from registry_core.sections import Series as Series
    from registry_core.sections import Table as Table
    from registry_core.sections import Text as Text
    from registry_core.settings import cache_folder as cache_folder
    from registry_core.sweeps.record import Sweep as Sweep
    from registry_core.sweeps.record import Trial as Trial
    from registry_core.tasks import Classification as Classification
    from registry_core.tasks import MultiLabel as MultiLabel
    from registry_core.tasks import Objective as Objective
    from registry_core.tasks import Other as Other
    from registry_core.tasks import Regression as Regression
    from registry_core.tasks import Segmentation as Segmentation
    from registry_core.tasks import Task as Task
    from registry_core.types import ArraySplit as ArraySplit
    from registry_core.types import Augmentation as Augmentation
    from registry_core.types import Batch as Batch
    from registry_core.types import DataCache as DataCache
    from registry_core.types import DataSplits as DataSplits
    from registry_core.types import Evaluation as Evaluation
    from registry_core.types import Examples as Examples
    from registry_core.types import History as History
    from registry_core.types import IndexedSplit as IndexedSplit
    from registry_core.types import NotRepeatable as NotRepeatable
    from registry_core.types import Observer as Observer
    from registry_core.types import Phase as Phase
    from registry_core.types import Progress as Progress
    from registry_core.types import RunResult as RunResult
    from registry_core.types import Schedule as Schedule
    from registry_core.types import Split as Split
    from registry_core.types import StreamSplit as StreamSplit
    from registry_core.types import TrainingEnd as TrainingEnd

__version__ = "0.1.0"

# public name -> the module that defines it
_MODULES = {
    "RunConfig": "config",
    "AliasMovedError": "errors",
    "BusyError": "errors",
    "CancelledError": "errors",
    "DamagedIndexError": "errors",
    "DataError": "errors",
    "IntegrityError": "errors",
    "Interrupted": "errors",
    "MissingRoleError": "errors",
    "MlregError": "errors",
    "NewerSchemaError": "errors",
    "PluginError": "errors",
    "RefusedError": "errors",
    "RuleChangedError": "errors",
    "StorageError": "errors",
    "TrainingError": "errors",
    "UsageError": "errors",
    "Prediction": "evaluation.beliefs",
    "SideBySide": "evaluation.comparison",
    "Placement": "executors.interface",
    "Predictions": "lifecycle.predict",
    "hookimpl": "plugins.hookspecs",
    "MissingLibraryError": "process.requirements",
    "Check": "promotion.pairs",
    "Decision": "promotion.gates",
    "PromotionRefusedError": "promotion.gates",
    "VerdictChangedError": "promotion.gates",
    "ApprovalNeededError": "promotion.promote",
    "OutdatedRequestError": "promotion.requests",
    "FileRecord": "records",
    "GarbageCollection": "records",
    "LedgerRow": "records",
    "ModelSummary": "records",
    "Objection": "records",
    "Origin": "records",
    "Promotion": "records",
    "PromotionRequest": "records",
    "Removal": "records",
    "RunLog": "records",
    "UnfinishedRun": "records",
    "Version": "records",
    "Ref": "refs",
    "Registry": "registry",
    "open_registry": "registry",
    "Report": "reports.report",
    "PromotionRule": "rules",
    "RuleChange": "rules",
    "SetRule": "rules",
    "Axis": "sections",
    "Bar": "sections",
    "BarChart": "sections",
    "Block": "sections",
    "Code": "sections",
    "Facts": "sections",
    "Gallery": "sections",
    "GalleryItem": "sections",
    "Heatmap": "sections",
    "Histogram": "sections",
    "LineChart": "sections",
    "ParallelCoordinates": "sections",
    "Picture": "sections",
    "Scatter": "sections",
    "Section": "sections",
    "Series": "sections",
    "Table": "sections",
    "Text": "sections",
    "cache_folder": "settings",
    "Sweep": "sweeps.record",
    "Trial": "sweeps.record",
    "Classification": "tasks",
    "MultiLabel": "tasks",
    "Objective": "tasks",
    "Other": "tasks",
    "Regression": "tasks",
    "Segmentation": "tasks",
    "Task": "tasks",
    "ArraySplit": "types",
    "Augmentation": "types",
    "Batch": "types",
    "DataCache": "types",
    "DataSplits": "types",
    "Evaluation": "types",
    "Examples": "types",
    "History": "types",
    "IndexedSplit": "types",
    "NotRepeatable": "types",
    "Observer": "types",
    "Phase": "types",
    "Progress": "types",
    "RunResult": "types",
    "Schedule": "types",
    "Split": "types",
    "StreamSplit": "types",
    "TrainingEnd": "types",
}

if not TYPE_CHECKING:  # type checkers take the imports above, and would believe a list built here
    __all__ = sorted(["__version__", *_MODULES])

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'registry_core' has no attribute {name!r}")
        return getattr(import_module(f"registry_core.{_MODULES[name]}"), name)

    def __dir__() -> list[str]:
        return __all__
