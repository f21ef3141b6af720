"""Laws of archives."""

import tempfile
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.archives import pack
from xpm_index.archive import MANIFEST, ordered, read_files, write_archive
from xpm_index.errors import ArchiveError, PackagingError

PARTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=8)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
CONTENTS = st.binary(max_size=40) | st.integers(0, 1100).map(bytes)


@given(st.dictionaries(NAMES, CONTENTS, max_size=5), CONTENTS)
@settings(max_examples=60, deadline=None)
def test_what_the_writer_accepts_the_reader_returns(files, manifest):
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder) / "p.expert", Path(folder) / "again.expert"
        everything = {**files, MANIFEST: manifest}
        try:
            write_archive(path, everything)
        except PackagingError:
            assume(False)
        found = read_files(path)
        assert found == everything
        assert list(found) == ordered(everything)
        write_archive(again, dict(reversed(found.items())))
        assert again.read_bytes() == path.read_bytes()


@given(st.binary(max_size=3000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_or_refused(data, packed):
    """Nothing but an ArchiveError ever escapes, whatever the frame holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.expert"
        path.write_bytes(pack(data + bytes(-len(data) % 512 + 1024)) if packed else data)
        try:
            files = read_files(path)
        except ArchiveError:
            return
        assert files == {}
        assert packed
        assert not any(data)
