"""Fit, evaluate, save, load: the host's only TensorFlow. Importing this package loads it.

Knows Keras models and tf.data, and neither plugins nor the registry.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from registry_core.process import keras_environment as backend
from registry_core.process.requirements import require_keras

require_keras()
backend.prepare()
backend.check()


@contextmanager
def _native_logs_only_on_failure() -> Iterator[None]:
    """Keep what TensorFlow's C++ writes while it loads; show it if loading fails.

    It logs before it reads TF_CPP_MIN_LOG_LEVEL (TensorFlow 2.21), straight to descriptor 2.
    """
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception:
            log.seek(0)
            os.write(kept, log.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


with _native_logs_only_on_failure():
    from registry_core.training.compatibility import KerasBackend
    from registry_core.training.exporting import export_model
    from registry_core.training.models import check_saved, load_model, save_model
    from registry_core.training.trainer import KerasTrainer

__all__ = [
    "KerasBackend",
    "KerasTrainer",
    "check_saved",
    "export_model",
    "load_model",
    "save_model",
]
