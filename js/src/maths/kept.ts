// What was made last, for as long as what it was made of stays the same.

export type Kept<T> = (of: readonly unknown[], make: () => T) => T;

export function kept<T>(): Kept<T> {
  let last: { of: readonly unknown[]; made: T } | null = null;
  return (of, make) => {
    if (!last || of.length !== last.of.length || of.some((one, i) => one !== last!.of[i])) {
      last = { of, made: make() };
    }
    return last.made;
  };
}
