"""State that all routes share: dependencies, background services, limits, caches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from opentelemetry.trace import Tracer

from spawn.application.access.audit_trail import AuditTrail
from spawn.application.access.authentication import OpenAccess
from spawn.application.analysis.calculation import CalculationPool
from spawn.application.dependencies import Dependencies
from spawn.application.events.event_streams import EventStreams
from spawn.application.events.relay import Relay
from spawn.application.health import HealthChecker
from spawn.application.jobs import JobRunner
from spawn.application.product.snapshot import Product
from spawn.application.quality.monitor import QualityMonitor
from spawn.application.schemas.activation import SchemaPolicies
from spawn.application.traffic.traffic_control import TrafficControl
from spawn.domain.approvals.approval_policy import ApprovalPolicy
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.metrics.service_metrics import PrometheusMetrics
from spawn.ports.access import Authenticator

T = TypeVar("T")

HTTP_STATE: Final = "spawn.state"
"""Scope key of the state of the service that a request came to."""


class StateKey(Generic[T]):
    """A typed key of one component in the state, such as the cache of a noun's routes.

    The module of the routes declares the key, so that the state need not know the component.
    """

    __slots__ = ("create",)

    def __init__(self, create: Callable[[], T]) -> None:
        self.create = create


@dataclass(frozen=True, kw_only=True, eq=False)
class HttpState:
    """Shared state of the HTTP application; all of it stays valid with a second replica."""

    dependencies: Dependencies
    product: Product
    schema_policies: SchemaPolicies
    health: HealthChecker
    metrics: PrometheusMetrics
    streams: EventStreams
    relay: Relay
    jobs: JobRunner
    calculation_pool: CalculationPool
    quality_monitor: QualityMonitor
    traffic: TrafficControl
    audit: AuditTrail
    limits: HttpLimits = field(default_factory=HttpLimits)
    authenticator: Authenticator = field(default_factory=OpenAccess)
    key_environment: str = "live"
    issuer: str = ""
    approval_policy: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    tracer: Tracer | None = None
    components: dict[StateKey[Any], Any] = field(default_factory=dict)

    def __getitem__(self, key: StateKey[T]) -> T:
        """Return the component of a key, created at its first use."""
        component: T | None = self.components.get(key)
        if component is None:
            component = self.components[key] = key.create()
        return component


def get_http_state(scope: Mapping[str, Any] | Any) -> HttpState:
    """Return the state that the application put into the ASGI scope."""
    state: HttpState = scope[HTTP_STATE]
    return state
