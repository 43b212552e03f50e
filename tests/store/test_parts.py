"""What a registry is made of, and what is said where a team's registry cannot be opened."""

from __future__ import annotations

import sys

import pytest

from registry_core.errors import StorageError
from registry_core.places import RegistryPlace
from registry_core.process import requirements
from registry_core.process.requirements import MissingLibraryError
from registry_core.registry import Registry
from registry_core.settings import Settings

# nothing listens there
INDEX, OBJECTS = "postgresql://ann:secret@127.0.0.1:1/models", "s3://models/team"


@pytest.fixture
def team(tmp_path):
    return Registry(RegistryPlace(tmp_path, "MLREG_INDEX", INDEX, OBJECTS), Settings())


def test_without_its_libraries_a_team_registry_says_what_to_install(team, monkeypatch):
    """As for every other extra."""
    monkeypatch.setattr(requirements, "is_installed", lambda module: module != "obstore")
    with pytest.raises(MissingLibraryError, match="A team's registry needs obstore") as caught:
        team.models()
    assert caught.value.command == "pip install 'mlreg[team]'"


def test_a_database_that_cannot_be_reached_is_named_without_the_password(team):
    """Status 8; nothing is made on this machine."""
    with pytest.raises(StorageError, match="Connection refused") as caught:
        team.models()
    said = f"{caught.value.what} {caught.value.remedy} {caught.value.command}"
    assert "postgresql://ann@127.0.0.1:1/models" in said
    assert "secret" not in said
    assert caught.value.exit_status == 8
    assert not [*team.folder.iterdir()]


def test_a_folder_loads_nothing_of_a_team_registry(tmp_path, monkeypatch):
    """Its parts are those of this machine, whatever is installed."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    registry = Registry(tmp_path / "registry", Settings())
    assert registry.models().models == []
    parts = registry.store.parts
    assert parts.in_folder
    assert parts.place == str(tmp_path / "registry")
