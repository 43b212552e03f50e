"""The Keras backend: fit, evaluate, save, load. Importing this package imports TensorFlow.

No other package of the host imports TensorFlow. Knows Keras models and tf.data, but neither plugins
nor the registry.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from registry_core.process import keras_environment as backend
from registry_core.process.garbage import collect_as_before, while_importing
from registry_core.process.late_import import imported_when_used
from registry_core.process.requirements import require_keras

require_keras()
backend.prepare()
backend.check()


@contextmanager
def _native_logs_only_on_failure() -> Iterator[None]:
    """Hide what TensorFlow's C++ code logs while it loads; show it if loading fails.

    It logs to descriptor 2 before it reads TF_CPP_MIN_LOG_LEVEL (TensorFlow 2.21).
    """
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception:
            log.seek(0)
            os.write(stderr, log.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


with (
    _native_logs_only_on_failure(),
    while_importing(),
    # Keras imports it for one function, which draws
    imported_when_used("matplotlib.pyplot"),
):
    from registry_core.training.imported_models import KerasBackend
    from registry_core.training.model_export import export_model
    from registry_core.training.model_files import check_saved, load_model, save_model
    from registry_core.training.pipeline import first_inputs, spread_inputs
    from registry_core.training.quantized import evaluate_exported
    from registry_core.training.trainer import KerasTrainer

collect_as_before()

__all__ = [
    "KerasBackend",
    "KerasTrainer",
    "check_saved",
    "evaluate_exported",
    "export_model",
    "first_inputs",
    "load_model",
    "save_model",
    "spread_inputs",
]
