// What lies in a page in packed form: base64 of gzip.

/** The bytes, as the body of a response. */
export function unpacked(text: string): Response {
  const bytes = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}
