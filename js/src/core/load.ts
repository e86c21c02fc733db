// Blocks on their way: the states of a load, what a picture is made of, and how it is brought in.

import type { BySide, Key, Side } from "../contract/contract.ts";
import { eachSide } from "../maths/numbers.ts";
import { isAbort } from "../sources/source.ts";

/** How far the load of a block, or of anything else, has come. */
export type Load<T> =
  | { readonly state: "loading"; readonly value?: undefined; readonly reason?: undefined }
  | { readonly state: "ready"; readonly value: T; readonly reason?: undefined }
  | { readonly state: "failed"; readonly value?: undefined; readonly reason: string };

export const LOADING: Load<never> = { state: "loading" };
export const ready = <T>(value: T): Load<T> => ({ state: "ready", value });
export const failed = (reason: string): Load<never> => ({ state: "failed", reason });

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What a promise gives, or the reason why it gives nothing; an ended run still ends. */
export async function attempt<T>(
  { signal }: { signal: AbortSignal },
  wanted: Promise<T>,
): Promise<Load<T>> {
  try {
    return ready(await wanted);
  } catch (error) {
    if (signal.aborted || isAbort(error)) throw error;
    return failed(reasonOf(error));
  }
}

/** What is there of a block. */
export type Got = <T>(key: Key<T>) => Load<T>;

/** A block that is there; an error with the reason where it is not. */
export function take<T>(load: Load<T>): T {
  if (load.state === "ready") return load.value;
  throw new Error(load.reason ?? "A block is not there yet.");
}

/** A block of both models; null unless both are there. */
export function both<T>(got: Got, key: (side: Side) => Key<T>): BySide<T> | null {
  const { base, tuned } = eachSide((side) => got(key(side)).value);
  return base === undefined || tuned === undefined ? null : { base, tuned };
}

/** A block that a picture is made of. */
export interface Need {
  readonly key: Key<unknown>;
  /** What happens where it cannot be had: nothing is drawn, it is said, or it is passed over. */
  readonly without: "fail" | "tell" | "pass";
}

/** Blocks without which there is no picture. */
export const required = (...keys: Key<unknown>[]): Need[] =>
  keys.map((key) => ({ key, without: "fail" }));
/** Blocks that a picture can do without; the reason where one cannot be had is said below it. */
export const optional = (...keys: Key<unknown>[]): Need[] =>
  keys.map((key) => ({ key, without: "tell" }));
/** The same, and nothing is said. */
export const quiet = (...keys: Key<unknown>[]): Need[] =>
  keys.map((key) => ({ key, without: "pass" }));

/** The loads of one run, by key. */
export class Loads {
  readonly #loads = new Map<string, Load<unknown>>();
  readonly got: Got = <T>(key: Key<T>) => (this.#loads.get(key) as Load<T> | undefined) ?? LOADING;

  /**
   * Bring in what is needed: `needs` is asked again as blocks arrive, until it names nothing new.
   * The result says why something is missing that the picture can do without.
   */
  async gather(
    needs: (got: Got) => readonly Need[],
    block: <T>(key: Key<T>) => Promise<T>,
    signal: AbortSignal,
  ): Promise<string> {
    const flights = new Map<string, Promise<void>>();
    const start = (key: Key<unknown>) => {
      const flight = attempt({ signal }, block(key)).then((load) => {
        this.#loads.set(key, load);
        flights.delete(key);
      });
      flight.catch(() => {}); // a block that is no longer needed may fail
      flights.set(key, flight);
    };
    for (;;) {
      const list = needs(this.got);
      for (const { key } of list) if (!this.#loads.has(key) && !flights.has(key)) start(key);
      const reasons = (without: Need["without"]) =>
        list.flatMap((need) => (need.without === without && this.got(need.key).reason) || []);
      const [reason] = reasons("fail");
      if (reason !== undefined) throw new Error(reason);
      const waiting = list.flatMap(({ key }) => flights.get(key) ?? []);
      if (waiting.length === 0) return reasons("tell").at(-1) ?? "";
      await Promise.race(waiting);
    }
  }
}
