"""Published versions told in a line each, for the resolver."""

from xpm.resolve import Problem, Resolution, resolve
from xpm_index.entries import ArchiveRef, Entry, Yanked
from xpm_index.names import spellings
from xpm_index.requirements import Requirement
from xpm_index.versions import Version, VersionRange

PUBLISHED = "2026-01-01T00:00:00Z"


def digest_of(base: str) -> str:
    """The digest of a base's version, from its label: ``tiny 1.0.0``."""
    return "sha256:" + base.encode().hex().ljust(64, "0")[:64]


class World:
    """``world.serve("a", "1.0.0", requires=["b@^1"])``; there is a base ``tiny 1.0.0`` unless bases are served."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def serve_base(self, name: str, version: str, *, variants=("fp32",), yanked=False, published=PUBLISHED) -> "World":
        archives = tuple(self._archive(name, f"{name} {version}", variant) for variant in variants)
        return self._add(name, version, "base", archives, yanked=yanked, published=published)

    def serve(
        self,
        name: str,
        version: str,
        *,
        requires=(),
        incompatible=(),
        optional=(),
        bases=("tiny 1.0.0",),
        load_order=5,
        tier="domain",
        max_chain=10,
        yanked=False,
        publisher="p",
        published=PUBLISHED,
    ) -> "World":
        return self._add(
            name,
            version,
            "expert",
            tuple(self._archive(base.split()[0], base, "") for base in bases),
            yanked=yanked,
            published=published,
            publisher=publisher,
            load_order=load_order,
            tier=tier,
            max_chain=max_chain,
            requires=tuple(map(Requirement.parse, requires)),
            optional=tuple(map(Requirement.parse, optional)),
            incompatible_with=tuple(map(Requirement.parse, incompatible)),
        )

    def candidates(self, name: str) -> list[Entry]:
        found = [entry for entry in self.entries if entry.name in spellings(name)]
        if name == "tiny" and not any(entry.kind == "base" for entry in self.entries):
            found += World().serve_base("tiny", "1.0.0").entries
        return found

    def problem(
        self, *requirements: str, base="tiny", variant="fp32", locked=(), overrides=None, asked=(), **options
    ) -> Problem:
        return Problem(
            requirements=tuple(Requirement.parse(text) for text in requirements),
            base=Requirement.parse(base),
            variant=variant,
            locked={name: Version.parse(version) for name, version in locked},
            overrides={name: VersionRange.parse(text) for name, text in (overrides or {}).items()},
            asked=tuple(asked),
            **options,
        )

    def solve(self, *requirements: str, **options) -> Resolution:
        return resolve(self.problem(*requirements, **options), self.candidates)

    def resolve(self, *requirements: str, **options) -> list[str]:
        """The chosen experts in composition order, as ``name version``."""
        return [f"{entry.name} {entry.version}" for entry in self.solve(*requirements, **options).experts]

    def _add(self, name, version, kind, archives, *, yanked, published, publisher="p", **values) -> "World":
        self.entries.append(
            Entry(
                name=name,
                version=Version.parse(version),
                kind=kind,
                description="",
                publisher=publisher,
                key_id="k",
                published_at=published,
                archives=archives,
                yanked=Yanked(reason="bad") if yanked else None,
                **values,
            )
        )
        return self

    @staticmethod
    def _archive(name: str, base: str, variant: str) -> ArchiveRef:
        digest = "sha256:" + "d" * 64
        return ArchiveRef(base=name, base_digest=digest_of(base), variant=variant, digest=digest, size=1, sources=())
