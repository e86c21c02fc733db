"""An update taken apart: directions, what they do, minimal sets, the dial."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import (
    IA3Config,
    LoHaConfig,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    PeftModel,
    get_peft_model,
)
from transformers import AutoModelForCausalLM, PreTrainedModel
from twinlens.compute.models.dense import linear_weight
from twinlens.compute.pair import Pair, demo_pair, load_pair
from twinlens.compute.update.direction_effects import agreement
from twinlens.compute.update.on_prompt import PromptUpdate
from twinlens.compute.update.sets import row_of
from twinlens.compute.update.update import Update
from twinlens.compute.words.word_rows import word_rows
from twinlens.errors import ArgumentError, MemoryNeededError, ModelLoadError

from tests.support import tiny

PROMPT = "Turn the text into capitals: The barber loses a heavy ball on the beach."


@pytest.fixture(scope="module")
def demo() -> Pair:
    return demo_pair()


@pytest.fixture(scope="module")
def update(demo: Pair) -> Update:
    return demo.update()


@pytest.fixture(scope="module")
def on(update: Update) -> PromptUpdate:
    return update.on(PROMPT, template=True, max_new_tokens=16)


def nats(model: PreTrainedModel, on: PromptUpdate) -> float:
    """Log-probability of the answer by the model's own pass."""
    ids = torch.tensor([on.ids])
    with torch.no_grad():
        logits = model(ids).logits[0, on.prompt_length - 1 : -1].double()
    return float(logits.log_softmax(-1).gather(-1, ids[0, on.prompt_length :, None]).sum())


def test_directions_rebuild_every_matrix(demo: Pair, update: Update) -> None:
    assert update.count == 6144
    with demo.model("base") as base, demo.model("tuned") as tuned:
        for matrix in update.matrices[::5]:
            path = matrix.name.removesuffix(".weight")
            before, after = (linear_weight(m.get_submodule(path)) for m in (base, tuned))
            change = matrix.left * matrix.sizes @ matrix.right.T
            torch.testing.assert_close(change, after - before, atol=1e-5, rtol=1e-4)
            assert matrix.energy == pytest.approx(float((after - before).norm()) ** 2, rel=1e-4)
            # Base's leading subspace by a full SVD.
            left, _, right = torch.linalg.svd(before)
            count = min(32, *(size // 4 for size in before.shape))
            expected = torch.stack(
                [
                    (left[:, :count].T @ matrix.left).square().sum(0),
                    (right[:count] @ matrix.right).square().sum(0),
                ]
            )
            torch.testing.assert_close(matrix.overlap, expected, atol=1e-3, rtol=0)
    assert sum(row["share"] for row in update.rows()) == pytest.approx(1)


def test_a_random_update_of_equal_size_reuses_as_little_as_is_said(update: Update) -> None:
    """Novelty of random directions, against the share that the null promises."""
    made = torch.Generator().manual_seed(0)
    matrix = update.matrices[0]
    count = min(32, *(side // 4 for side in (len(matrix.left), len(matrix.right))))
    noise = torch.randn(4000, len(matrix.left), generator=made)
    share = noise[:, :count].square().sum(1) / noise.square().sum(1)
    assert float((share > matrix.null[0]).float().mean()) == pytest.approx(0.01, abs=0.006)


def test_effects_add_up_and_ends_are_the_models(demo: Pair, on: PromptUpdate) -> None:
    with demo.model("base") as base:
        assert on.shift.base == pytest.approx(nats(base, on), abs=1e-4)
    with demo.model("tuned") as tuned:
        assert on.shift.tuned == pytest.approx(nats(tuned, on), abs=1e-4)
    effects = on.effects()
    assert effects.total == pytest.approx(on.shift.nats, rel=0.01)
    # The other question has another answer: tuned is certain.
    assert abs(on.losses.total) < 0.1 * on.shift.nats
    tokens = on.tokens(3)
    assert sum(value for _, value in tokens) == pytest.approx(float(effects.directions[3]))
    frame = on.to_frame()
    assert frame["effect"].abs().is_monotonic_decreasing
    assert len(frame) == 6144


def test_slopes_are_those_of_finite_differences(on: PromptUpdate) -> None:
    mixed, place = on.mixed, int(on.losses.directions.abs().argmax())
    rows = [torch.ones(mixed.count) for _ in range(2)]
    rows[0][place], rows[1][place] = 1.02, 0.98
    above, below = mixed.nats(rows).tolist()
    assert float(on.losses.directions[place]) == pytest.approx((above - below) / 0.04, rel=0.02)


@pytest.mark.parametrize("question", ["made the change", "would be lost"])
def test_effects_are_checked_by_intervention(on: PromptUpdate, question: str) -> None:
    found = list(on.check(question, 6))  # type: ignore[arg-type]
    assert len(found) == 12
    assert agreement(found) > 0.8
    leading = np.mean([abs(one.measured) for one in found if not one.random])
    assert leading > 3 * np.mean([abs(one.measured) for one in found if one.random])


def test_a_small_set_keeps_the_shift(demo: Pair, on: PromptUpdate) -> None:
    minimal = on.minimal(0.9)
    by_name = {curve.order: curve for curve in minimal.curves}
    effect = by_name["effect"]
    assert effect.counts[0] == 0
    assert effect.kept[-1] == pytest.approx(1, abs=1e-3)
    at = effect.counts.index(round(0.02 * 6144))
    assert effect.kept[at] > 0.87
    for other in ("size", "first order", "random"):
        assert by_name[other].kept[at] < effect.kept[at] - 0.2
        assert by_name[other].needed > 3 * effect.needed
    assert minimal.kept >= 0.9
    # One direction fewer does not reach it, and the set is measured as weights, too.
    assert on.keep(minimal.directions[:-1]) < 0.9
    with demo.model("base") as base, demo.model("tuned") as tuned:
        mixed = copy.deepcopy(tuned)
        row = row_of(on.mixed, minimal.directions)
        with torch.no_grad():
            for place, matrix in enumerate(on.update.matrices):
                gates = row[on.mixed.bounds[place] : on.mixed.bounds[place + 1]]
                own = base.get_parameter(matrix.name)
                change = matrix.left * (matrix.sizes * gates) @ matrix.right.T
                mixed.get_parameter(matrix.name).copy_(own + change)
        expected = (nats(mixed, on) - on.shift.base) / on.shift.nats
        answer = mixed.generate(
            torch.tensor([on.ids[: on.prompt_length]]),
            max_new_tokens=len(on.ids) - on.prompt_length,
            do_sample=False,
        )[0, on.prompt_length :]
    assert minimal.kept == pytest.approx(expected, abs=1e-3)
    assert minimal.answer == demo.tokenizers["tuned"].decode(answer, skip_special_tokens=True)


def test_the_dial_goes_from_base_through_tuned(demo: Pair, on: PromptUpdate) -> None:
    before = {
        side: {name: value.clone() for name, value in held.state_dict().items()}
        for side, held in demo._resident.items()
    }
    curve = on.dial([0, 0.5, 1, 2], answers=True)
    assert curve[0]["nats"] == pytest.approx(on.shift.base, abs=1e-4)
    assert curve[2]["nats"] == pytest.approx(on.shift.tuned, abs=1e-4)
    assert curve[2]["answer"] == "THE BARBER LOSES A HEAVY BALL ON THE BEACH."
    assert curve[0]["answer"] != curve[2]["answer"]
    with demo.model("base") as base, demo.model("tuned") as tuned:
        half = copy.deepcopy(base)
        with torch.no_grad():
            for name, parameter in half.named_parameters():
                parameter.lerp_(tuned.get_parameter(name), 0.5)
        assert curve[1]["nats"] == pytest.approx(nats(half, on), abs=1e-3)
    for part in ({"layer": 1}, {"kind": "o_proj"}, {"direction": 7}):
        (whole,) = on.dial([1], **part)  # type: ignore[arg-type]
        assert whole["nats"] == pytest.approx(on.shift.tuned, abs=1e-4)
    assert on.dial([0], layer=1)[0]["nats"] < on.shift.tuned - 0.1
    for side, held in demo._resident.items():
        for name, value in held.state_dict().items():
            assert torch.equal(value, before[side][name]), (side, name)


def test_an_update_that_learned_nothing_shifts_little(on: PromptUpdate) -> None:
    assert max(on.null(2)) < 0.1 * on.shift.nats


def test_a_set_found_on_some_prompts_is_tested_on_others(update: Update) -> None:
    prompts = [
        "Write the following sentence in capital letters: The cow sits in the museum.",
        "Rewrite the sentence in capital letters: Nora loses a blue box.",
    ]
    found, tested = update.over(prompts, template=True, max_new_tokens=6)
    assert found["kept"] >= 0.9
    assert found["directions"] == tested["directions"] < 3000
    assert tested["kept"] > tested["kept_random"] + 0.1


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    tiny.model("llama").save_pretrained(root / "base")
    tiny.tokenizer().save_pretrained(root / "base")
    lora = ["q_proj", "o_proj", "gate_proj", "down_proj"]
    configs = {
        "lora": LoraConfig(r=4, lora_alpha=8, target_modules=lora),
        "dora": LoraConfig(r=4, use_dora=True, target_modules=lora),
        "embedding": LoraConfig(r=2, target_modules=["o_proj"], modules_to_save=["embed_tokens"]),
        "untrained": LoraConfig(r=2, target_modules=["o_proj"]),
    }
    for name, config in configs.items():
        torch.manual_seed(0)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(root / "base"), config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad and name != "untrained":
                    parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(root / name)
        merged = root / f"{name} merged"
        model.merge_and_unload().save_pretrained(merged)
        tiny.tokenizer().save_pretrained(merged)
    return root


@pytest.mark.parametrize("kind", ["lora", "dora", "embedding"])
def test_an_adapter_gives_what_the_merged_model_gives(folders: Path, kind: str) -> None:
    found = []
    for tuned in (kind, f"{kind} merged"):
        pair = load_pair(folders / "base", folders / tuned)
        update = pair.update()
        on = update.on(tiny.PROMPT, answer=" plain words")
        # Rounding adds directions to the difference of two models, but nothing they do.
        found.append((update, on, on.effects(16)))
    (ours, first, effects), (theirs, second, others) = found
    assert any(m.by_factors for m in ours.matrices) == (kind != "dora")
    assert [m.name for m in ours.matrices] == [m.name for m in theirs.matrices]
    assert first.shift.nats == pytest.approx(second.shift.nats, abs=1e-3)
    assert effects.total == pytest.approx(first.shift.nats, rel=0.02, abs=1e-3)
    for place, (one, other) in enumerate(zip(ours.matrices, theirs.matrices, strict=True)):
        torch.testing.assert_close(
            one.sizes[:2], other.sizes[:2], atol=1e-4, rtol=1e-4, msg=one.name
        )
        spans = [
            result[start.bounds[place] : start.bounds[place + 1]].sum()
            for result, start in (
                (effects.directions, first.mixed),
                (others.directions, second.mixed),
            )
        ]
        torch.testing.assert_close(spans[0], spans[1], atol=2e-3, rtol=1e-2)
    assert [one.name for one in ours.rest] == [one.name for one in theirs.rest]


def random_adapter(folder: Path, config: PeftConfig, base: Path) -> PeftModel:
    """An adapter that changes something, saved."""
    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def test_of_several_adapters_those_that_are_on_are_taken_apart(
    folders: Path, tmp_path: Path
) -> None:
    base = folders / "base"
    model = random_adapter(tmp_path / "a", LoraConfig(r=2, target_modules=["o_proj"]), base)
    model.load_adapter(str(folders / "lora"), "second")
    kinds = {"default": {"o_proj"}, "second": {"q_proj", "o_proj", "gate_proj", "down_proj"}}
    sizes = {}
    for on in (["default"], ["second"], ["default", "second"]):
        model.base_model.set_adapter(on)
        update = load_pair(model, tokenizer=base).update()
        assert {m.kind for m in update.matrices} == set().union(*(kinds[one] for one in on))
        assert all(m.by_factors for m in update.matrices)
        (matrix,) = (m for m in update.matrices if m.kind == "o_proj" and m.layer == 1)
        sizes[tuple(on)] = matrix.left * matrix.sizes @ matrix.right.T
    both = sizes["default",] + sizes["second",]
    torch.testing.assert_close(sizes["default", "second"], both, atol=1e-5, rtol=1e-4)
    model.save_pretrained(tmp_path / "several")
    (tmp_path / "several" / "adapter_config.json").rename(tmp_path / "config.json")
    folder = tmp_path / "several" / "first"
    folder.mkdir()
    (tmp_path / "config.json").rename(folder / "adapter_config.json")
    with pytest.raises(ModelLoadError, match=r"holds 2 adapters.*\(first, second\)"):
        load_pair(base, tmp_path / "several").update()


@pytest.mark.parametrize(
    "config",
    [
        IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
        LoHaConfig(r=2, target_modules=["o_proj"]),
        OFTConfig(r=0, oft_block_size=8, target_modules=["o_proj"]),
    ],
    ids=["ia3", "loha", "oft"],
)
def test_what_is_no_product_of_factors_is_measured(
    folders: Path, tmp_path: Path, config: PeftConfig
) -> None:
    model = random_adapter(tmp_path / "adapter", config, folders / "base")
    update = load_pair(folders / "base", tmp_path / "adapter").update()
    assert not any(m.by_factors for m in update.matrices)
    on = update.on(tiny.PROMPT, answer=" plain words")
    assert on.shift.tuned == pytest.approx(nats(model.eval(), on), abs=1e-4)
    assert on.effects(16).total == pytest.approx(on.shift.nats, rel=0.01, abs=1e-3)


def test_adapters_that_change_tokens(folders: Path, tmp_path: Path) -> None:
    """Changed rows of the embedding are another tensor; rows that base lacks do not fit."""
    config = LoraConfig(
        r=2, target_modules=["o_proj"], trainable_token_indices={"embed_tokens": [1, 5]}
    )
    random_adapter(tmp_path / "rows", config, folders / "base")
    update = load_pair(folders / "base", tmp_path / "rows").update()
    assert {m.kind for m in update.matrices} == {"o_proj"}
    assert [one.name for one in update.rest] == ["model.embed_tokens.weight"]
    base = AutoModelForCausalLM.from_pretrained(folders / "base")
    base.resize_token_embeddings(base.config.vocab_size + 4, mean_resizing=False)
    config = LoraConfig(r=2, target_modules=["o_proj"], modules_to_save=["embed_tokens", "lm_head"])
    get_peft_model(base, config).save_pretrained(tmp_path / "more")
    with pytest.raises(ModelLoadError, match=r"'more' cannot be loaded.*size mismatch.*embed_tok"):
        load_pair(folders / "base", tmp_path / "more")


def test_bad_input_is_one_sentence(demo: Pair, folders: Path, on: PromptUpdate) -> None:
    untrained = load_pair(folders / "base", folders / "untrained").update()
    assert untrained.count == 0
    with pytest.raises(ArgumentError, match="rank 0"):
        untrained.on(tiny.PROMPT)
    with pytest.raises(MemoryNeededError, match="both"):
        load_pair(folders / "base", folders / "lora", memory="sequential").update()
    with pytest.raises(ArgumentError, match="one answer that both read"):
        on.update.on(PROMPT, response="own")
    with pytest.raises(ArgumentError, match="there is no direction 6144"):
        on.tokens(6144)
    with pytest.raises(ArgumentError, match="changes nothing in layer 9"):
        on.dial([1], layer=9)
    with pytest.raises(ArgumentError, match="a scale is a number"):
        on.dial([float("nan")])
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        on.minimal(2.0)
    with pytest.raises(ArgumentError, match="the question is"):
        on.check("why")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="at least two prompts"):
        on.update.over([PROMPT])


def test_three_planted_directions_are_found_named_and_removed(tmp_path: Path) -> None:
    """Each makes one word likely after one prompt, through one neuron of the last layer."""
    base = tiny.model("llama", hidden_size=64, intermediate_size=96)
    tokenizer = tiny.tokenizer()
    prompts = ["Rewrite the sentence", "The small dog sleeps", "Write the word in capital"]
    words = word_rows(tokenizer, base.get_output_embeddings().weight.detach()).words
    targets = [place for place, word in enumerate(words) if len(word) > 3][:3]
    down = base.model.layers[2].mlp.down_proj
    seen: list[torch.Tensor] = []
    handle = down.register_forward_pre_hook(lambda _, given: seen.append(given[0][0, -1].clone()))
    for prompt in prompts:
        with torch.no_grad():
            base(torch.tensor([tokenizer.encode(prompt)]))
    handle.remove()
    active = torch.stack(seen)
    neurons: list[int] = []
    for place in range(3):
        others = active[[p for p in range(3) if p != place]].abs().amax(0)
        neurons.append(int((active[place].abs() - 3 * others).argmax()))
    ends = base.get_output_embeddings().weight.detach()[targets]
    left = torch.linalg.qr(ends.T).Q
    left = left * torch.sign((left * ends.T).sum(0))
    own = active[range(3), neurons]
    # Of different size, so that no mixture of them is a singular direction, too.
    sizes = torch.tensor([1.0, 0.8, 0.6]) * own.sign() * 12 / own.abs().min()
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for place, neuron in enumerate(neurons):
            tuned.model.layers[2].mlp.down_proj.weight[:, neuron] += sizes[place] * left[:, place]
    for name, model in (("base", base), ("tuned", tuned)):
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    update = load_pair(tmp_path / "base", tmp_path / "tuned").update()
    assert [(m.kind, m.layer, m.rank) for m in update.matrices] == [("down_proj", 2, 3)]
    assert not update.rest
    for place, prompt in enumerate(prompts):
        on = update.on(prompt, answer=tokenizer.decode([targets[place]]))
        assert on.ids[on.prompt_length :] == [targets[place]]
        first = on.rows()[0]
        about = update.describe(first["index"])
        assert about["writes"][0][0] == words[targets[place]]
        assert about["neurons"][0] == [neurons[place], 1.0]
        assert on.effects().total == pytest.approx(on.shift.nats, rel=0.01)
        without = copy.deepcopy(tuned)
        with torch.no_grad():
            weight = without.model.layers[2].mlp.down_proj.weight
            weight[:, neurons[place]] = down.weight[:, neurons[place]]
        (removed,) = on.dial([0], direction=first["index"])
        assert removed["nats"] == pytest.approx(nats(without, on), abs=1e-4)
        assert removed["nats"] < on.shift.tuned - 0.5 * on.shift.nats


def test_directions_in_files_are_those_in_memory(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of whole models are read from files when used, which go with the update."""
    monkeypatch.setenv("TWINLENS_CACHE", str(tmp_path))
    pair = load_pair(folders / "base", folders / "dora merged")
    held = pair.update()
    assert not list(tmp_path.iterdir())
    expected = held.on(tiny.PROMPT, answer=" plain words").effects(4)
    monkeypatch.setattr("twinlens.compute.update.directions.IN_MEMORY", 0)
    stored = pair.update()
    assert len(list(tmp_path.glob("update-*/*"))) == len(stored.matrices)
    on = stored.on(tiny.PROMPT, answer=" plain words")
    torch.testing.assert_close(on.effects(4).by_token, expected.by_token)
    assert on.null(1) == held.on(tiny.PROMPT, answer=" plain words").null(1)
    del on, stored
    gc.collect()
    assert not list(tmp_path.iterdir())
