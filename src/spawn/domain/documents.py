"""The flat JSON document of each kind of aggregate: what the journal keeps and events carry.

One place knows which kinds exist and how each is written and read. A project's document is the
wire shape of its fields without version and times; other kinds are their struct's JSON.
"""

import msgspec

from spawn.domain.project import Project

KINDS: dict[str, type[msgspec.Struct]] = {"project": Project}
"""Kind of aggregate → type of its state."""
