from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from twinlens.errors import ArgumentError, OutputError, TwinlensError
from twinlens.pages.page import to_html
from twinlens.support.files import check_file, checked_path, replacing
from twinlens.traces import recording

from tests.support.made_up import MadeUpTrace


def test_a_file_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "page.html"
    with replacing(target) as stream:
        stream.write(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_alone(tmp_path, error):
    target = tmp_path / "page.html"
    target.write_bytes(b"old")

    def stop_halfway():
        with replacing(target) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        stop_halfway()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_sentence(tmp_path):
    target = tmp_path / "page.html"
    target.write_bytes(b"old")

    def fill():
        with replacing(target):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"page\.html could not be written: No space left"):
        fill()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_goes_with_the_next_save(tmp_path):
    target = tmp_path / "page.html"
    script = f"""
        import os, pathlib, signal
        from twinlens.support.files import replacing
        with replacing(pathlib.Path({str(target)!r})) as stream:
            stream.write(b"half")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1
    with replacing(target) as outer:
        # Another save of the same file leaves the one that is being written alone.
        with replacing(target) as inner:
            inner.write(b"inner")
        outer.write(b"outer")
    assert target.read_bytes() == b"outer"
    assert list(tmp_path.iterdir()) == [target]


class Unread(MadeUpTrace):
    """Fails where anything is computed."""

    def block(self, key, report=None):
        raise AssertionError("computed before the path was checked")


@pytest.mark.parametrize("write", [to_html, recording.write])
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere/a.html", r"there is no folder .*nowhere to write a\.html into"),
        ("", r"is a folder: name the file to write"),
        (".", r"is a folder: name the file to write"),
        (3, "is given by its path, not by 3"),
        ("pipe", "pipe is a device or a pipe: name a file to write"),
        ("/proc/a.html", r"/proc/a\.html could not be written: |there is no folder /proc"),
    ],
)
def test_a_bad_target_is_refused_before_anything_is_computed(
    tmp_path, monkeypatch, write, path, says
):
    monkeypatch.chdir(tmp_path)
    if path == "pipe":
        os.mkfifo(path)
    with pytest.raises(TwinlensError, match=says):
        write(Unread(), path)
    assert [left.name for left in tmp_path.iterdir()] == ["pipe"] * (path == "pipe")


def test_a_path_in_a_folder_that_is_gone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ArgumentError, match=r"the page to write 'x\.html' would lie in the folder"):
        checked_path("x.html", "the page to write")
    with pytest.raises(OutputError, match="which is gone: give an absolute path"):
        check_file(Path("x.html"))
    assert checked_path(tmp_path / "x.html", "the page to write") == tmp_path / "x.html"
