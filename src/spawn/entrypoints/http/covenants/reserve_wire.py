"""Wire structs of reserve accounts."""

from decimal import Decimal
from typing import Self

import msgspec

from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.project_reserve import (
    ReserveAccountState,
    ReserveBalance,
    ReserveKind,
)
from spawn.entrypoints.http.wire import Instant, ResourceId, Version, WireStruct


class ReserveAccountView(WireStruct, frozen=True, kw_only=True):
    """A reserve account with its balances; amounts are exact decimals of its currency."""

    account_id: ResourceId
    project_id: ResourceId
    version: Version
    name: str
    kind: ReserveKind
    currency_code: str
    target_months: int | None
    target_amount: Decimal | None
    balances: tuple[ReserveBalance, ...]
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of_account(cls, aggregate: StoredAggregate[ReserveAccountState]) -> Self:
        """Return the wire form of a stored account."""
        return cls(
            **msgspec.structs.asdict(aggregate.state),
            version=aggregate.version,
            created_at=aggregate.created_at,
            updated_at=aggregate.updated_at,
        )
