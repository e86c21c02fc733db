// The report's page: tables that sort, numbers that lead to their cases, cases that open.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("study-data").textContent);
  const body = document.querySelector("#cases tbody");
  const rows = [...body.rows];
  const note = document.getElementById("filter-note");
  const clear = document.getElementById("clear");
  const host = document.getElementById("case");
  let source = null;
  let own = false;

  // Sorting: numbers by data-v, texts by their words; a second click turns the order round.
  for (const head of document.querySelectorAll("th button")) {
    head.addEventListener("click", () => {
      const cell = head.closest("th");
      const table = cell.closest("table");
      const down = cell.getAttribute("aria-sort") === "ascending";
      for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const column = cell.cellIndex;
      const part = table.tBodies[0];
      const keyed = [...part.rows].map((row, place) => [key(row.cells[column]), place, row]);
      keyed.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])) || a[1] - b[1]);
      part.append(...keyed.map((entry) => entry[2]));
    });
  }

  function key(cell) {
    const value = cell.dataset.v;
    if (value === undefined) return cell.textContent.trim();
    return value === "" ? Number.NEGATIVE_INFINITY : Number(value);
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }

  // A number leads to its cases; so does a selection in the scatters.
  function show(chosen, words) {
    const set = chosen === null ? null : new Set(chosen);
    for (const row of rows) row.hidden = set !== null && !set.has(Number(row.dataset.case));
    note.textContent =
      set === null ? `All ${rows.length} prompts.` : `${words}: ${set.size} of ${rows.length} prompts.`;
    clear.hidden = set === null;
  }

  function select(chosen) {
    if (!source) return;
    own = true;
    source.selected.indices = chosen ?? [];
    own = false;
  }

  document.addEventListener("click", (event) => {
    const number = event.target.closest("button[data-set]");
    if (!number) return;
    const chosen = data.sets[Number(number.dataset.set)];
    show(chosen, number.dataset.words);
    select(chosen);
    document.getElementById("cases-title").scrollIntoView({ block: "start" });
  });
  clear.addEventListener("click", () => {
    show(null);
    select(null);
  });

  // A case opens in the saliency panel, which runs in a frame of its own.
  body.addEventListener("click", (event) => {
    const row = event.target.closest("button.open")?.closest("tr");
    if (row) open(row);
  });

  async function open(row) {
    for (const other of rows) other.removeAttribute("aria-current");
    row.setAttribute("aria-current", "true");
    const packed = data.panels[Number(row.dataset.case)];
    const title = document.createElement("h3");
    title.textContent = `Case ${row.dataset.id}`;
    if (!packed) {
      const text = document.createElement("p");
      text.textContent = "Its saliency was left out to keep the page small; open it from Python with trace().";
      host.replaceChildren(title, text);
      return;
    }
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const [page, blocks] = JSON.parse(await new Response(stream).text());
    const shell = document.getElementById("panel-shell").textContent;
    const script = document.getElementById("panel-script").textContent;
    const frame = document.createElement("iframe");
    frame.title = `Saliency of case ${row.dataset.id}`;
    // Functions, because a replacement text would have its dollar signs interpreted.
    frame.srcdoc = JSON.parse(shell)
      .replace("%PAGE%", () => page)
      .replace("%BLOCKS%", () => blocks)
      .replace("%SCRIPT%", () => JSON.parse(script));
    host.replaceChildren(title, frame);
    frame.scrollIntoView({ block: "nearest" });
  }

  // Figures; the scatters share one source, which is named "cases".
  async function draw() {
    for (const [id, item] of Object.entries(data.figures)) {
      await Bokeh.embed.embed_item(item, id);
      const found = Bokeh.documents.at(-1).get_model_by_name("cases");
      if (found) source = found;
    }
    source?.selected.change.connect(() => {
      if (own) return;
      const chosen = source.selected.indices;
      show(chosen.length ? [...chosen] : null, "Selected in the figure");
    });
    document.body.dataset.state = "ready";
  }

  show(null);
  draw().catch((error) => {
    document.body.dataset.state = "error";
    note.textContent = `The figures could not be drawn: ${error}`;
  });
})();
