"""The same thing thousands of times: what a single try only suggests.

How many rounds of concurrent registration is MLREG_ROUNDS (10 if it is not set).
"""

from __future__ import annotations

import os
import random
import time

import pytest
from store_helpers import assert_whole, blob, publish, referenced, start_child, wait_for

from registry_core.errors import IntegrityError
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.audit import audit

pytestmark = pytest.mark.endurance

ROUNDS = int(os.environ.get("MLREG_ROUNDS", "10"))
PROCESSES = 8
EACH = 100
DAMAGES = 500
PROMOTIONS = 10_000
SEED = 20_261_123


@pytest.mark.parametrize("number", range(ROUNDS))
def test_eight_processes_register_without_gap_double_or_error(tmp_path, number):
    """8 x 100 registrations into one model: versions 1 to 800, and each child ends well."""
    folder = tmp_path / "registry"

    def register() -> None:
        store = Store(folder)
        for count in range(EACH):
            publish(store, content=f"{os.getpid()} {count}".encode())

    children = [start_child(register) for _ in range(PROCESSES)]
    assert [wait_for(child) for child in children] == [0] * PROCESSES
    store = Store(folder)
    numbers = [version.version for version in store.versions("dummy")]
    assert numbers == list(range(PROCESSES * EACH, 0, -1))
    assert_whole(store)


def test_every_damaged_file_is_found_by_verify_and_before_it_is_loaded(tmp_path):
    """500 flipped bits, cuts and emptied files: each is named, and none reaches Keras."""
    registered = Registry(tmp_path / "registry", Settings())
    store = registered.store
    for number in range(5):
        publish(store, content=random.Random(number).randbytes(4000))
    models = {version.file("model.keras").sha256: version for version in store.versions("dummy")}
    dice = random.Random(SEED)
    opened = []
    for count in range(DAMAGES):
        digest = dice.choice(sorted(referenced(store)))
        file = blob(store, digest)
        whole = file.read_bytes()
        file.chmod(0o600)
        file.write_bytes(_damaged(whole, dice))
        assert audit(store).problems, f"damage {count} to {digest[:8]} was not found"
        if digest in models:
            with pytest.raises(IntegrityError):
                opened.append(registered.load(models[digest].ref))
        file.write_bytes(whole)
    assert not opened
    assert audit(store).problems == []


def _damaged(whole: bytes, dice: random.Random) -> bytes:
    kind = dice.choice(["flip", "cut", "empty"])
    if kind == "flip":
        changed = bytearray(whole)
        changed[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        return bytes(changed)
    return whole[: dice.randrange(len(whole))] if kind == "cut" else b""


def test_an_alias_has_one_holder_at_every_instant(tmp_path):
    """10,000 promotions under two readers, each of which always sees exactly one holder."""
    store = Store(tmp_path / "registry")
    first, second = publish(store), publish(store, content=b"other")
    store.move_alias(first, "production")
    done = tmp_path / "done"

    def promote() -> None:
        try:
            for count in range(PROMOTIONS):
                store.move_alias((first, second)[count % 2], "production")
        finally:
            done.touch()

    def read() -> None:
        seen = set()
        while not done.exists():
            (model,) = store.models()
            holders = [v for v in store.versions("dummy") if "production" in v.aliases]
            assert set(model.aliases) == {"production"}
            assert len(holders) == 1
            seen.add(holders[0].version)
            time.sleep(0.001)
        assert seen == {1, 2}

    children = [start_child(promote), start_child(read), start_child(read)]
    assert [wait_for(child) for child in children] == [0, 0, 0]
    assert len(store.ledger(alias="production")) == PROMOTIONS + 1
    store.verify_ledger()
