"""What Prometheus is told: vLLM's names, with ``xpm_`` in front."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from xpm_runtime.server.host import Choice
from xpm_runtime.server.work import Snapshot

if TYPE_CHECKING:
    from xpm_runtime.server.service import Ended

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """Counts of one server; ``snapshot`` is asked when somebody reads them."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Now(snapshot))

        def histogram(name: str, text: str, buckets: tuple[float, ...] = _FAST) -> Histogram:
            return Histogram(f"xpm_{name}_seconds", text, buckets=buckets, registry=self.registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"xpm_{name}", text, labels, registry=self.registry)

        self.first_token = histogram("time_to_first_token", "From a request's acceptance to its first token")
        self.inter_token = histogram("inter_token_latency", "Between two pieces of an answer")
        self.queue = histogram("request_queue_time", "In the queue")
        self.prefill = histogram("request_prefill_time", "In the steps that computed the prompt")
        self.decode = histogram("request_decode_time", "In the steps that wrote the answer", _SLOW)
        self.whole = histogram("e2e_request_latency", "From a request's acceptance to its answer's end", _SLOW)
        self.attach = histogram("expert_attach", "Attaching the experts of a request")
        self.routing = histogram("router_latency", "Choosing who answers")
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts")
        self.generated = counter("generation_tokens", "Tokens written")
        self.reused = counter("prefix_cache_hits", "Tokens of prompts that were known from an earlier one")
        self.asked = counter("prefix_cache_queries", "Tokens of prompts that were looked up")
        self.ended = counter("request_success", "Requests that were answered", "finished_reason")
        self.experts = counter("expert_requests", "Requests that an expert acted in", "expert")
        self.decisions = counter("router_decisions", "Requests by what their model said", "kind")
        self.responses = counter("http_responses", "Responses", "path", "status")

    def count_end(self, ended: "Ended") -> None:
        result = ended.result
        self.whole.observe(ended.whole_s)
        self.queue.observe(ended.queued_s)
        if result.token_ids:
            self.first_token.observe(ended.first_s)
        for gap_s in ended.gaps_s:
            self.inter_token.observe(gap_s)
        self.prefill.observe(result.prefill_ms / 1e3)
        self.decode.observe(result.decode_ms / 1e3)
        self.prompt_tokens.inc(result.num_prompt_tokens)
        self.asked.inc(result.num_prompt_tokens)
        self.reused.inc(result.num_reused_tokens)
        self.generated.inc(len(result.token_ids))
        self.ended.labels(finished_reason=result.finish_reason).inc()
        for each in result.experts:
            self.experts.labels(expert=each).inc()

    def count_choice(self, choice: Choice, elapsed_s: float) -> None:
        self.routing.observe(elapsed_s)
        kind = "named" if choice.confidence is None else "experts" if choice.experts else "base"
        self.decisions.labels(kind=kind).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Now(Collector):
    """Gauges of the moment."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        now = self._snapshot()
        for name, text, value in (
            ("num_requests_running", "Requests that are being answered", now.running),
            ("num_tokens_waiting", "Tokens that what waits may come to", now.waiting_tokens),
            (
                "kv_cache_usage_perc",
                "Share of the KV cache in use, 0 to 1",
                now.cached_tokens / max(1, now.token_capacity),
            ),
            ("num_lanes", "Requests that may run at once", now.num_lanes),
            ("num_experts_attached", "Experts in the engine", len(now.attached)),
            ("generation_tokens_per_second", "Tokens written in the last seconds", now.tokens_per_s),
            ("memory_bytes", "What the engine holds, by its formula", now.memory_bytes),
            ("draining", "1 while the server is going down", now.is_draining),
        ):
            yield GaugeMetricFamily(f"xpm_{name}", text, value=float(value))
        waiting = GaugeMetricFamily("xpm_num_requests_waiting", "Requests in the queue", labels=["priority"])
        for priority, count in enumerate(now.waiting):
            waiting.add_metric([str(priority)], count)
        yield waiting
        for name, text, value in (
            ("num_preemptions", "Answers that gave way", now.total_preempted),
            ("num_refused", "Requests that found the queue full", now.total_refused),
            ("num_degraded", "Requests that were answered with less than they asked for", now.total_degraded),
            ("num_steps", "Steps of the engine", now.total_steps),
        ):
            yield CounterMetricFamily(f"xpm_{name}", text, value=value)
