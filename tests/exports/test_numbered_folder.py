"""SavedModel exports in the layout that TensorFlow Serving watches: a folder for each number."""

import os
import threading
from pathlib import Path

import pytest

from registry_core.errors import StorageError, UsageError
from registry_core.exports.outputs import Output


def write(around: Path, number: int = 3) -> Path:
    """Write a numbered folder with one file in it."""
    place = Output(
        around / str(number),
        folder=True,
        overwrite=True,
        command="mlreg export toy@3 --format savedmodel -o",
        fallback=Path("toy-savedmodel"),
        numbered=True,
    )
    with place.draft() as draft:
        draft.mkdir()
        (draft / "saved_model.pb").write_text(str(number))
    return place.path


def files(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def test_a_number_appears_beside_the_others(tmp_path):
    """The folder is made if it does not exist; other numbers stay; drafts are gone."""
    assert write(tmp_path / "served", 3) == tmp_path / "served" / "3"
    write(tmp_path / "served", 12)
    assert files(tmp_path) == ["served/12/saved_model.pb", "served/3/saved_model.pb"]
    assert sorted(each.name for each in (tmp_path / "served").iterdir()) == ["12", "3"]


@pytest.mark.parametrize("kind", ["full", "empty", "a file", "a dangling link"])
def test_a_number_that_exists_is_never_replaced(tmp_path, kind):
    """Not even an empty folder, and not with --overwrite."""
    there = tmp_path / "served" / "3"
    there.parent.mkdir()
    if kind == "a file":
        there.write_text("mine")
    elif kind == "a dangling link":
        there.symlink_to("nowhere")
    else:
        there.mkdir()
        if kind == "full":
            (there / "mine").touch()
    inode = os.lstat(there).st_ino
    with pytest.raises(UsageError, match="already exists") as caught:
        write(tmp_path / "served")
    assert caught.value.command.endswith("-o toy-savedmodel")
    assert os.lstat(there).st_ino == inode


@pytest.mark.parametrize("name", ["saved_model.pb", "plugins.toml", "3a", "v3"])
def test_a_folder_with_other_things_is_refused(tmp_path, name):
    """A project's folder, or a SavedModel without a number, is not what a server watches."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / name).touch()
    with pytest.raises(UsageError, match="other things than numbered versions") as caught:
        write(tmp_path / "served")
    assert repr(name) in caught.value.what
    assert files(tmp_path) == [f"served/{name}"]


def test_hidden_files_do_not_disturb(tmp_path):
    """Such as the drafts of another export at this moment."""
    (tmp_path / "served" / ".mlreg-abc").mkdir(parents=True)
    write(tmp_path / "served")
    assert files(tmp_path) == ["served/3/saved_model.pb"]


@pytest.mark.parametrize("make", ["a file", "a pipe", "a dangling link", "a missing parent"])
def test_a_path_that_is_no_folder_is_refused(tmp_path, make):
    path = tmp_path / "served"
    if make == "a file":
        path.write_text("mine")
    elif make == "a pipe":
        os.mkfifo(path)
    elif make == "a dangling link":
        path.symlink_to("nowhere")
    else:
        path = path / "deeper"
    with pytest.raises(UsageError, match=r"is not a folder|does not exist"):
        write(path)
    assert len(list(tmp_path.iterdir())) == (make != "a missing parent")


def test_a_link_to_a_folder_is_followed(tmp_path):
    """Servers are often pointed to one."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "served").symlink_to("disk")
    write(tmp_path / "served")
    assert (tmp_path / "disk" / "3" / "saved_model.pb").read_text() == "3"


def test_of_several_writers_one_gets_the_number(tmp_path):
    """Also where none of them finds the folder."""
    barrier, ends = threading.Barrier(6), []

    def contend() -> None:
        place = Output(tmp_path / "served" / "3", True, False, "", Path("x"), numbered=True)
        try:
            with place.draft() as draft:
                draft.mkdir()
                (draft / "part").touch()
                barrier.wait()
        except UsageError:
            ends.append("refused")
        else:
            ends.append("written")

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["refused"] * 5 + ["written"]
    assert files(tmp_path) == ["served/3/part"]
    assert [each.name for each in tmp_path.iterdir()] == ["served"]


def test_a_failure_leaves_neither_the_number_nor_a_new_folder(tmp_path):
    place = Output(tmp_path / "served" / "3", True, False, "", Path("x"), numbered=True)
    with pytest.raises(StorageError, match="full"), place.draft() as draft:
        draft.mkdir()
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
