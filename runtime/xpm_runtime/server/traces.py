"""Spans of answers by OpenTelemetry, with the names that vLLM gives them; only where a collector is
named and the SDK is there.

A client's ``traceparent`` makes its span the parent of ours. Prompts and answers are never in them. Only this
module imports OpenTelemetry.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from xpm_runtime.errors import RequestError

if TYPE_CHECKING:
    from xpm_runtime.server.service import Ended

COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
CARRIED = ("traceparent", "tracestate")
carrier: ContextVar[Mapping[str, str]] = ContextVar("carrier", default={})  # noqa: B039 - it is never changed
"""What the request that is being answered says of the trace that it belongs to."""


class Tracer:
    """Records a span for each answer that has ended."""

    def __init__(self, provider: Any) -> None:
        """
        Args:
            provider: of the SDK; shut down by ``close``.
        """
        self._provider = provider
        self._tracer = provider.get_tracer("xpm")

    def record(self, ended: "Ended", experts: Sequence[str], carried: Mapping[str, str]) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        now, result = time.time_ns(), ended.result
        span = self._tracer.start_span(
            "llm_request",
            context=TraceContextTextMapPropagator().extract(carried),
            kind=SpanKind.SERVER,
            start_time=now - int(1e9 * ended.whole_s),
            attributes={
                "gen_ai.usage.prompt_tokens": result.num_prompt_tokens,
                "gen_ai.usage.completion_tokens": len(result.token_ids),
                "gen_ai.latency.time_in_queue": ended.queued_s,
                "gen_ai.latency.time_to_first_token": ended.first_s,
                "gen_ai.latency.e2e": ended.whole_s,
                "gen_ai.response.finish_reasons": [result.finish_reason],
                "xpm.experts": list(experts),
                "xpm.reused_tokens": result.num_reused_tokens,
            },
        )
        span.end(now)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def tracer_of_environment() -> Tracer | None:
    """One that sends to the collector that ``OTEL_EXPORTER_OTLP_ENDPOINT`` names, over HTTP; None if it names none.

    Raises:
        RequestError: it names one, and the SDK is not installed.
    """
    if not os.environ.get(COLLECTOR):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise RequestError(
            f"{COLLECTOR} is set, and OpenTelemetry is not installed",
            context=str(error),
            hint="install xpm-experts[trace], or unset it",
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "xpm")}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider)
