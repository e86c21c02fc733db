"""Studies recorded while a model trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import twinlens as tl
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from twinlens.errors import ArgumentError

from tests.support import tiny

pytest.importorskip("pyarrow")

PROMPTS = [{"prompt": "Write the word. dog", "instruction": "Write the word."}]


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [False, True])
def test_a_training_is_watched_and_goes_on_as_without(tmp_path: Path, adapter: bool) -> None:
    base = tmp_path / "base"
    tiny.model("llama").save_pretrained(base)
    tokenizer = tiny.tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(base)
    ids = tokenizer.encode("Write the word. dog DOG")
    rows = [{"input_ids": ids, "labels": ids}] * 4

    def trained(callbacks: list[tl.StudyCallback], name: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(base)
        if adapter:
            # As trl does for gradient checkpoints.
            model.enable_input_require_grads()
            model = get_peft_model(model, LoraConfig(r=2, target_modules=["o_proj"]))
        settings = TrainingArguments(
            str(tmp_path / name),
            max_steps=4,
            per_device_train_batch_size=1,
            learning_rate=1e-2,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(
            model, settings, train_dataset=rows, processing_class=tokenizer, callbacks=callbacks
        )
        trainer.train()
        return {key: value.clone() for key, value in model.state_dict().items()}

    watch = tl.StudyCallback(
        PROMPTS,
        tmp_path / "watched",
        base=None if adapter else base,
        steps=[0, 2, 4],
        methods="gradient_x_input",
        response="base",
        max_new_tokens=3,
    )
    watched, plain = trained([watch], "a"), trained([], "b")
    assert list(watch.stores) == [0, 2, 4]
    for key, value in plain.items():
        assert torch.equal(watched[key], value), key
    values = {
        step: {case.side: case.values for case in store} for step, store in watch.stores.items()
    }
    # Before the first step both are one model; later tuned alone moves.
    size = abs(values[0]["base"]).max()
    np.testing.assert_allclose(values[0]["tuned"], values[0]["base"], atol=1e-3 * size)
    np.testing.assert_allclose(values[4]["base"], values[0]["base"], atol=1e-3 * size)
    assert abs(values[4]["tuned"] - values[2]["tuned"]).max() > 0.01 * size
    frame = watch.to_frame()
    assert sorted(frame["step"].unique()) == [0, 2, 4]
    assert len(frame) == 6


def test_bad_arguments_are_one_sentence(tmp_path: Path) -> None:
    for wrong in ({}, {"every": 2, "steps": [1]}, {"every": 0}):
        with pytest.raises(ArgumentError):
            tl.StudyCallback(PROMPTS, tmp_path, **wrong)  # type: ignore[arg-type]
