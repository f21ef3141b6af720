"""A world in the shape of a large framework's: packages released together that pin each other, and plugins around them.

``frame`` has hundreds of versions, and each needs exactly the same version of its seven parts. Plugins have fewer
versions, bound to ranges of the parts. One package that everybody may come by was cut up so often that its newest
version is for an old part.
"""

import random

from tests.support.world import World

PARTS = ("support", "model", "record", "view", "pack", "mailer", "ties")


def versions(majors: int, minors: int, patches: int) -> list[str]:
    return [f"{a}.{b}.{c}" for a in range(1, majors + 1) for b in range(minors) for c in range(patches)]


def framework(*, majors: int = 7, minors: int = 5, patches: int = 10, num_plugins: int = 40, seed: int = 1) -> World:
    """A world with ``frame`` and its parts, and plugins ``plugin-0`` … of which each needs
    parts, tools and other plugins."""
    choose, world = random.Random(seed), World()
    for version in versions(majors, minors, patches):
        for number, part in enumerate(PARTS):
            needed = [f"{PARTS[other]}@={version}" for other in range(max(0, number - 2), number)]
            world.serve(part, version, requires=[*needed, "tool-0@*"])
        world.serve("frame", version, requires=[f"{part}@={version}" for part in PARTS])
    for number in range(10):
        for version in versions(3, 4, 3):
            world.serve(f"tool-{number}", version, requires=[f"tool-{number + 1}@^{version[0]}"] if number < 9 else [])
    for number in range(num_plugins):
        earlier = [f"plugin-{other}@*" for other in choose.sample(range(number), min(number, 2))]
        for version in versions(4, 3, 3):
            part, low = choose.choice(PARTS), int(version[0])
            high = majors if low == 4 else low + 3
            requires = [f"{part}@>={low}.0,<{high}.{choose.randrange(1, minors)}", f"tool-{choose.randrange(10)}@>=1"]
            world.serve(f"plugin-{number}", version, requires=[*requires, *earlier])
    # what everybody comes by at last: its newest version is for the oldest framework
    for version in versions(2, 3, 3):
        world.serve("compat", version, requires=["support@>=2.0"] if version < "2.2" else ["support@~2.3.2"])
    return world
