"""How operations go about their work: what every one of them can be told."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from xpm.environment import Environment
from xpm.progress import Progress, Silent
from xpm.project import Project

if TYPE_CHECKING:
    from xpm.indexes import Indexes

_SILENT = Silent()
INDEX_MAX_AGE = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an operation goes about its work.

    ``offline`` opens no socket, ``dry_run`` changes nothing, ``allow_stale`` believes expired indexes,
    ``prefer_oldest`` takes the lowest versions, ``exclude_newer`` ignores what was published after that time (RFC 3339,
    UTC). An index older than ``index_max_age`` is fetched before resolving; ``jobs`` archives are fetched at a time.
    """

    progress: Progress = _SILENT
    offline: bool = False
    dry_run: bool = False
    allow_stale: bool = False
    prefer_oldest: bool = False
    exclude_newer: str | None = None
    index_max_age: timedelta = INDEX_MAX_AGE
    jobs: int = 4

    def indexes(self, environment: Environment, project: Project, *, allow_stale: bool = False) -> "Indexes":
        from xpm.indexes import Indexes

        return Indexes(
            environment.home,
            project,
            progress=self.progress,
            offline=self.offline,
            allow_stale=allow_stale or self.allow_stale,
        )


DEFAULTS = Options()
