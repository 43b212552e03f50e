"""The dataclasses of the host are those of the standard library, finished when they are used."""

import dataclasses
import inspect
import pickle
import sys
import threading
from dataclasses import field

import pytest

from registry_core.dataclass import dataclass


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 2
    labels: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Point3(Point):
    z: int = 3


@dataclasses.dataclass(frozen=True)
class Named(Point3):
    name: str = ""


@dataclass
class Counter:
    count: int = 0

    def __post_init__(self):
        self.count += 1


def is_finished(cls):
    return "__init__" in vars(cls)


def make():
    """A dataclass that nothing has used."""

    @dataclass(frozen=True)
    class Fresh:
        x: int
        y: int = 2

    return Fresh


def test_objects_are_those_of_a_plain_dataclass():
    plain = dataclasses.make_dataclass("Point", [("x", int), ("y", int, 2)], frozen=True)
    ours, theirs = make()(1, y=4), plain(1, y=4)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert repr(ours).endswith("Fresh(x=1, y=4)")
    assert ours == type(ours)(1, 4) and hash(ours) == hash(theirs)
    assert dataclasses.replace(ours, y=2) == type(ours)(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ours.x = 5
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        type(ours)()
    assert Counter(4).count == 5


def test_a_class_is_finished_by_its_first_object_and_not_before():
    cls = make()
    assert not is_finished(cls)
    cls(1)
    assert is_finished(cls)


@pytest.mark.parametrize(
    "ask",
    [
        dataclasses.fields,
        dataclasses.is_dataclass,
        inspect.signature,
        lambda cls: type("Subclass", (cls,), {})(1),
        lambda cls: dataclasses.dataclass(frozen=True)(type("Subclass", (cls,), {})),
    ],
)
def test_whoever_asks_about_a_class_finishes_it(ask):
    cls = make()
    assert ask(cls)
    assert is_finished(cls)
    assert str(inspect.signature(cls)) == "(x: int, y: int = 2)"


def test_subclasses_have_the_fields_of_their_bases():
    named = Named(1, name="n")
    assert [each.name for each in dataclasses.fields(named)] == ["x", "y", "labels", "z", "name"]
    assert (named.y, named.labels, named.z) == (2, [], 3)


def test_an_object_that_arrives_from_another_process_is_complete():
    """Unpickling calls no `__init__`."""
    cls = make()
    cls.__qualname__ = cls.__name__ = "Arrived"
    sys.modules[__name__].Arrived = cls
    arrived = pickle.loads(
        b"\x80\x04c" + __name__.encode() + b"\nArrived\n)\x81}(\x8c\x01xK\x01\x8c\x01yK\x02ub."
    )
    assert arrived == cls(1)
    assert repr(arrived) == "Arrived(x=1, y=2)"


def test_threads_may_make_the_first_object_at_once():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            cls, made = make(), []
            start = threading.Barrier(4)

            def work(cls=cls, made=made, start=start):
                start.wait()
                made.append(cls(1))

            threads = [threading.Thread(target=work) for _ in range(4)]
            [each.start() for each in threads]
            [each.join() for each in threads]
            assert made == [cls(1)] * 4
    finally:
        sys.setswitchinterval(interval)


def test_a_class_whose_finishing_was_interrupted_is_finished_by_the_next_object(monkeypatch):
    cls = make()
    plain = dataclasses.dataclass

    def interrupted(**options):
        def finish(given):
            plain(**options)(given)
            raise KeyboardInterrupt

        return finish

    monkeypatch.setattr(dataclasses, "dataclass", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cls(1)
    assert not is_finished(cls)
    monkeypatch.undo()
    assert cls(1) == cls(1, 2)


def test_an_exception_is_finished_at_once():
    @dataclass
    class OwnError(Exception):
        reason: str

    assert is_finished(OwnError)
    assert OwnError("full").reason == "full"
