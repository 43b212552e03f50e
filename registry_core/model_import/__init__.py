"""Import of model files that were made elsewhere and may be hostile.

A file of a kilobyte can describe a model that needs terabytes of memory or hours of time. So a
separate process opens it first, with limits on memory and time and without network. `examiner`
starts that process, `examiner_process` runs in it, `sandbox` is how it restricts itself, and
`model_file` checks the content of the file.
"""

from registry_core.model_import.examiner import Examiner
from registry_core.model_import.limits import Limits
from registry_core.model_import.sandbox import bounded_memory

__all__ = ["Examiner", "Limits", "bounded_memory"]
