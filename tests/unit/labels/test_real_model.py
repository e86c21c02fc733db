"""Real language models behind a local endpoint of OpenAI's form, asked by the real client.

`transformers serve` answers. The embedded pair has never seen such a question, and SmolLM2-135M is
far too small to name concepts well: what is tested is that real answers go all the way, and that
nonsense is counted as what it is.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import twinlens
from twinlens.contract.words import LEVELS, TASKS
from twinlens.errors import AnnotationError
from twinlens.labels.annotate import annotate, read_annotations, write_annotations
from twinlens.labels.endpoint import Endpoint
from twinlens.labels.questions import Annotation, Component
from twinlens.labels.shares import label_shares

from tests.support.endpoint import served

DEMO = Path(twinlens.__file__).parent / "demo" / "tuned"
COMPONENTS = [
    Component("base", 0, 0, ("monday", "friday", "sunday", "tuesday")),
    Component("tuned", 0, 0, ("red", "green", "blue", "yellow")),
]


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="transformers serve needs fastapi and uvicorn")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def check(found: list[Annotation], cache: Path) -> list[str]:
    """What holds for any real answers; returns these."""
    assert [one.component for one in found] == COMPONENTS
    answers = [json.loads(line)["answer"] for line in cache.read_text().splitlines()]
    assert all(isinstance(answer, str) for answer in answers)
    for one in found:
        assert set(one.tasks or ()) <= set(TASKS)
        assert one.level is None or one.level in LEVELS
        assert (one.name is None) == (one.outcomes["name"] != "told")
    rows = label_shares(found, "task").rows
    assert all(row["labelled"] + row["cannot_tell"] == 1 for row in rows)
    return answers


def test_answers_of_the_embedded_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "answers.jsonl"
    with served(DEMO, tmp_path / "log") as url:
        endpoint = Endpoint(str(DEMO), url, retries=0, timeout=300)
        found = annotate(COMPONENTS, endpoint, rounds=[0], concurrency=1, cache=cache)
        answers = check(found, cache)
        again = annotate(COMPONENTS, endpoint, rounds=[0], concurrency=1, cache=cache)
        assert again == found
        assert len(cache.read_text().splitlines()) == len(answers), "nothing is asked twice"
        refused = Endpoint(str(DEMO), url.replace("/v1", "/v2"), retries=0)
        with pytest.raises(
            AnnotationError, match=r"answered with status 404.*check model and base"
        ):
            annotate(COMPONENTS, refused, rounds=[0], cache=False)
    with pytest.raises(AnnotationError, match=r"cannot be reached.*answers so far are kept"):
        annotate(COMPONENTS, endpoint, rounds=[0, 1], concurrency=1, cache=cache)
    assert len(cache.read_text().splitlines()) == len(answers)
    write_annotations(tmp_path / "labels.csv", found)
    kept = read_annotations(tmp_path / "labels.csv")
    assert [(one.name, one.tasks, one.level) for one in kept] == [
        (one.name, one.tasks, one.level) for one in found
    ]


def test_answers_of_a_real_model(tmp_path: Path) -> None:
    from tests.support.real_pair import smollm2_pair_folders

    cache, model = tmp_path / "answers.jsonl", smollm2_pair_folders()[0]
    with served(model, tmp_path / "log") as url:
        endpoint = Endpoint(str(model), url, retries=0, timeout=300)
        found = annotate(COMPONENTS, endpoint, rounds=[0], concurrency=2, cache=cache)
    assert len(check(found, cache)) >= 2
    assert any(one.outcomes["name"] != "nonsense" for one in found)
