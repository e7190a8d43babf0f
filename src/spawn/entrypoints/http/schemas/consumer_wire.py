"""Wire structs of the registered consumers of schema versions."""

from datetime import date
from typing import Annotated, Final, Self

from msgspec import Meta

from spawn.application.schemas.consumers import AffectedConsumer
from spawn.application.web_addresses import parse_contact
from spawn.domain.json_tokens import Token
from spawn.domain.schema_version import MAX_VERSION
from spawn.domain.schemas.evolution.schema_consumer import SchemaConsumer, VersionSunset
from spawn.domain.struct_reader import compile_reader, text_reader
from spawn.entrypoints.http.wire import Count, Day, WireStruct

_Contact = Annotated[
    str,
    Meta(
        description="A `mailto:` address or a URL that reaches the people behind the consumer.",
        examples=["mailto:reporting@bank.example"],
    ),
]


class ConsumerRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A consumer as a client registers it, with the adopted version that it reads.

    Without a `schema_id` the version is one of the schema of projects.
    """

    contact: _Contact
    schema_version: Annotated[int, Meta(ge=0, le=MAX_VERSION)]
    schema_id: str | None = None


_read_request: Final = compile_reader(ConsumerRequestView, {"contact": text_reader(parse_contact)})


def read_consumer_request(token: Token) -> ConsumerRequestView:
    """Read the request of a consumer.

    Raises:
        InvalidInput: the token is not one.
    """
    view: ConsumerRequestView = _read_request(token, "")
    return view


class SunsetView(WireStruct, frozen=True, kw_only=True):
    """The first Sunset among the columns of a schema version."""

    column: Annotated[str, Meta(description="Name of the column in that version.")]
    sunset_on: Annotated[Day, Meta(description="First day on which the column may be gone.")]


class ConsumerView(WireStruct, frozen=True, kw_only=True):
    """A registered consumer of a schema version."""

    name: str
    contact: _Contact
    schema_id: str
    schema_version: Count
    owner: Annotated[str, Meta(description="The principal that registered it.")]
    sunset: Annotated[
        SunsetView | None,
        Meta(description="Null unless a column of its version has an announced Sunset."),
    ]

    @classmethod
    def of_consumer(cls, consumer: SchemaConsumer, sunset: VersionSunset | None) -> Self:
        """Return the wire form of a consumer and the Sunset that affects it."""
        return cls.of(consumer, sunset=sunset)

    @classmethod
    def of_affected(cls, affected: AffectedConsumer) -> Self:
        """Return the wire form of a consumer that a Sunset affects."""
        return cls.of_consumer(affected.consumer, affected.sunset)


class RegisteredConsumerView(ConsumerView, frozen=True, kw_only=True):
    """A registered consumer of a schema version, and the last use of its key."""

    last_used_on: Annotated[
        Day | None,
        Meta(
            description="The last day (UTC) on which a key of its owner was used; null if that is"
            " unknown, as for tokens."
        ),
    ]

    @classmethod
    def of_registered(
        cls, consumer: SchemaConsumer, sunset: VersionSunset | None, last_used_on: date | None
    ) -> Self:
        """Return the wire form of a consumer, the Sunset that affects it, and its last use."""
        return cls.of(consumer, sunset=sunset, last_used_on=last_used_on)
