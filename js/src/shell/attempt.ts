// What a panel wants but can do without, with the reason where it cannot be had.

import { isAbort } from "../sources/source.ts";
import type { View } from "./frame.ts";

export type Attempt<T> = { value: T; reason?: never } | { value?: never; reason: string };

/** A value, or the reason why there is none; an ended run still ends. */
export async function attempt<T>(view: View, wanted: Promise<T>): Promise<Attempt<T>> {
  try {
    return { value: await wanted };
  } catch (error) {
    if (view.signal.aborted || isAbort(error)) throw error;
    return { reason: error instanceof Error ? error.message : String(error) };
  }
}
