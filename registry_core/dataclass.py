"""`dataclass`, as the standard library's, whose methods are made when the first object is.

Python compiles the methods of each dataclass when its module is imported, about 0.5 ms for a class.
A command imports a hundred of them and makes objects of a dozen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, **options):
        """Make a class a dataclass: `@dataclass` or `@dataclass(frozen=True)`, without slots.

        A class that makes its objects itself, such as an exception, is finished at once.
        """
        if cls is None:
            return lambda cls: dataclass(cls, **options)
        if cls.__new__ is not object.__new__ and not hasattr(cls.__new__, _OURS):
            return dataclasses.dataclass(cls, **options)
        unfinished = _Unfinished(cls, options)
        cls.__new__ = _maker(unfinished.finish)
        cls.__dataclass_fields__ = unfinished
        cls.__signature__ = _Signature(unfinished)
        return cls


_OURS = "_makes_a_dataclass"
# of all classes, because finishing one finishes its bases
_LOCK = RLock()


class _Unfinished:
    """Stands for a class's `__dataclass_fields__`; whoever reads them finishes the class."""

    def __init__(self, cls: type, options: dict[str, Any]) -> None:
        self._cls = cls
        self._options = options
        self._begun = False

    def __get__(self, instance: object, owner: type) -> Any:
        self.finish()
        return getattr(owner, "__dataclass_fields__")  # noqa: B009, mypy knows no such attribute

    def finish(self) -> None:
        """Make the methods, once; another thread waits until they are there."""
        with _LOCK:
            if self._begun:
                return
            before = dict(vars(self._cls))
            self._begun = True
            try:
                dataclasses.dataclass(**self._options)(self._cls)
            except BaseException:  # Ctrl-C, too: the next one begins again
                for name in vars(self._cls).keys() - before.keys():
                    delattr(self._cls, name)
                for name in before.keys() - {"__dict__", "__weakref__"}:
                    if vars(self._cls).get(name) is not before[name]:
                        setattr(self._cls, name, before[name])
                self._begun = False
                raise
            self._cls.__new__ = _maker()  # type: ignore[method-assign]


class _Signature:
    """A class's `__signature__`: that of its `__init__`, and not that of `__new__`."""

    def __init__(self, unfinished: _Unfinished) -> None:
        self._unfinished = unfinished

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is not None:  # a call of an object is another one
            raise AttributeError("__signature__")
        import inspect

        self._unfinished.finish()
        found = inspect.signature(owner.__init__)  # type: ignore[misc]
        return found.replace(
            parameters=list(found.parameters.values())[1:], return_annotation=found.empty
        )


def _maker(finish: Callable[[], None] | None = None) -> Any:
    """A `__new__` that finishes the class first. It stays: Python cannot remove one."""

    def __new__(cls: type, /, *arguments: Any, **named: Any) -> Any:  # noqa: N807
        if finish is not None:
            finish()
        return object.__new__(cls)

    setattr(__new__, _OURS, True)
    return __new__
