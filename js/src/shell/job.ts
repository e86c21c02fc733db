// A long computation that the user starts and may stop; it goes on while the selection moves.

import type { Key } from "../contract/contract.ts";
import { reasonOf } from "../core/load.ts";
import type { Store } from "../core/store.ts";
import { button, h } from "../draw/dom.ts";
import { isAbort, type Progress } from "../sources/source.ts";

export interface Job {
  /** Progress and Stop, or why it ended early; hidden otherwise. */
  el: HTMLElement;
  readonly running: boolean;
  /** Ask for blocks one after the other; `part` is called now and then, and at the end. */
  start<T>(label: string, keys: readonly Key<T>[], hear: Hearing<T>): Promise<void>;
  stop(): void;
}

export interface Hearing<T> {
  /** A block that is there. */
  done(key: Key<T>, value: T): void;
  /** The block is on its way; called at most about once a second. */
  underway?(key: Key<T>): Promise<void>;
  /** Nothing more comes. */
  ended(): void;
}

/** Milliseconds between two looks at what is there so far. */
const EVERY = 900;

export function makeJob(store: Store, signal: AbortSignal): Job {
  const text = h("span", {});
  const bar = h("progress", { max: 1, value: 0 });
  const halt = button("Stop", () => stop(), signal);
  const el = h("div", { class: "tl-job", role: "status", hidden: true }, bar, text, halt);
  let current: AbortController | null = null;

  const stop = () => {
    current?.abort();
    current = null;
  };
  signal.addEventListener("abort", stop);
  const say = (words: string, running: boolean) => {
    text.textContent = words;
    bar.hidden = halt.hidden = !running;
    el.hidden = words === "";
  };
  return {
    el,
    get running() {
      return current !== null;
    },
    stop,
    async start(label, keys, hear) {
      stop();
      const mine = new AbortController();
      current = mine;
      bar.value = 0;
      say(`${label} …`, true);
      let looked = performance.now();
      try {
        for (const [i, key] of keys.entries()) {
          const report = ({ done, total, label: what }: Progress) => {
            if (mine.signal.aborted) return;
            bar.value = (i + done / (total || 1)) / keys.length;
            say(`${what || label}: ${done} of ${total}`, true);
            if (performance.now() - looked < EVERY || !hear.underway) return;
            looked = Number.POSITIVE_INFINITY;
            hear.underway(key).finally(() => {
              looked = performance.now();
            });
          };
          hear.done(key, await store.block(key, mine.signal, report));
        }
        say("", false);
      } catch (error) {
        if (signal.aborted) return;
        // What came before the stop stays.
        if (isAbort(error)) say("Stopped.", false);
        else say(reasonOf(error), false);
      } finally {
        if (current === mine) current = null;
        if (!signal.aborted) hear.ended();
      }
    },
  };
}
