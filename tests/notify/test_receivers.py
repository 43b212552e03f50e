"""The sections [notify.NAME] of plugins.toml."""

from __future__ import annotations

import pytest

from registry_core.errors import UsageError
from registry_core.settings import read_settings


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            'url = "http://example.org/"',
            "line 2, column 1: 'url' must begin with https://; http is",
        ),
        ('url = "https://me:secret@example.org/"', "has a name or password"),
        ('url = "ftp://example.org/"', "must begin with https://"),
        ('url = "https://example.org/ä"', "must be written as %XX"),
        ('command = "notify team"', "must be a list of a program"),
        ("command = []", "must be a list of a program"),
        ('url = "https://a/"\ncommand = ["b"]', "must have one of 'command', 'url' and 'url_env'"),
        ("retries = 3", "must have one of"),
        (
            'url = "https://a/"\nevents = ["trained"]',
            "line 3, column 1: 'events' must be a list of",
        ),
        ('url = "https://a/"\nsecret = "x"', "'secret' is not a known key"),
        ('url = "https://a/"\nsecret_env = "a b"', "must be the name of an environment variable"),
        ('url = "https://a/"\nretries = -1', "must be a whole number, 0 to 100"),
        ('url = "https://a/"\ntimeout = inf', "must be a number of seconds"),
        ('command = ["a"]\nsecret_env = "A"', "signs nothing that a command gets"),
    ],
)
def test_a_section_that_cannot_be_meant_is_an_error_with_its_place(tmp_path, lines, problem):
    file = tmp_path / "plugins.toml"
    file.write_text(f"[notify.ci]\n{lines}\n")
    with pytest.raises(UsageError) as caught:
        read_settings(file)
    assert problem in caught.value.what
    assert str(file) in caught.value.what


def test_http_is_for_this_machine_alone(tmp_path):
    file = tmp_path / "plugins.toml"
    for host in ("127.0.0.1:8080", "localhost", "[::1]:99", "127.8.8.8"):
        file.write_text(f'[notify.ci]\nurl = "http://{host}/"\n')
        assert read_settings(file).receivers[0].url == f"http://{host}/"
    for host in ("10.0.0.1", "localhost.example.org", "0.0.0.0"):
        file.write_text(f'[notify.ci]\nurl = "http://{host}/"\n')
        with pytest.raises(UsageError):
            read_settings(file)
