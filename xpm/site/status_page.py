"""What the page on the index itself says: who signs what until when, its fingerprint, when it changed last."""

from datetime import UTC, datetime
from typing import Any

from xpm.site.catalogue import Catalogue
from xpm_index.errors import XpmError
from xpm_index.metadata import now_utc
from xpm_index.metadata_editor import MetadataEditor


def status_document(catalogue: Catalogue, *, clone_url: str, add_index: str) -> dict[str, Any]:
    """``roles`` is empty, and ``fingerprint`` "", of an index without metadata of its own:
    the one that comes with xpm."""
    snapshot = catalogue.snapshot
    try:
        states = MetadataEditor(snapshot.repo.reader(snapshot.commit), now=now_utc()).states()
    except XpmError:
        states = []
    changed = datetime.fromtimestamp(snapshot.repo.commit_time(snapshot.commit), UTC)
    return {
        "index": snapshot.info.name,
        "id": snapshot.info.id,
        "commit": snapshot.commit,
        "changed_at": f"{changed:%Y-%m-%dT%H:%M:%SZ}",
        "clone_url": clone_url,
        "fingerprint": catalogue.fingerprint,
        "add_index": add_index,
        "names": len(catalogue.packages),
        "versions": sum(each.num_versions for each in catalogue.packages.values()),
        "publishers": len(catalogue.publishers),
        "roles": [
            {
                "name": each.name,
                "version": each.version,
                "expires": f"{each.expires:%Y-%m-%dT%H:%M:%SZ}",
                "keys": list(each.key_ids),
                "threshold": each.threshold,
            }
            for each in states
        ],
        "problems": [{"name": name, "reason": reason} for name, reason in sorted(catalogue.problems.items())],
    }
