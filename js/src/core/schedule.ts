// Many requests, one run in the next animation frame.

/** Returns a function that runs `work` once in the next frame, however often it is called. */
export function perFrame(work: () => void, signal: AbortSignal): () => void {
  let scheduled = false;
  return () => {
    if (scheduled || signal.aborted) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      if (!signal.aborted) work();
    });
  };
}
