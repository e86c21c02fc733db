import { grows } from "../contract/contract.ts";
import type { Value } from "../contract/decode.ts";
import { undialled } from "../contract/units.ts";
import { abortError, type Progress, type Source } from "../sources/source.ts";

interface Flight {
  promise: Promise<Value>;
  controller: AbortController;
  waiters: number;
  reports: Set<(report: Progress) => void>;
}

/** How long an unwanted request may still be wanted again, in milliseconds. */
const GRACE = 60;
/** Blocks of a kind that last came within this time may be asked for ahead, in milliseconds. */
const QUICK = 300;
/** The same of what the pointer rests on, which is likely to be chosen. */
export const SOON = 1000;

/** Blocks in memory, least recently used out first; one request per key at a time. */
export class Cache {
  #source: Source;
  #budget: number;
  #size = 0;
  #values = new Map<string, Value>();
  #flights = new Map<string, Flight>();
  /** How long the last block of each kind took to come, in milliseconds. */
  #took = new Map<string, number>();

  constructor(source: Source, budget = 256e6) {
    this.#source = source;
    this.#budget = budget;
  }

  has(key: string): boolean {
    return this.#values.has(key) || this.#source.has(key);
  }

  get closed(): boolean {
    return this.#source.closed ?? false;
  }

  lacks(key: string): string {
    return this.has(key) ? "" : (this.#source.lacks?.(key) ?? "");
  }

  /** Whether a block is likely to come so soon that it may be fetched before anybody asks. */
  quick(key: string, within = QUICK): boolean {
    return (
      !grows(undialled(key)) && (this.#took.get(kindOf(key)) ?? Number.POSITIVE_INFINITY) < within
    );
  }

  put(key: string, value: Value): void {
    const old = this.#values.get(key);
    if (old !== undefined) this.#size -= bytesOf(old);
    this.#values.delete(key);
    this.#values.set(key, value);
    this.#size += bytesOf(value);
    for (const [oldest, entry] of this.#values) {
      if (this.#size <= this.#budget || oldest === key) break;
      this.#values.delete(oldest);
      this.#size -= bytesOf(entry);
    }
  }

  async get(
    key: string,
    signal: AbortSignal,
    progress?: (report: Progress) => void,
  ): Promise<Value> {
    if (signal.aborted) throw abortError();
    const known = this.#values.get(key);
    if (known !== undefined) {
      this.#values.delete(key);
      this.#values.set(key, known);
      return known;
    }
    const flight = this.#flights.get(key) ?? this.#start(key);
    flight.waiters++;
    if (progress) flight.reports.add(progress);
    return new Promise((resolve, reject) => {
      const leave = () => {
        flight.waiters--;
        if (progress) flight.reports.delete(progress);
        reject(abortError());
        // Panels that only moved on ask again in the next frame: cancel a little later.
        setTimeout(() => {
          if (flight.waiters === 0) this.#cancel(key, flight);
        }, GRACE);
      };
      signal.addEventListener("abort", leave, { once: true });
      flight.promise
        .then(resolve, reject)
        .finally(() => signal.removeEventListener("abort", leave));
    });
  }

  #start(key: string): Flight {
    const controller = new AbortController();
    const reports = new Set<(report: Progress) => void>();
    const started = performance.now();
    const promise = this.#source
      .get(key, controller.signal, (report) => {
        for (const listener of reports) listener(report);
      })
      .then((value) => {
        this.#took.set(kindOf(key), performance.now() - started);
        if (!grows(undialled(key))) this.put(key, value);
        return value;
      })
      .finally(() => this.#forget(key, flight));
    const flight: Flight = { promise, controller, waiters: 0, reports };
    this.#flights.set(key, flight);
    promise.catch(() => {}); // every waiter may have left
    return flight;
  }

  #cancel(key: string, flight: Flight): void {
    if (this.#flights.get(key) !== flight) return;
    this.#flights.delete(key);
    flight.controller.abort();
  }

  #forget(key: string, flight: Flight): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }
}

const kindOf = (key: string) => undialled(key).split("/", 1)[0]!;

function bytesOf(value: Value): number {
  if (typeof value === "string") return value.length * 2;
  return "data" in value ? (value.data as Float32Array).byteLength : 1000;
}
