"""Models of the hub where it cannot be reached: from the cache or refused, neither after a wait."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.places import ROOT

pytestmark = pytest.mark.slow

_SCRIPT = """
import json, sys
import twinlens as tl
from huggingface_hub import constants
from twinlens.errors import TwinlensError

said = {}
pair = tl.load_pair("me/base", "me/tuned", memory="sequential")
said["pair"] = repr(pair)
said["revision"] = pair.info.tuned.revision
trace = tl.explore(pair, sys.argv[1], max_new_tokens=3, response="tuned").trace
said["answer"] = trace.manifest.answer_length("tuned")
said["same"] = [tensor.verdict for tensor in tl.diff("me/base", "me/base").tensors]
for base, tuned in (("me/base", "me/tuned-"), ("bsae", "me/tuned")):
    try:
        tl.load_pair(base, tuned)
    except TwinlensError as error:
        said[tuned + base] = str(error)
said["offline"] = constants.HF_HUB_OFFLINE
print(json.dumps(said))
"""


def test_without_network_a_model_is_read_from_the_cache_at_once(tmp_path: Path) -> None:
    commit = "a" * 40
    for name, folder in zip(("base", "tuned"), tiny.save_pair(tmp_path / "made"), strict=True):
        repository = tmp_path / "home" / "hub" / f"models--me--{name}"
        shutil.copytree(folder, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, tiny.PROMPT],
        env={
            **os.environ,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_OFFLINE": "0",
            # Nothing listens there.
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "PYTHONPATH": f"{ROOT / 'widgets'}{os.pathsep}{ROOT}",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Retrying" not in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["revision"] == commit
    assert "me/tuned" in said["pair"]
    assert set(said["same"]) == {"same"}
    assert said["answer"]
    assert said["offline"] is False
    assert said["me/tuned-me/base"].startswith("there is no folder 'me/tuned-', and no model")
    assert said["me/tunedbsae"].startswith("there is no folder 'bsae', and no model of that name")
    assert all("\n" not in text for text in said.values() if isinstance(text, str))
