// Keys of blocks with the update, or a part of it, times a scale, as in Python.

/** A place of the dial: of all of the update, or of a part such as `layer:3`. */
export function placeOf(scale: number, part: string): string {
  return part ? `${scale}@${part}` : `${scale}`;
}

/** Of a key of any block. */
export function dialled(key: string, place: string): string {
  return `dial/${place}/${key}`;
}

/** What stands behind the scale. */
export function undialled(key: string): string {
  return key.replace(/^dial\/[^/]*\//, "");
}
