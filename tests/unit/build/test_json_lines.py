"""Records that are appended survive a kill, and are never thrown away."""

import pytest

from xpm_build.errors import DatasetError
from xpm_build.json_lines import recover


def test_what_was_torn_is_cut_off(tmp_path):
    path = tmp_path / "journal"
    assert recover(path) == []
    path.write_bytes(b'{"a": 1}\n{"b": "\xc3\xa9"}\n{"c": "ha')
    assert recover(path) == [{"a": 1}, {"b": "é"}]
    assert path.read_bytes() == b'{"a": 1}\n{"b": "\xc3\xa9"}\n'
    path.write_bytes(b'{"a"')
    assert recover(path) == []
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"no json", "is not JSON"),
        (b"5", "must be an object"),
        (b"", "is not JSON"),
        (b"\xff", "is not UTF-8"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_what_something_else_wrote_is_named_and_kept(broken, why, tmp_path):
    path = tmp_path / "journal"
    written = b'{"a": 1}\n' + broken + b'\n{"c": 3}\n{"d'
    path.write_bytes(written)
    with pytest.raises(DatasetError, match=f"journal, line 2 {why}"):
        recover(path)
    assert path.read_bytes() == written
