"""The archive from mirrors that break off, lie, stall and crawl, over real sockets."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from cifar_data_helpers import (
    CLOSED_PORT,
    QUICK,
    Behaviour,
    Told,
    altered,
    crawls,
    cut_off,
    endless,
    honest,
    longer,
    mirror,
    not_found,
    redirects_to,
    refuses_ranges,
    silent,
    small_archive,
    small_expected,
    stalls,
    without_ranges,
    wrong_range,
)

from cifar_plugin.data.download import ArchiveDownload
from cifar_plugin.data.errors import SlowSourceError, SourceError
from registry_core.errors import StorageError

pytestmark = pytest.mark.processes

SIZE = len(small_archive())


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def download(tmp_path: Path, told: Told) -> ArchiveDownload:
    return ArchiveDownload(tmp_path / "archive.part", small_expected(), QUICK, told)


def test_downloads_the_archive_and_reports_progress(download: ArchiveDownload, told: Told) -> None:
    """A good mirror gets one request, and the last step is the full size."""
    with mirror(honest) as server:
        assert download.fetch(server.url).read_bytes() == small_archive()
    assert server.ranges == [None]
    assert told.steps[-1] == ("cifar-10-python.tar.gz", SIZE, SIZE)


def test_continues_where_an_earlier_run_stopped(download: ArchiveDownload) -> None:
    """Only the missing bytes are requested."""
    download.part.write_bytes(small_archive()[:100_000])
    with mirror(honest) as server:
        assert download.fetch(server.url).read_bytes() == small_archive()
    assert server.ranges == ["bytes=100000-"]
    assert server.sent == SIZE - 100_000


@pytest.mark.parametrize("reset", [False, True])
def test_requests_the_rest_from_the_same_mirror(download: ArchiveDownload, reset: bool) -> None:
    """A connection that breaks off is resumed with a range request."""
    with mirror(cut_off(150_000, reset=reset, times=1)) as server:
        assert download.fetch(server.url).read_bytes() == small_archive()
    assert len(server.ranges) == 2
    assert server.ranges[1] is not None


def test_another_mirror_continues_a_download(download: ArchiveDownload) -> None:
    """The partial file of a mirror that stopped is kept for the next one."""
    with mirror(cut_off(50_000)) as broken, pytest.raises(SourceError, match="broke off after"):
        download.fetch(broken.url)
    assert len(broken.ranges) == QUICK.attempts
    held = download.part.stat().st_size
    with mirror(honest) as server:
        assert download.fetch(server.url).read_bytes() == small_archive()
    assert server.ranges == [f"bytes={held}-"]


@pytest.mark.parametrize("behaviour", [without_ranges, wrong_range, refuses_ranges])
def test_a_mirror_without_ranges_completes_a_partial_file(
    download: ArchiveDownload, behaviour: Behaviour
) -> None:
    """Also a mirror that sends everything, another range or a refusal."""
    download.part.write_bytes(small_archive()[:100_000])
    with mirror(behaviour) as server:
        assert download.fetch(server.url).read_bytes() == small_archive()


def test_a_complete_partial_file_needs_no_connection(download: ArchiveDownload) -> None:
    """A file that was complete when the disk filled up is used."""
    download.part.write_bytes(small_archive())
    assert download.fetch(CLOSED_PORT).read_bytes() == small_archive()


@pytest.mark.parametrize("part", [bytes(SIZE), bytes(SIZE + 5), bytes(1000)])
def test_a_wrong_partial_file_is_downloaded_again(download: ArchiveDownload, part: bytes) -> None:
    """Bytes that are not the archive's are deleted; the mirror is not at fault."""
    download.part.write_bytes(part)
    with mirror(honest) as server:
        assert download.fetch(server.url).read_bytes() == small_archive()


def test_altered_bytes_are_deleted(download: ArchiveDownload) -> None:
    """With one wrong bit, the message has both digests and no file remains."""
    with (
        mirror(altered) as server,
        pytest.raises(SourceError, match=small_expected().archive_sha256),
    ):
        download.fetch(server.url)
    assert server.ranges == [None]
    assert not download.part.exists()


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (not_found, "HTTP status 404"),
        (longer, f"its file has {SIZE + 1} bytes, expected {SIZE}"),
        (endless, "has sha256"),
        (stalls(), "stalled"),
        (redirects_to("ftp://127.0.0.1/x"), "not https"),
        (redirects_to("/cifar-10-python.tar.gz"), "HTTP status 302"),
    ],
)
def test_a_failed_mirror_has_a_reason(
    download: ArchiveDownload, behaviour: Behaviour, reason: str
) -> None:
    """Each failure is a SourceError with a reason to show."""
    with mirror(behaviour) as server, pytest.raises(SourceError, match=reason):
        download.fetch(server.url)


def test_never_reads_more_than_the_archives_size(download: ArchiveDownload) -> None:
    """An endless body is cut at the archive's size."""
    with mirror(endless) as server, pytest.raises(SourceError):
        download.fetch(server.url)
    assert max(done for _, done, _ in download._progress.steps) == SIZE


def test_follows_a_redirect_to_the_archive(download: ArchiveDownload) -> None:
    """Mirrors move; one step is followed, and the range with it."""
    download.part.write_bytes(small_archive()[:1000])
    with mirror(honest) as server, mirror(redirects_to(server.url)) as moved:
        assert download.fetch(moved.url).read_bytes() == small_archive()
    assert server.ranges == ["bytes=1000-"]


def test_https_is_never_left_for_http() -> None:
    """A redirect from https to http is refused before the request is sent."""
    from email.message import Message
    from io import BytesIO
    from urllib.request import Request

    from cifar_plugin.data.download import _SafeRedirects

    request = Request("https://mirror.example/archive")
    with pytest.raises(SourceError, match="not https"):
        _SafeRedirects().redirect_request(
            request, BytesIO(), 302, "Found", Message(), "http://mirror.example/archive"
        )


def test_a_mirror_below_the_speed_floor_is_skipped(download: ArchiveDownload) -> None:
    """The speed is measured and shown, and the partial file is kept."""
    with mirror(crawls()) as server, pytest.raises(SlowSourceError, match=r"too slow: \d+ kB/s"):
        download.fetch(server.url)
    assert 10_000 < download.part.stat().st_size < SIZE


@pytest.mark.gate
def test_a_slow_mirror_completes_without_a_speed_floor(download: ArchiveDownload) -> None:
    """Without the floor the same mirror finishes the file."""
    with mirror(crawls()) as server:
        assert download.fetch(server.url, at_any_speed=True).read_bytes() == small_archive()


def test_a_closed_port_fails_at_once(download: ArchiveDownload) -> None:
    """Without a retry or a wait."""
    started = time.monotonic()
    with pytest.raises(SourceError, match="refused"):
        download.fetch(CLOSED_PORT)
    assert time.monotonic() - started < 4


def test_a_mirror_without_response_takes_one_timeout(tmp_path: Path, told: Told) -> None:
    """The timeout covers name lookup, connection and headers together."""
    limits = type(QUICK)(connect_seconds=0.2, stall_seconds=5)
    started = time.monotonic()
    with mirror(silent) as server, pytest.raises(SourceError, match=r"no response within 0\.2 s"):
        ArchiveDownload(tmp_path / "part", small_expected(), limits, told).fetch(server.url)
    assert time.monotonic() - started < 4


def test_the_timeout_covers_name_resolution(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that hangs has the same timeout."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1))
    limits = type(QUICK)(connect_seconds=0.2)
    with pytest.raises(SourceError, match="no response"):
        ArchiveDownload(tmp_path / "part", small_expected(), limits, told).fetch(
            "http://mirror.invalid/"
        )


def test_a_proxy_of_the_environment_is_used(
    download: ArchiveDownload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request goes to the proxy, which knows the mirror."""
    with mirror(honest) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert download.fetch("http://mirror.invalid/archive").read_bytes() == small_archive()


def test_a_full_disk_is_a_storage_error(tmp_path: Path, told: Told) -> None:
    """Not a SourceError; it names the needed space."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    part = tmp_path / "part"
    part.symlink_to(full)
    with mirror(honest) as server, pytest.raises(StorageError, match=f"{SIZE:,} bytes needed"):
        ArchiveDownload(part, small_expected(), QUICK, told).fetch(server.url)
