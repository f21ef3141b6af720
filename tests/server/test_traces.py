"""Spans of answers, sent to a collector that speaks OpenTelemetry's protocol."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.server.conftest import QUESTION
from tests.support.serving import serving
from xpm_runtime.errors import RequestError
from xpm_runtime.server import traces

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector(monkeypatch):
    """The spans that arrive, each with the name of the service that sent it."""
    arrived = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
            for resource in sent.resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                arrived.extend((names["service.name"], span) for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(traces.COLLECTOR, f"http://127.0.0.1:{server.server_port}")
        yield arrived
        server.shutdown()


def test_a_span_for_each_answer(environment, collector):
    body = {"model": "expert-sql", "messages": [{"role": "user", "content": QUESTION}]}
    with serving(environment, max_lanes=2) as served:
        url = f"{served.url}/v1/chat/completions"
        reply = httpx.post(url, json=body, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}, timeout=60).json()
        httpx.post(url, json={**body, "model": "base", "max_tokens": 1}, timeout=60)
    (service, first), (_, second) = sorted(collector, key=lambda each: each[1].start_time_unix_nano)
    told = {each.key: each.value for each in first.attributes}
    assert (service, first.name) == ("xpm", "llm_request")
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert told["gen_ai.usage.prompt_tokens"].int_value == reply["usage"]["prompt_tokens"]
    assert told["gen_ai.usage.completion_tokens"].int_value == reply["usage"]["completion_tokens"]
    assert told["gen_ai.response.finish_reasons"].array_value.values[0].string_value == "stop"
    whole_s = (first.end_time_unix_nano - first.start_time_unix_nano) / 1e9
    assert 0 < told["gen_ai.latency.time_to_first_token"].double_value <= whole_s < 60
    assert QUESTION not in str(first)
    assert second.parent_span_id == b""
    assert second.trace_id != first.trace_id


def test_without_the_sdk_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setenv(traces.COLLECTOR, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(RequestError, match="OpenTelemetry is not installed"):
        traces.tracer_of_environment()
    monkeypatch.delenv(traces.COLLECTOR)
    assert traces.tracer_of_environment() is None
