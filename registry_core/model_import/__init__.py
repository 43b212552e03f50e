"""What a model file from elsewhere may ask of this machine, and how that is found out.

A file of a kilobyte can describe a model of terabytes, or of hours. So it is opened in a process
of its own first, which has limits of memory and time, no network, and dies with this one.
`examination` is this side of it, `child` the other; `confinement` is what a process does to itself.
"""

from registry_core.model_import.confinement import bounded_memory
from registry_core.model_import.examination import Examiner
from registry_core.model_import.limits import Limits

__all__ = ["Examiner", "Limits", "bounded_memory"]
