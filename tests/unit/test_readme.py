"""What README shows can be run as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import twinlens as tl
from twinlens.commands.main import twinlens

from tests.support.places import ROOT

README = (ROOT / "README.md").read_text("utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.partition("  #")[0]
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("twinlens ")
]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What snippets leave to the reader, and folders in place of those that they name."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tests.support import tiny

    folder = tmp_path_factory.mktemp("readme")
    base, tuned = tiny.save_pair(folder / "path" / "to", max_position_embeddings=512)
    models = [AutoModelForCausalLM.from_pretrained(side) for side in (base, tuned, base)]
    lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = get_peft_model(models[2], lora)
    adapted.save_pretrained(folder / "path" / "to" / "adapter")
    prompt = '{"prompt": "Name the opposite. hot", "instruction": "Name the opposite."}\n'
    (folder / "prompts.jsonl").write_text(prompt)
    return {
        "tl": tl,
        "folder": folder,
        "model": models[0],
        "tuned_model": models[1],
        "tokenizer": tiny.tokenizer(),
    }


@pytest.mark.slow
def test_snippets_run_one_after_the_other(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(names["folder"])
    # Of the hub, a cluster, the authors' files and all blocks in a file there are tests elsewhere.
    others = r"HuggingFaceTB|engine=.ray|import_published|rewrite\.(twl|html)"
    elsewhere = re.compile(rf"^.*({others}).*$", re.MULTILINE)
    assert len(PYTHON) == 4
    for code in PYTHON:
        exec(elsewhere.sub("", code), names)
    assert names["pair"].info.tuned.name == "adapter"
    assert (names["folder"] / "study" / "study.json").is_file()


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_take_their_options(line: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    _, name, *arguments = shlex.split(line)
    command = twinlens.commands[name]
    assert isinstance(command, click.Command)
    assert command.make_context(name, arguments).params
