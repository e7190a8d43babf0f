"""Administration of publishers: their status, and the end of a stop."""

from spawn.application.dependencies import require
from spawn.application.events.relay import DeliveryStatus, Relay
from spawn.domain.principal import Principal, Scope


async def list_publishers(relay: Relay, principal: Principal) -> list[DeliveryStatus]:
    """Return the status of the delivery to each publisher, in the order of configuration."""
    require(principal, Scope.ADMIN)
    return await relay.delivery_statuses()


async def resume_publisher(relay: Relay, principal: Principal, name: str) -> DeliveryStatus:
    """Continue the delivery to a publisher whose consumer is back, from where it stopped.

    Raises:
        NotFound: no publisher has the name.
        Conflict: its delivery has not stopped.
    """
    require(principal, Scope.ADMIN)
    return await relay.resume(name)
