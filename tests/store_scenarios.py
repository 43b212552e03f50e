"""What is done to a registry while it is killed or refused: each a preparation and one action.

Run as a program, it does one action to one folder and says what was acknowledged; it imports as
little as it can, because it is started for every single system call.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from store_helpers import publish, scored

from registry_core.errors import MlregError
from registry_core.refs import Ref
from registry_core.rules import PromotionRule
from registry_core.store import Store, translate_storage_errors
from registry_core.store.arrivals import check_parcel
from registry_core.store.local import drafts
from registry_core.store.rebuild import rebuild


class Scenario(NamedTuple):
    """What is there before, and what is done then; `act` returns once it is acknowledged.

    With `steps`, what was committed stands where a later step fails.
    """

    prepare: Callable[[Store], object]
    act: Callable[[Store], object]
    steps: bool = False


def _number(store: Store, number: int):
    return store.resolve(Ref("dummy", "number", str(number)), removed=True)


def _three(store: Store) -> None:
    """Three versions with a file in common, one in production, one tagged."""
    for content in (b"one", b"two", b"three"):
        publish(store, content=content, what=scored(0.5))
    store.move_alias(_number(store, 1), "production")
    store.tag(_number(store, 2), {"owner": "ann"})


def _two_removed(store: Store) -> None:
    """One of them shares both its files with a version that stays."""
    _three(store)
    publish(store, content=b"one")
    for number in (3, 4):
        store.removals.remove(_number(store, number), rollback_days=30)


def _without_index(store: Store) -> None:
    _two_removed(store)
    (store.folder / "registry.sqlite3").write_bytes(bytes(4096))


BEGAN = {"model": "dummy", "dataset": "dummy", "preset": "quick", "config": {"epochs": 3}}


def _stopped(store: Store) -> None:
    """A run that was interrupted after its first epoch."""
    _three(store)
    with suppress(KeyboardInterrupt), store.start_run("dummy") as run:
        run.begin(BEGAN)
        run.keep(lambda stream: stream.write(b"epoch 1"))
        raise KeyboardInterrupt


def _go_on(store: Store) -> None:
    """Take the run up, keep where it is once more, and make its version."""
    with store.reopen_run(store.unfinished_runs()[0].id) as run:
        run.begin(BEGAN)
        run.keep(lambda stream: stream.write(b"epoch 2"))
        file = run.files / "model.keras"
        file.write_bytes(b"trained on")
        store.publish(run, scored(0.5), {"model.keras": file}, lambda paths: None)


RULE = PromotionRule(floor={"test_accuracy": 0.75})


def _beside_another(store: Store) -> None:
    """The same, and another registry that has a version."""
    _three(store)
    publish(Store(store.folder.with_name("other")), content=b"theirs", what=scored(0.6))


def _receive(store: Store) -> None:
    """Copy the version of the other registry."""
    other = Store(store.folder.with_name("other"))
    arrival = check_parcel(other.parcel(_number(other, 1)))
    store.receive(arrival, "dummy", lambda file, version: None)


def _publish_large(store: Store) -> None:
    drafts.LARGE_BYTES = 0  # every file is a large one
    publish(store, content=b"new")


SCENARIOS = {
    "first publish": Scenario(lambda store: None, lambda store: publish(store, content=b"new")),
    "publish": Scenario(_three, lambda store: publish(store, content=b"new")),
    "publish what is there": Scenario(_three, lambda store: publish(store, content=b"two")),
    "publish a large file": Scenario(_three, _publish_large),
    "copying": Scenario(_beside_another, _receive),
    "promotion": Scenario(_three, lambda s: s.move_alias(_number(s, 2), "production", "better")),
    "refusal": Scenario(_three, lambda store: store.note("refused", "dummy", 2, "production")),
    "rule": Scenario(_three, lambda s: s.rules.change(lambda before: {"production": RULE})),
    "release": Scenario(_three, lambda store: store.release_alias("dummy", "production")),
    "tag": Scenario(_three, lambda s: s.tag(_number(s, 2), {"reviewed": ""}, ["owner"])),
    "signing": Scenario(_three, lambda s: s.signatures.add(_number(s, 2), b"signature", b"key")),
    "removal": Scenario(_three, lambda s: s.removals.remove(_number(s, 3), rollback_days=30)),
    "restoring": Scenario(
        _two_removed, lambda store: store.removals.restore(Ref("dummy", "number", "3"))
    ),
    "collection": Scenario(
        _two_removed, lambda s: s.removals.collect(older_than_days=0, keep_last=0), steps=True
    ),
    "going on": Scenario(_stopped, _go_on),
    "rebuild": Scenario(_without_index, lambda store: rebuild(store.folder), steps=True),
}


def main(name: str, folder: str) -> int:
    """Do it; stdout has `done`, or the kind of error that the person was told of."""
    try:
        with translate_storage_errors(
            Path(folder), "writing a run's files"
        ):  # as the lifecycle does
            SCENARIOS[name].act(Store(Path(folder)))
    except MlregError as error:
        os.write(1, type(error).__name__.encode())
        return error.exit_status
    os.write(1, b"done")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
