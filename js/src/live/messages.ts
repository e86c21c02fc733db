// What the page and its workers say to each other.

import type { Manifest, Side } from "../contract/contract.ts";
import type { Value } from "../contract/decode.ts";
import type { Progress } from "../sources/source.ts";
import type { Sizes } from "./model.ts";
import type { TokenizerData } from "./tokenizer.ts";

/** What a worker has to know before there is a prompt. */
export interface Setup {
  sizes: Sizes;
  tokenizer: TokenizerData;
  /** What signs of each weight are drawn from, in the order of `shapesOf`. */
  draws: number[];
  /** Tokens that end an answer. */
  stop: Record<Side, number[]>;
  /** How many tokens each model knows. */
  known: Record<Side, number>;
}

/** What a model answers by itself. */
export interface Answered {
  ids: number[];
  stopped: boolean;
}

export type Request =
  | { kind: "setup"; setup: Setup }
  /** A piece of a part of the page: weights of a side, or what follows from them. */
  | { kind: "part"; part: Side | "known"; bytes: Uint8Array<ArrayBuffer>; last: boolean }
  /** A new prompt, in place of the one before; whose answer shall be given. */
  | { kind: "answer"; prompt: number; ids: number[]; side: Side; limit: number }
  /** What is read; blocks are about it from now on. */
  | { kind: "trace"; prompt: number; manifest: Manifest }
  | ({ kind: "own"; prompt: number; side: Side } & Answered)
  | { kind: "block"; id: number; prompt: number; key: string }
  | { kind: "cancel"; id: number }
  /** Nothing is asked any more. */
  | { kind: "stop"; prompt: number };

export type Reply =
  | { kind: "ready" }
  | { kind: "token"; prompt: number; side: Side; id: number }
  | ({ kind: "answered"; prompt: number; side: Side } & Answered)
  | { kind: "block"; id: number; value: Value }
  | { kind: "progress"; id: number; report: Progress }
  | { kind: "failed"; id: number; prompt: number; reason: string };
