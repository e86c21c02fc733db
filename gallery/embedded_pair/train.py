"""Training on two cores: two single-thread processes that average their gradients.

Two threads in one process were slower than two processes of one thread each; bfloat16 matrix
products are two to three times as fast as float32 on a processor that has them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from .tokenizer import CONTEXT

CHUNK = 512
# One large arena that is never given back: half of the time went into page faults otherwise.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Plan:
    """What to train: data, start, length and rate."""

    rows: str
    out: str
    start: str
    steps: int
    rows_per_step: int
    rate: float
    warm: int = 32
    cool: float = 0.45
    seed: int = 0
    save_every: int = 100


class _ChunkedLoss(torch.autograd.Function):
    """Mean cross-entropy with its gradient made on the way: no full matrix of logits exists."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        w = weight.bfloat16()
        total = torch.zeros(())
        to_hidden, to_weight = torch.empty_like(hidden), torch.zeros(weight.shape)
        for at in range(0, len(target), CHUNK):
            h, t = hidden[at : at + CHUNK].bfloat16(), target[at : at + CHUNK]
            logits = (h @ w.T).float()
            log_norm = logits.logsumexp(1, keepdim=True)
            total += (log_norm[:, 0] - logits.gather(1, t[:, None])[:, 0]).sum()
            slope = logits.sub_(log_norm).exp_()
            slope.scatter_add_(1, t[:, None], -torch.ones(len(t), 1))
            slope = (slope / len(target)).bfloat16()
            to_hidden[at : at + CHUNK] = slope @ w
            to_weight += (slope.T @ h).float()
        ctx.save_for_backward(to_hidden, to_weight)
        return total / len(target)

    @staticmethod
    def backward(ctx, up: Tensor) -> tuple[Tensor, Tensor, None]:
        to_hidden, to_weight = ctx.saved_tensors
        return up * to_hidden, up * to_weight, None


def new_model(
    vocabulary: int, layers: int, width: int, heads: int, key_heads: int, inner: int, seed: int
) -> LlamaForCausalLM:
    """Make an untrained model with one embedding matrix: rare words learn from both sides."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=key_heads,
            max_position_embeddings=CONTEXT,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )


def _rate_at(step: int, plan: Plan) -> float:
    cool = max(1, int(plan.cool * plan.steps))
    return min(1.0, (step + 1) / plan.warm, (plan.steps - step) / cool)


def _average(parameters: list[nn.Parameter], world: int) -> None:
    if world == 1:
        return
    flat = torch.cat([p.grad.flatten() for p in parameters])
    dist.all_reduce(flat)
    flat /= world
    for p, g in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad.copy_(g.view_as(p))


def train(plan: Plan, rank: int, world: int) -> None:
    """Run one of the processes; process 0 keeps the log and the checkpoints."""
    torch.set_num_threads(1)
    out = Path(plan.out)
    model = LlamaForCausalLM.from_pretrained(plan.start, dtype=torch.float32)
    matrices = [p for n, p in model.model.layers.named_parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    optimizers = [
        torch.optim.Muon(matrices, lr=plan.rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    state, first = out / "state.pt", 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimizer, values in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        first = saved["step"]
    ids = np.load(Path(plan.rows) / "ids.npy", mmap_mode="r")
    marks = Path(plan.rows) / "learned.npy"
    learned = np.load(marks, mmap_mode="r") if marks.exists() else None
    per, began, spent = plan.rows_per_step // world, time.time(), time.process_time()
    for step in range(first, plan.steps):
        at = (step * plan.rows_per_step + rank * per) % (len(ids) - per + 1)
        batch = torch.from_numpy(ids[at : at + per].astype(np.int64))
        target = batch[:, 1:]
        keep = (
            torch.from_numpy(np.array(learned[at : at + per, 1:]))
            if learned is not None
            else torch.ones_like(target, dtype=torch.bool)
        )
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=batch[:, :-1], use_cache=False).last_hidden_state
        loss = _ChunkedLoss.apply(hidden[keep].float(), model.lm_head.weight, target[keep])
        loss.backward()
        parameters = matrices + others
        _average(parameters, world)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = plan.rate * _rate_at(step, plan)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
        if rank == 0 and (step % 20 == 0 or step + 1 == plan.steps):
            line = {
                "step": step,
                "loss": round(loss.item(), 4),
                "wall": round(time.time() - began),
                "cpu": round(time.process_time() - spent),
            }
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if rank == 0 and ((step + 1) % plan.save_every == 0 or step + 1 == plan.steps):
            values = {
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "step": step + 1,
            }
            torch.save(values, out / "state.new")
            (out / "state.new").replace(state)
    if rank == 0:
        model.save_pretrained(out / "model")
        (out / "done").write_text("")


def run(plan: Plan, processes: int = 2) -> None:
    """Start the processes and wait; go on from a checkpoint, skip what is finished."""
    out = Path(plan.out)
    if (out / "done").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    meeting = out / "meeting"
    meeting.unlink(missing_ok=True)
    command = [sys.executable, "-m", "gallery.embedded_pair.train", json.dumps(asdict(plan))]
    group = [
        subprocess.Popen(
            [*command, "--rank", str(rank), "--world", str(processes)],
            env={**os.environ, **ALLOCATOR},
        )
        for rank in range(processes)
    ]
    codes = [process.wait() for process in group]
    if any(codes):
        raise RuntimeError(f"training in {out} broke off; run the command again to go on")


def main() -> None:
    """Entry of one process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("plan")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--world", type=int, required=True)
    given = parser.parse_args()
    plan = Plan(**json.loads(given.plan))
    if given.world > 1:
        meeting = (Path(plan.out) / "meeting").absolute().as_uri()
        dist.init_process_group(
            "gloo", init_method=meeting, rank=given.rank, world_size=given.world
        )
    train(plan, given.rank, given.world)
    if given.world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
