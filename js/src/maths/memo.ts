// What was made last, for as long as what it was made of stays the same.

export type Memo<T> = (parts: readonly unknown[], make: () => T) => T;

export function memo<T>(): Memo<T> {
  let last: { parts: readonly unknown[]; made: T } | null = null;
  return (parts, make) => {
    if (
      !last ||
      parts.length !== last.parts.length ||
      parts.some((part, i) => part !== last!.parts[i])
    ) {
      last = { parts, made: make() };
    }
    return last.made;
  };
}

/** What is made when it is first asked for. */
export function once<T extends object>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
