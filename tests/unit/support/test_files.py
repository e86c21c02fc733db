from __future__ import annotations

import pytest
from twinlens.support.files import replacing


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
