"""Records that are appended survive a kill, and are never thrown away."""

import pytest

from xpm_build.errors import BuildError
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


@pytest.mark.parametrize("broken", [b"no json", b"5", b"", b"\xff", b"[" * 100_000])
def test_what_something_else_wrote_is_named_and_kept(broken, tmp_path):
    path = tmp_path / "journal"
    written = b'{"a": 1}\n' + broken + b'\n{"c": 3}\n{"d'
    path.write_bytes(written)
    with pytest.raises(BuildError, match=r"journal, line 2 is no JSON object"):
        recover(path)
    assert path.read_bytes() == written
