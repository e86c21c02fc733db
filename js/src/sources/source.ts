import type { Value } from "../contract/decode.ts";

export interface Progress {
  done: number;
  total: number;
  label: string;
}

/** Where blocks come from: the kernel, or the page itself. */
export interface Source {
  /** Whether the block can be had without computing it. */
  has(key: string): boolean;
  /** What it has is all there will ever be. */
  readonly closed?: true;
  /** Why a block can never be had here; empty or undefined where it may be. */
  lacks?(key: string): string;
  get(key: string, signal: AbortSignal, progress?: (report: Progress) => void): Promise<Value>;
}

/** The error with which a request ends that nobody waits for any more. */
export function abortError(): DOMException {
  return new DOMException("The request was given up.", "AbortError");
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
