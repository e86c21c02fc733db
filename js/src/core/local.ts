// State of a page, without a kernel behind it.

import type { Model } from "./store.ts";

export function localModel(state: Record<string, unknown>): Model {
  const events = new EventTarget();
  return {
    get: (name) => state[name],
    set(name, value) {
      state[name] = value;
      events.dispatchEvent(new Event(`change:${name}`));
    },
    save_changes() {},
    on: (event, callback) => events.addEventListener(event, callback),
    off: (event, callback) => events.removeEventListener(event, callback),
  };
}
