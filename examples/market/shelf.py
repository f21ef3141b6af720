"""The index: publishers with a key each, what was made signed and published, reviews by several
keys; what is there stays.

All keys lie in ``home/`` of the work folder, as a user's do. Times are those of the plan, an hour
apart, not those of the making.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from examples.market.make import EARLIER, VERSION
from examples.market.plan import REST, Planned, planned
from xpm.home import Home
from xpm.operations import maintain, review
from xpm.operations.publish import keyring, load_key, new_key, publish, set_yanked, sign
from xpm_build.evaluation.findings import ANSWERS
from xpm_build.rows import Row, read_rows
from xpm_index.archive import read_manifest
from xpm_index.entries import Yanked
from xpm_index.index_writer import IndexWriter
from xpm_index.keys import SigningKey
from xpm_index.layout import entry_path, publisher_path, review_path
from xpm_index.versions import Version

NAME = "demo"
_BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
_REVIEWERS = ("ada", "boris", "chandra", "dilek", "emeka")
_CONTACT = "a publisher of the demonstration"
_HALF = 50.0


class Shelf:
    """The index in a work folder; made if there is none."""

    def __init__(self, work: Path) -> None:
        self._home = Home(work / "home")
        self.path = work / f"{NAME}.git"
        if not self.path.is_dir():
            maintain.init_index(self._home, self.path, NAME)
        for name in (*_REVIEWERS, *sorted({each.publisher for each in planned()})):
            if not (self._home.keys / f"{name}.json").is_file():
                new_key(self._home, name)

    def put(self, planned_one: Planned, number: int, archives: Sequence[Path], folder: Path) -> None:
        """Publish an expert's versions, the oldest first, and have it reviewed, as far as that is not done.

        Args:
            number: its place in the plan.
            folder: of the expert, with a folder for each version.
        """
        self._register(planned_one.publisher)
        for archive in archives:
            self._publish(planned_one, archive, _time(number, days=len(archives) if VERSION in archive.name else 0))
        if len(archives) > 1:
            self._yank_if_weak(planned_one, folder / EARLIER)
        if planned_one.kind != REST:  # whose answers alone say nothing of it
            for place, reviewer in enumerate(_REVIEWERS):
                if (number + 2 * place) % 5 < 2:
                    self._review(
                        planned_one, place, load_key(self._home, reviewer), folder, _time(number, days=7 + place)
                    )

    def refresh(self) -> None:
        """Sign anew what would expire."""
        maintain.refresh(self._home, str(self.path))

    def _register(self, publisher: str) -> None:
        if not self._has(publisher_path(publisher)):
            key = load_key(self._home, publisher).public
            began = _time(0, days=0)
            maintain.add_publisher(self._home, str(self.path), publisher, key, contact=_CONTACT, when=began)

    def _publish(self, planned_one: Planned, archive: Path, when: str) -> None:
        version = str(read_manifest(archive).version)
        if version not in self._versions(planned_one.name):
            sign(archive, load_key(self._home, planned_one.publisher), planned_one.publisher, when=when)
            publish(self._home, str(self.path), [archive], when=when)

    def _yank_if_weak(self, planned_one: Planned, folder: Path) -> None:
        right = json.loads((folder / "manifest.json").read_text())["quality_metrics"]["benchmark_score"]
        if right < _HALF and not self._versions(planned_one.name)[EARLIER]:
            yanked = Yanked(reason=f"right on {right} % only", replacement=VERSION)
            set_yanked(self._home, str(self.path), planned_one.name, Version.parse(EARLIER), yanked)

    def _versions(self, name: str) -> dict[str, bool]:
        """Published versions → whether they are yanked."""
        data = self._read(entry_path(name)) or b""
        lines = [json.loads(line) for line in data.splitlines()]
        return {each["version"]: bool(each.get("yanked")) for each in lines}

    def _review(self, planned_one: Planned, place: int, key: SigningKey, folder: Path, when: str) -> None:
        """What a reviewer says: how many of every third case were right, which is all that a program can judge."""
        if self._has(review_path(planned_one.name, key.key_id)):
            return
        answers = list(read_rows(folder / VERSION / ANSWERS))[place % 3 :: 3]
        stars, text = _opinion(answers)
        version = Version.parse(VERSION)
        review.review(
            self._home,
            str(self.path),
            planned_one.name,
            version,
            stars=stars,
            text=text,
            key=key,
            keys=keyring(self._home),
            when=when,
        )

    def _has(self, path: str) -> bool:
        return self._read(path) is not None

    def _read(self, path: str) -> bytes | None:
        writer = IndexWriter.open(self.path)
        try:
            return writer.read(path)
        finally:
            writer.repo.close()


def _opinion(answers: Sequence[Row]) -> tuple[int, str]:
    right = sum(each["right"] for each in answers)
    text = f"Counted by a script: {right} of {len(answers)} answers that I ran were right."
    wrong = next((each for each in answers if not each["right"]), None)
    if wrong and str(wrong["answer"]).strip():
        text += f" This one was not: {str(wrong['answer']).strip()[:160]}"
    return 1 + round(4 * right / len(answers)), text


def _time(number: int, *, days: int) -> str:
    return f"{_BEGAN + timedelta(hours=number, days=days):%Y-%m-%dT%H:%M:%SZ}"
