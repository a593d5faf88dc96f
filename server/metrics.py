"""What Prometheus is told, in a registry of the application's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counters of the edge."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "visage_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.request_s = Histogram(
            "visage_http_request_duration_seconds",
            "Time to answer a request",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.sessions = Gauge("visage_sessions", "Open sessions", registry=self.registry)
        self.speaking = Gauge("visage_sessions_speaking", "Sessions that speak", registry=self.registry)
        self.sessions_max = Gauge("visage_sessions_limit", "Sessions allowed at once", registry=self.registry)
        self.speech = Counter(
            "visage_speech_requests", "Requests to speak, by kind (echo, chat, audio)", ["kind"], registry=self.registry
        )
        self.interruptions = Counter("visage_interruptions", "Interruptions asked for", registry=self.registry)
        self.llm_first_text_s = Histogram(
            "visage_llm_first_text_seconds",
            "Question to the first text of its reply",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.llm_failures = Counter("visage_llm_failures", "Replies that ended in an error", registry=self.registry)

    def watch(self, count: Callable[[], int], speaking: Callable[[], int], limit: int) -> None:
        """Read the session gauges when asked."""
        self.sessions.set_function(count)
        self.speaking.set_function(speaking)
        self.sessions_max.set(limit)

    def expose(self, figures: Callable[[], Mapping[str, float]]) -> None:
        """Also tell what `figures` returns when asked: names ending in `_total` are counters, others gauges; a name may
        bear one label, `name{label="value"}`.
        """
        self.registry.register(_Figures(figures))

    def include(self, registry: CollectorRegistry) -> None:
        """Also tell what another registry holds."""
        self.registry.register(registry)

    def text(self, more: Mapping[str, float] | None = None) -> bytes:
        """The exposition, with `more` figures of this moment."""
        given = more or {}
        at_once = CollectorRegistry()
        at_once.register(_Figures(lambda: given))
        return generate_latest(self.registry) + generate_latest(at_once)


class _Figures(Collector):
    """Figures that someone else keeps."""

    def __init__(self, figures: Callable[[], Mapping[str, float]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for written, value in self._figures().items():
            name, _, rest = written.partition("{")
            label, _, of = rest.rstrip('"}').partition('="')
            if name not in families:
                kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                text = name.replace("_", " ").removesuffix(" total")
                families[name] = kind(f"visage_{name}", text, labels=[label] if label else None)
            families[name].add_metric([of] if label else [], value)
        yield from families.values()
