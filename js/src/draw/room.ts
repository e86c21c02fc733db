// Sizes of elements, and when they change.

/** Call `work` where an element has another size. */
export function onResize(el: Element, signal: AbortSignal, work: ResizeObserverCallback): void {
  const resized = new ResizeObserver(work);
  resized.observe(el);
  signal.addEventListener("abort", () => resized.disconnect());
}

/** The width, measured anew only where it has changed: measuring has the page laid out. */
export function widthOf(el: Element, signal: AbortSignal): () => number {
  let width = -1;
  const resized = new ResizeObserver(() => {
    width = -1;
  });
  signal.addEventListener("abort", () => resized.disconnect());
  return () => {
    if (width <= 0) {
      width = el.clientWidth;
      resized.observe(el);
    }
    return width;
  };
}
