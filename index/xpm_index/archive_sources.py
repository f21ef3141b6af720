"""Where an index entry says an archive can be had: the strings of ``ArchiveRef.sources``
(docs/reference/formats/sources.md)."""

from dataclasses import dataclass

from xpm_index.urls import InvalidUrl, check_file_url, check_git_url, check_path, check_tag, check_web_url, is_local_git


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSource:
    """A file of the index itself."""

    path: str
    is_local = True

    def __str__(self) -> str:
        return f"blob:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSource:
    url: str
    is_local = False

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    url: str
    is_local = True

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    """A file at a tag of another Git repository; ``url`` is without the ``git+``."""

    url: str
    tag: str
    path: str

    @property
    def is_local(self) -> bool:
        return is_local_git(self.url)

    def __str__(self) -> str:
        return f"git+{self.url}#{self.tag}:{self.path}"


ArchiveSource = BlobSource | WebSource | FileSource | GitSource


def parse_archive_source(text: str) -> ArchiveSource:
    """Parse ``blob:<path>``, ``https://…``, ``file://…`` or ``git+<url>#<tag>:<path>``.

    Raises:
        InvalidUrl: it is none of these, or not one that is followed.
    """
    if text.startswith("blob:"):
        return BlobSource(path=check_path(text.removeprefix("blob:")))
    if text.startswith("file:"):
        check_file_url(text)
        return FileSource(url=text)
    if text.startswith("git+"):
        url, _, rest = text.removeprefix("git+").partition("#")
        tag, colon, path = rest.partition(":")
        if not colon:
            raise InvalidUrl("a Git source names no file", hint="write git+https://host/repo.git#<tag>:<path>")
        return GitSource(url=check_git_url(url), tag=check_tag(tag), path=check_path(path))
    if text.startswith(("https:", "http:")):
        return WebSource(url=check_web_url(text))
    raise InvalidUrl(f"sources of kind {text.partition(':')[0][:20]!r} are not supported")
