"""A static host of an index's sparse form, as `xpm market build` writes it."""

from tests.support.web_server import Page, WebServer
from xpm.operations.market import read_snapshot
from xpm.project import IndexSource
from xpm.site.sparse import sparse_files
from xpm_index.digests import sha256_bytes
from xpm_index.git import BareRepo


def publish(web: WebServer, repo: BareRepo) -> IndexSource:
    """Let the host have the present state of an index and nothing else; where that is, without a root to trust."""
    files = {f"/{path}": read() for path, _, read in sparse_files(read_snapshot(repo))}
    web.pages.clear()
    web.pages |= {path: Page(data, etag=f'"{sha256_bytes(data)[7:23]}"') for path, data in files.items()}
    return IndexSource(url=f"sparse+{web.url}/sparse/")
