// Keys of blocks with the update times a scale, as in Python.

/** Of a key of any block. */
export function dialled(key: string, scale: number): string {
  return `dial/${scale}/${key}`;
}

/** What stands behind the scale. */
export function undialled(key: string): string {
  return key.replace(/^dial\/[^/]*\//, "");
}
