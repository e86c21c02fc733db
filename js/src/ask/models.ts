// The two workers that hold the models: what they are told, and what comes back.

import { type BySide, keys, type Manifest, SIDES, type Side } from "../contract/contract.ts";
import type { Value } from "../contract/decode.ts";
import type { Answered, Reply, Request, Setup } from "../live/messages.ts";
import { lacks } from "../live/provide.ts";
import { abortError, type Progress, type Source } from "../sources/source.ts";
import { withFindings } from "./findings.ts";

/** As much of a `Worker` as is used. */
export interface Port {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

/** What both models answer to one prompt, each token as it comes. */
export interface Answering {
  prompt: number;
  answers: BySide<Promise<Answered>>;
}

export interface Models {
  ready: Promise<void>;
  /** A piece of what is in the page; its bytes are gone afterwards. */
  part(part: Side | "known", bytes: Uint8Array<ArrayBuffer>, last: boolean): void;
  /** Let both models answer; what was asked before is forgotten. */
  answer(ids: number[], limit: number, token: (side: Side, id: number) => void): Answering;
  /** Read prompt and answers, and answer for blocks; `beside` holds those that need no computing. */
  trace(of: Answering, manifest: Manifest, beside: Source): Source;
  /** Forget what is being computed. */
  stop(): void;
}

/** What is about both, and takes so long that the second worker, which does the most, is spared. */
const FIRST: ReadonlySet<string> = new Set([keys.null(), keys.hiddenElsewhere()]);

/**
 * One worker for each side; what is about both is computed by the second. Each holds both models: a
 * `small` device has one worker for all.
 */
export function models(make: () => Port, setup: Setup, small = false): Models {
  const ports = small ? [make()] : SIDES.map(make);
  const [first, second = first] = ports as [Port, Port?];
  const tell = (request: Request) => {
    for (const port of ports) port.postMessage(request);
  };
  let prompt = 0;
  let token: (side: Side, id: number) => void = () => {};
  let waiting: Partial<BySide<(answer: Answered) => void>> = {};
  let refuse: ((error: Error) => void) | null = null;
  let answers: Answers | null = null;
  let loaded = 0;
  let ready = () => {};
  let broken: (error: Error) => void = () => {};
  const whenReady = new Promise<void>((resolve, reject) => {
    ready = resolve;
    broken = reject;
  });

  const hear = (reply: Reply) => {
    switch (reply.kind) {
      case "ready":
        if (++loaded === ports.length) ready();
        break;
      case "token":
        if (reply.prompt === prompt) token(reply.side, reply.id);
        break;
      case "answered":
        if (reply.prompt === prompt) waiting[reply.side]?.(reply);
        break;
      case "block":
        answers?.resolve(reply.id, reply.value);
        break;
      case "progress":
        answers?.heard(reply.id, reply.report);
        break;
      case "failed": {
        const error = new Error(reply.reason);
        if (reply.id) answers?.reject(reply.id, reply.reason);
        else if (reply.prompt === prompt) refuse?.(error);
        if (loaded < ports.length) broken(error);
      }
    }
  };
  for (const port of ports) {
    port.addEventListener("message", ({ data }) => hear(data as Reply));
  }
  tell({ kind: "setup", setup });

  const portOf = (key: string) => {
    const parts = key.split("/");
    if (FIRST.has(key)) return first;
    return parts.includes("base") && !parts.includes("tuned") ? first : second;
  };

  return {
    ready: whenReady,
    part(part, bytes, last) {
      const request: Request = { kind: "part", part, bytes, last };
      for (const port of ports) {
        // The last one gets the bytes themselves.
        port.postMessage(request, port === ports.at(-1) ? [bytes.buffer] : []);
      }
    },
    answer(ids, limit, told) {
      prompt++;
      token = told;
      waiting = {};
      answers = null;
      const failed = new Promise<never>((_, reject) => {
        refuse = reject;
      });
      failed.catch(() => {}); // who waits for an answer hears of it
      const [base, tuned] = SIDES.map((side) => {
        const own = new Promise<Answered>((resolve) => {
          waiting[side] = resolve;
        });
        const port = side === "base" ? first : second;
        port.postMessage({ kind: "answer", prompt, ids, side, limit } satisfies Request);
        return Promise.race([own, failed]);
      }) as [Promise<Answered>, Promise<Answered>];
      return { prompt, answers: { base, tuned } };
    },
    trace(of, manifest, beside) {
      tell({ kind: "trace", prompt: of.prompt, manifest });
      for (const side of SIDES) {
        of.answers[side].then(
          ({ ids, stopped }) => tell({ kind: "own", prompt: of.prompt, side, ids, stopped }),
          () => {}, // it was said where the answer was waited for
        );
      }
      const send = (id: number, key: string) =>
        portOf(key).postMessage({ kind: "block", id, prompt: of.prompt, key } satisfies Request);
      answers = workers({ send, cancel: (id) => tell({ kind: "cancel", id }) }, beside, lacks);
      return withFindings(answers.source, manifest);
    },
    stop() {
      prompt++;
      tell({ kind: "stop", prompt });
    },
  };
}

/** What a worker is told, and what it says, about blocks. */
export interface Ask {
  send(id: number, key: string): void;
  cancel(id: number): void;
}

export interface Answers {
  source: Source;
  resolve(id: number, value: Value): void;
  reject(id: number, reason: string): void;
  heard(id: number, report: Progress): void;
}

let last = 0;

/** Blocks that workers compute in the page; `beside` holds what needs no computing. */
export function workers(
  ask: Ask,
  beside: Source,
  lacks: (key: string) => string = () => "",
): Answers {
  const waiting = new Map<
    number,
    {
      resolve(value: Value): void;
      reject(error: unknown): void;
      heard?: ((report: Progress) => void) | undefined;
    }
  >();
  return {
    source: {
      has: beside.has,
      lacks,
      get(key, signal, progress) {
        if (beside.has(key)) return beside.get(key, signal, progress);
        return new Promise<Value>((resolve, reject) => {
          if (signal.aborted) return reject(abortError());
          const id = ++last;
          waiting.set(id, { resolve, reject, heard: progress });
          signal.addEventListener("abort", () => {
            if (!waiting.delete(id)) return;
            ask.cancel(id);
            reject(abortError());
          });
          ask.send(id, key);
        });
      },
    },
    resolve(id, value) {
      waiting.get(id)?.resolve(value);
      waiting.delete(id);
    },
    reject(id, reason) {
      waiting.get(id)?.reject(new Error(reason));
      waiting.delete(id);
    },
    heard(id, report) {
      waiting.get(id)?.heard?.(report);
    },
  };
}
