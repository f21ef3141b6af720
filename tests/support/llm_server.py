"""A server that speaks as much of OpenAI's and Anthropic's streaming protocols as generating data
asks for, and fails as told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = str
"""ok, 429, 500, broken (an answer that is no JSON), length (cut off by the token limit), cut (the
connection ends midway), 401."""


@dataclass
class LlmServer:
    """``faults`` are used up one per request, in order; then all is well. ``requests`` holds
    the bodies and headers seen."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serve_llm() -> Iterator[LlmServer]:
    state = LlmServer("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.requests.append(body)
                state.headers.append({name.lower(): value for name, value in self.headers.items()})
                number = len(state.requests)
                fault = state.faults.pop(0) if state.faults else "ok"
            if fault in ("429", "500", "401"):
                self._refuse(int(fault))
                return
            text = "I would rather not." if fault == "broken" else _examples(number)
            events = (_anthropic if self.path.endswith("/messages") else _openai)(text, fault)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for position, event in enumerate(events):
                if fault == "cut" and position == len(events) // 2:
                    self.close_connection = True
                    self.connection.close()
                    return
                data = event.encode()
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def _refuse(self, status: int) -> None:
            data = json.dumps({"error": {"message": f"no: {status}", "type": "error"}}).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "0.05")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _examples(number: int) -> str:
    rows = [
        {"prompt": f"Question {number}.{row}?", "completion": f"Answer {number}.{row}", "difficulty": "easy"}
        for row in range(10)
    ]
    rows.append({"prompt": "", "completion": "an example that is not usable"})
    return "```json\n" + json.dumps({"examples": rows}) + "\n```"


def _openai(text: str, fault: Fault) -> list[str]:
    middle = len(text) // 2
    chunks: list[dict[str, Any]] = [_chunk({"content": part}, None) for part in (text[:middle], text[middle:])]
    chunks.append(_chunk({}, "length" if fault == "length" else "stop"))
    chunks.append(
        {
            **_chunk({}, None),
            "choices": [],
            "usage": {"prompt_tokens": 200, "completion_tokens": 300, "total_tokens": 500},
        }
    )
    return [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]


def _chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {
        "id": "chat-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "test",
        "usage": None,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def _anthropic(text: str, fault: Fault) -> list[str]:
    middle = len(text) // 2
    message = {
        "id": "message-1",
        "type": "message",
        "role": "assistant",
        "model": "test",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 200, "output_tokens": 1},
    }
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": part}}
            for part in (text[:middle], text[middle:])
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "usage": {"output_tokens": 300},
            "delta": {"stop_reason": "max_tokens" if fault == "length" else "end_turn", "stop_sequence": None},
        },
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
