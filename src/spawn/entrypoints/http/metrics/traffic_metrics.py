"""Metrics of the traffic: places by kind, rejections, the event loop, the certificate."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spawn.application.traffic.traffic_control import HandshakeOutcome, TrafficControl
from spawn.ports.runtime import GetCertificate


class TrafficMetrics(Collector):
    """Metrics of the places that requests and connections take, and of what found none."""

    def __init__(self, traffic: TrafficControl) -> None:
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the traffic."""
        yield from self._collect_places()
        yield CounterMetricFamily(
            "spawn_http_rate_limited_requests",
            "Requests rejected because their client exceeded a budget.",
            value=self._traffic.rate_limited_count,
        )
        yield CounterMetricFamily(
            "spawn_http_expired_requests",
            "Requests stopped at their deadline.",
            value=self._traffic.deadline_count,
        )
        yield GaugeMetricFamily(
            "spawn_event_loop_lag_seconds",
            "Delay of the event loop when it was last measured.",
            value=max(0.0, self._traffic.requests.lag_s),
        )

    def _collect_places(self) -> Iterator[Metric]:
        in_use = GaugeMetricFamily(
            "spawn_http_places_in_use",
            "Places taken, by kind: connections, requests, bodies, uploads, exports.",
            labels=("kind",),
        )
        limit = GaugeMetricFamily(
            "spawn_http_places_limit",
            "Places that may be taken; those of requests are fewer while the event loop is late.",
            labels=("kind",),
        )
        rejected = CounterMetricFamily(
            "spawn_http_places_rejected",
            "Attempts to take a place that found none.",
            labels=("kind",),
        )
        for kind, pool in self._traffic.pools.items():
            in_use.add_metric((kind,), pool.in_use)
            limit.add_metric((kind,), pool.places)
            rejected.add_metric((kind,), pool.rejections)
        yield from (in_use, limit, rejected)


class CertificateMetrics(Collector):
    """Metrics of the TLS certificate, and of the handshakes with it."""

    def __init__(self, get_certificate: GetCertificate, traffic: TrafficControl) -> None:
        self._traffic = traffic
        self._get_certificate = get_certificate

    def collect(self) -> Iterator[Metric]:
        """Yield when the certificate ends, and how its reloads and the handshakes went."""
        certificate = self._get_certificate()
        yield GaugeMetricFamily(
            "spawn_tls_certificate_not_after_timestamp_seconds",
            "Time at which the TLS certificate expires.",
            value=certificate.expires_at.timestamp(),
        )
        reloads = CounterMetricFamily(
            "spawn_tls_certificate_reloads",
            "Attempts to load a changed TLS certificate, by outcome.",
            labels=("outcome",),
        )
        reloads.add_metric(("loaded",), certificate.reloads)
        reloads.add_metric(("failed",), certificate.failed_reloads)
        yield reloads
        handshakes = CounterMetricFamily(
            "spawn_tls_handshakes",
            "TLS handshakes, by outcome: completed, failed, rate_limited, no_place.",
            labels=("outcome",),
        )
        for outcome in HandshakeOutcome:
            handshakes.add_metric((outcome.value,), self._traffic.handshakes[outcome])
        yield handshakes
