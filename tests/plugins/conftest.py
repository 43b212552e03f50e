"""Fixtures for tests of plugins."""

import pytest
from fakes import write_plugin, write_settings


@pytest.fixture
def project(tmp_path):
    """Writes a project with this plugin, and returns its folder."""

    def write(text: str):
        write_plugin(tmp_path, "flowers_plugin", text)
        write_settings(tmp_path, {"flowers": "flowers_plugin"}, registry="registry")
        return tmp_path

    return write
