// A worker: both models, one prompt at a time, blocks on request; longer work, such as
// a greedy answer, piece by piece.

import type { BySide, Side } from "../contract/contract.ts";
import type { Value } from "../contract/decode.ts";
import { inflated, letGo } from "../contract/packed.ts";
import { type Packed, readBlocks } from "../sources/recording.ts";
import { turn } from "../sources/turn.ts";
import { CARRIED } from "./carried.ts";
import { CONCEPTS } from "./concepts.ts";
import { NULL } from "./draws.ts";
import { HEADS } from "./heads.ts";
import { Heap } from "./kernel.ts";
import { LAYERS } from "./layers.ts";
import type { Answered, Reply, Request, Setup } from "./messages.ts";
import { load, type Model } from "./model.ts";
import { GROUPS, OCCLUSION } from "./occlusion.ts";
import { Runner } from "./pass.ts";
import { PREDICTIONS } from "./predictions.ts";
import { ask, isWork, type Work } from "./provide.ts";
import { type Pair, Subject } from "./subject.ts";
import { tokenizer, vocabularyOf } from "./tokenizer.ts";

const PROVIDERS = [
  ...[...PREDICTIONS, ...OCCLUSION, ...GROUPS, ...HEADS, ...LAYERS],
  ...[...CONCEPTS, ...CARRIED, ...NULL],
];

/** Milliseconds of work between two looks at what has come in. */
const PIECE = 25;
/** Milliseconds between two reports of one task: each may be drawn. */
const REPORTS = 250;

interface Task {
  id: number;
  prompt: number;
  work: Work<unknown>;
  done(value: unknown): void;
  reported?: number;
}

/** Answers requests; `say` sends what is found. */
export function serve(kernel: BufferSource, say: (reply: Reply) => void) {
  const heap = new Heap(kernel);
  const parts = new Map<string, Uint8Array<ArrayBuffer>[]>();
  const models: Partial<BySide<Model>> = {};
  let setup: Setup | undefined;
  let pair: Pair | undefined;
  let known: Packed | undefined;
  let empty = 0;
  let prompt = 0;
  /** What answered last; its memory goes with the prompt. */
  let answering: Runner | undefined;
  let subject: Subject | undefined;
  let tasks: Task[] = [];
  let running = false;

  const failed = (id: number, about: number, error: unknown) =>
    say({
      kind: "failed",
      id,
      prompt: about,
      reason: error instanceof Error ? error.message : `${error}`,
    });

  /** Take turns with what is to be done, and let requests in between. */
  const work = async () => {
    if (running) return;
    running = true;
    for (;;) {
      const task = tasks.shift();
      if (!task) break;
      try {
        const until = performance.now() + PIECE;
        let step = task.work.next();
        while (!step.done && performance.now() < until) step = task.work.next();
        if (step.done) task.done(step.value);
        else {
          tasks.push(task);
          const now = performance.now();
          if (task.id && now - (task.reported ?? 0) > REPORTS) {
            task.reported = now;
            say({ kind: "progress", id: task.id, report: step.value });
          }
        }
      } catch (error) {
        failed(task.id, task.prompt, error);
      }
      await turn();
    }
    running = false;
  };

  const ready = () => {
    if (pair || !setup || !known || !models.base || !models.tuned) return;
    const blocks = known;
    pair = {
      heap,
      models: { base: models.base, tuned: models.tuned },
      ...vocabularyOf(tokenizer(setup.tokenizer), setup.sizes.vocabulary),
      front: setup.tokenizer.front,
      otherText: setup.tokenizer.other_text,
      draws: setup.draws,
      known(key) {
        const value = blocks.value(key);
        if (value === undefined) throw new Error(`Not in this page: ${key}.`);
        return value;
      },
    };
    empty = heap.mark();
    say({ kind: "ready" });
  };

  const part = async (name: Side | "known", pieces: Uint8Array<ArrayBuffer>[]) => {
    const packed = inflated(pieces);
    for (const piece of pieces) letGo(piece.buffer);
    const bytes = new Uint8Array(await packed.arrayBuffer());
    if (name === "known") known = readBlocks(bytes);
    else if (setup) {
      models[name] = load(heap, bytes, setup.sizes);
      letGo(bytes.buffer);
    }
    ready();
  };

  /** A new prompt: what was about the one before goes. */
  const begin = (next: number) => {
    if (next === prompt) return;
    prompt = next;
    subject = undefined;
    answering = undefined;
    tasks = [];
    if (pair) heap.release(empty);
  };

  const answer = (request: Extract<Request, { kind: "answer" }>) => {
    if (!pair || !setup) return;
    const { ids, side, limit } = request;
    answering = new Runner(heap, pair.models[side], ids.length + limit, answering);
    const runner = answering;
    tasks.push({
      id: 0,
      prompt,
      work: greedy(runner, ids, setup.stop[side], limit, setup.known[side], (id) =>
        say({ kind: "token", prompt: request.prompt, side, id }),
      ),
      done(value) {
        say({ kind: "answered", prompt: request.prompt, side, ...(value as Answered) });
      },
    });
    void work();
  };

  return (request: Request): void => {
    switch (request.kind) {
      case "setup":
        setup = request.setup;
        break;
      case "part": {
        const pieces = parts.get(request.part) ?? [];
        parts.set(request.part, pieces);
        pieces.push(request.bytes);
        if (request.last) {
          parts.delete(request.part);
          part(request.part, pieces).catch((error) => failed(0, 0, error));
        }
        break;
      }
      case "answer":
        begin(request.prompt);
        answer(request);
        break;
      case "stop":
        begin(request.prompt);
        break;
      case "trace":
        if (pair && request.prompt === prompt) subject = new Subject(pair, request.manifest);
        break;
      case "own":
        if (request.prompt === prompt) subject?.answered(request.side, request);
        break;
      case "cancel":
        tasks = tasks.filter(({ id }) => id !== request.id);
        break;
      case "block": {
        const { id, key } = request;
        if (!subject || request.prompt !== prompt) break;
        try {
          const value = ask(PROVIDERS, subject, key);
          if (!isWork(value)) say({ kind: "block", id, value });
          else {
            const done = (result: unknown) => say({ kind: "block", id, value: result as Value });
            tasks.push({ id, prompt, work: value, done });
            void work();
          }
        } catch (error) {
          failed(id, prompt, error);
        }
      }
    }
  };
}

/**
 * Continue a prompt with the likeliest token each time; `told` of each, the one that ends it too.
 *
 * Tokens from `known` on are padding of the weights, and never chosen.
 */
export function* greedy(
  runner: Runner,
  prompt: readonly number[],
  stop: readonly number[],
  limit: number,
  known: number,
  told: (token: number) => void = () => {},
): Work<Answered> {
  const cache = runner.cache();
  const ids = [...prompt];
  let from = 0;
  let stopped = false;
  while (!stopped && ids.length - prompt.length < limit) {
    let token = 0;
    runner.run({ ids, from, cache }, ids.length - 1, ids.length, (_, scores) => {
      for (let id = 1; id < known; id++) if (scores[id]! > scores[token]!) token = id;
    });
    from = ids.length;
    ids.push(token);
    told(token);
    stopped = stop.includes(token);
    yield { done: ids.length - prompt.length, total: limit, label: "answer" };
  }
  return { ids: ids.slice(prompt.length), stopped };
}
