"""Base against tuned: how far answers rest on the instruction, by paired tests."""

from __future__ import annotations

import numpy as np
from scipy import stats
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from .answers import Answer
from .measure import densities, effect_share, gradient_importance, instruction_score, occlusion

LONGEST = 32
NORMALISATIONS = [(by_maximum, mean) for by_maximum in (True, False) for mean in (False, True)]


def spans(
    tokenizer: PreTrainedTokenizerFast, row: dict, template: bool
) -> tuple[list[int], np.ndarray]:
    """Give the tokens of a prompt, and which (begin mark left out) are the instruction."""
    text = row["prompt"]
    if template:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
    else:
        text = tokenizer.bos_token + text
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start = text.index(row["prompt"]) + row["prompt"].index(row["instruction"])
    end = start + len(row["instruction"])
    inside = [low < end and high > start for low, high in encoded["offset_mapping"]]
    return encoded["input_ids"], np.array(inside[1:])


def _matrices(
    model: LlamaForCausalLM, prompt: list[int], answer: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    return gradient_importance(model, prompt, answer), occlusion(model, prompt, answer)


def _numbers(
    matrices: tuple[np.ndarray, np.ndarray], instruction: np.ndarray, length: int = LONGEST
) -> dict[str, float]:
    # an answer token depends on nothing after it, so a shorter answer has the first columns
    gradient, effects = (matrix[:, :length] for matrix in matrices)
    found = {
        "effect share": effect_share(effects, instruction),
        "gradient share": effect_share(gradient, instruction),
    }
    for by_maximum, mean in NORMALISATIONS:
        scale = "divided by the maximum" if by_maximum else "raw"
        name = f"density, {scale}, {'mean' if mean else 'sum/log2(2+n)'}"
        found[name] = instruction_score(densities(gradient, by_maximum), instruction, mean)
    return found


def compare(
    models: dict[str, LlamaForCausalLM],
    tokenizer: PreTrainedTokenizerFast,
    rows: list[dict],
    answers: dict[str, list[Answer]],
    template: bool,
) -> list[dict]:
    """Compare the models on tuned's answer, on own answers, and on own answers of one length."""
    lists: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for i, row in enumerate(rows):
        prompt, instruction = spans(tokenizer, row, template)
        own = {name: answers[name][i].ids[:LONGEST] for name in ("base", "tuned")}
        if not own["tuned"]:
            continue
        tuned_own = _matrices(models["tuned"], prompt, own["tuned"])
        full = _numbers(tuned_own, instruction)
        base_same = _matrices(models["base"], prompt, own["tuned"])
        cases = {"same answer (tuned's)": (_numbers(base_same, instruction), full)}
        shortest = min(map(len, own.values()))
        if shortest > 1:
            base_own = _matrices(models["base"], prompt, own["base"])
            cases["own answers"] = (_numbers(base_own, instruction), full)
            cases["own answers, one length"] = (
                _numbers(base_own, instruction, shortest),
                _numbers(tuned_own, instruction, shortest),
            )
        for case, (base, tuned) in cases.items():
            for measure in base:
                lists.setdefault((case, measure), []).append((base[measure], tuned[measure]))
    return [_paired(case, measure, np.array(values)) for (case, measure), values in lists.items()]


def _paired(case: str, measure: str, values: np.ndarray) -> dict:
    base, tuned = values.T
    test = stats.ttest_rel(tuned, base)
    return {
        "case": case,
        "measure": measure,
        "base": float(base.mean()),
        "tuned": float(tuned.mean()),
        "t": float(test.statistic),
        "p": float(test.pvalue),
        "tuned higher": int((tuned > base).sum()),
        "n": len(values),
    }
