// Blocks that the picture does not wait for: drawn again once they are there.

import type { Key } from "../../contract/contract.ts";
import { attempt, type Got, LOADING, type Load } from "../../core/load.ts";
import type { Store } from "../../core/store.ts";

/** What is there of a block; asks for it the first time, and calls `arrived` when it comes. */
export function aside(store: Store, signal: AbortSignal, arrived: () => void): Got {
  const loads = new Map<string, Load<unknown>>();
  return <T>(key: Key<T>): Load<T> => {
    const known = loads.get(key) as Load<T> | undefined;
    if (known) return known;
    loads.set(key, LOADING);
    attempt({ signal }, store.block(key, signal))
      .then((load) => {
        loads.set(key, load);
        arrived();
      })
      .catch(() => {}); // the panel is gone
    return LOADING;
  };
}
