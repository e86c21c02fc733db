// The width that an element has, measured anew only where it has changed: measuring in the middle of
// drawing has the page laid out each time.

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
