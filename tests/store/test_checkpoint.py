"""The file in which a run keeps where it is: read as it was written, or told to be damaged."""

import io
import json
import math
import random
import zipfile

import pytest
from cli_helpers import python

from registry_core.errors import IntegrityError
from registry_core.store.checkpoint import read_checkpoint, read_state, write_checkpoint

STATE = {"epoch": 3, "step": 120, "best": math.inf, "history": {"loss": [0.1 + 0.2, 1 / 3]}}
TENSORS = [bytes(range(256)), b"", memoryview(b"a view of four bytes"[:4]), b"\0" * 40]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "checkpoint.zip"
    with path.open("wb") as stream:
        write_checkpoint(stream, STATE, TENSORS)
    return path


def test_state_and_tensors_come_back_as_they_were(file):
    """Floats to the bit, infinities, empty tensors, and the order of the tensors."""
    state, tensors = read_checkpoint(file)
    assert state == {"schema": 1, **STATE}
    assert tensors == [bytes(tensor) for tensor in TENSORS]
    assert read_state(file) == state


def test_a_run_that_has_no_tensors_can_keep_its_state(tmp_path):
    """Nothing is made up in their place."""
    with (tmp_path / "checkpoint.zip").open("wb") as stream:
        write_checkpoint(stream, {"epoch": 0, "step": 0}, [])
    assert read_checkpoint(tmp_path / "checkpoint.zip")[1] == []


def test_how_far_a_run_came_is_read_without_numpy(file):
    """`mlreg runs` imports nothing heavy."""
    code = (
        "import sys; from pathlib import Path\n"
        "from registry_core.store.checkpoint import read_state\n"
        f"print(read_state(Path({str(file)!r}))['step']); assert 'numpy' not in sys.modules"
    )
    done = python("-c", code)
    assert (done.status, done.stdout) == (0, "120\n"), done.stderr


def test_a_checkpoint_cut_off_anywhere_is_told_to_be_damaged(file):
    """At each of its bytes; the way on is named."""
    content = file.read_bytes()
    for length in reversed(range(len(content))):
        file.write_bytes(content[:length])
        for read in (read_state, read_checkpoint):
            with pytest.raises(IntegrityError, match="is not a checkpoint, or is damaged") as error:
                read(file)
            assert "can start from the beginning" in error.value.remedy


def test_a_flipped_byte_is_never_a_wrong_value_nor_another_error(file):
    """A bit of each byte: what was written is read, or an IntegrityError raised."""
    content = file.read_bytes()
    whole = read_checkpoint(file)
    chance = random.Random(20_260_301)
    noticed = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << chance.randrange(8)
        file.write_bytes(flipped)
        for read, expected in ((read_checkpoint, whole), (read_state, whole[0])):
            try:
                assert read(file) == expected, f"byte {place}"
            except IntegrityError:
                noticed += 1
    assert noticed > 0.9 * len(content)  # the rest are dates and what nobody reads


@pytest.mark.parametrize(
    "text",
    [
        '{"epoch": 1, "step": 0}',
        '{"schema": 2, "epoch": 1, "step": 0}',
        '{"schema": 1, "tensors": 0, "step": 0}',
        '{"schema": 1, "tensors": 0, "epoch": "few", "step": 0}',
        '{"schema": 1, "tensors": 0, "epoch": null, "step": 0}',
        '{"schema": 1, "tensors": 1, "epoch": 1, "step": 0, "and no": "tensor"}',
        "[1, 2]",
        "3",
        "not JSON",
        "[" * 100_000,
    ],
)
def test_a_state_of_another_kind_is_refused(tmp_path, text):
    """Of another schema, without a place in the run, or none at all."""
    file = tmp_path / "checkpoint.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("state.json", text)
    with pytest.raises(IntegrityError):
        read_checkpoint(file)


def test_what_is_no_file_or_cannot_be_read_is_refused(tmp_path):
    """A folder, nothing, and a zip of other things."""
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("0", b"a tensor")
    for name in ("folder", "nothing", "other.zip"):
        with pytest.raises(IntegrityError):
            read_state(tmp_path / name)


def test_a_disk_that_is_full_is_told_as_it_is():
    """Whoever keeps the checkpoint goes by the OSError, wherever in the file it comes."""

    class Small(io.BytesIO):
        def __init__(self, room):
            super().__init__()
            self._room = room

        def write(self, content):
            if self.tell() + len(content) > self._room:
                raise OSError(28, "No space left on device")
            return super().write(content)

    whole = io.BytesIO()
    write_checkpoint(whole, STATE, TENSORS)
    for room in range(len(whole.getvalue())):
        with pytest.raises(OSError, match="No space left"):
            write_checkpoint(Small(room), STATE, TENSORS)


def test_nothing_is_compressed(file):
    """Weights do not get smaller, and a checkpoint is to cost next to nothing."""
    with zipfile.ZipFile(file) as archive:
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("state.json"))["schema"] == 1
    assert file.stat().st_size < sum(len(tensor) for tensor in TENSORS) + 1_000
