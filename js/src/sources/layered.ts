import { isAbort, type Source } from "./source.ts";

/** Ask the sources in turn: the first that has the block, else the last one. */
export function layered(...sources: Source[]): Source {
  return {
    has: (key) => sources.some((source) => source.has(key)),
    async get(key, signal, progress) {
      const last = sources.at(-1)!;
      for (const source of sources) {
        if (source !== last && source.has(key)) {
          try {
            return await source.get(key, signal, progress);
          } catch (error) {
            if (isAbort(error)) throw error;
          }
        }
      }
      return last.get(key, signal, progress);
    },
  };
}
