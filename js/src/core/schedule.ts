// Many requests, one run: in the next animation frame, or once there is time.

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

/**
 * Returns a function that has `work` done once the page is painted and nothing else waits: the
 * newest only, and as it was asked for.
 */
export function whenIdle(signal: AbortSignal): (work: () => void) => void {
  let newest: (() => void) | null = null;
  const run = () => {
    const work = newest;
    newest = null;
    if (!signal.aborted) work?.();
  };
  return (work) => {
    if (!newest) onIdle(run);
    newest = work;
  };
}

/** Run once nothing else waits; not in Safari yet. */
export const onIdle: (run: () => void) => void =
  "requestIdleCallback" in globalThis
    ? (run) => requestIdleCallback(run, { timeout: 200 })
    : (run) => setTimeout(run, 50);
