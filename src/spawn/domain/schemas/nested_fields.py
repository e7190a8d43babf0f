"""Readers of the nested fields of a body: those of a project are objects and lists."""

from collections.abc import Mapping
from typing import Final

from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.projects.codes import CODE_FIELDS
from spawn.domain.projects.milestones import (
    MAX_EVIDENCE_LENGTH,
    MAX_ID_LENGTH,
    MAX_MILESTONES,
    MAX_TITLE_LENGTH,
    Milestone,
)
from spawn.domain.projects.parties import MAX_NAME, MAX_REGISTRATION, MAX_SPONSORS, Sponsor, Spv
from spawn.domain.projects.project import MAX_KEY, MAX_REF_ID, PROJECT_KIND, ExternalRef
from spawn.domain.schema_version import ColumnType, TypeName
from spawn.domain.schemas.value_readers import code_reader, decimal_reader
from spawn.domain.struct_reader import (
    TokenReader,
    compile_reader,
    line_reader,
    prose_reader,
    series_reader,
)

SHARE_TYPE = ColumnType(TypeName.DECIMAL, precision=11, scale=8)
"""Type of a sponsor's share: a percentage with eight decimals."""


_NAME = line_reader(MAX_NAME)
_read_sponsor = compile_reader(
    Sponsor,
    {"name": _NAME, "share": decimal_reader(SHARE_TYPE, accept_text=True)},
    null_is_absent=True,
)
_read_milestone = compile_reader(
    Milestone,
    {
        "milestone_id": line_reader(MAX_ID_LENGTH),
        "title": line_reader(MAX_TITLE_LENGTH),
        "evidence": prose_reader(MAX_EVIDENCE_LENGTH),
    },
    null_is_absent=True,
)

_PROJECT_READERS: Final[Mapping[str, TokenReader]] = {
    "spv": compile_reader(
        Spv,
        {
            "name": _NAME,
            "registration_number": line_reader(MAX_REGISTRATION),
            "country_code": code_reader(CODE_FIELDS["country_code"]),
        },
        null_is_absent=True,
    ),
    "sponsors": series_reader(_read_sponsor, MAX_SPONSORS),
    "milestones": series_reader(_read_milestone, MAX_MILESTONES),
    "external_ref": compile_reader(
        ExternalRef,
        {"source": line_reader(MAX_KEY), "id": line_reader(MAX_REF_ID)},
        null_is_absent=True,
    ),
}
"""Readers by field; text is trimmed, countries become alpha-3, and null counts as absent."""

NESTED_READERS: Final[dict[str, Mapping[str, TokenReader]]] = {
    PROJECT_KIND: _PROJECT_READERS,
    # The terms of a facility are read whole, by the reader of its term sheet.
    FACILITY_KIND: {},
}
"""Readers of nested fields by governed kind."""
