import type { Value } from "../contract/decode.ts";
import { abortError, type Progress, type Source } from "./source.ts";

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
