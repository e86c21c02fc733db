// The report's page: figures, tables that sort, numbers that lead to their cases, cases that open.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("study-data").textContent);
  const root = document.documentElement;
  const body = document.querySelector("#cases tbody");
  const rows = [...body.rows];
  const note = document.getElementById("filter-note");
  const clear = document.getElementById("clear");
  const host = document.getElementById("case");
  const themes = document.getElementById("theme");
  const THIS = 3; // column of what the number that was clicked is in each case
  const SCORES = [4, 5, 6]; // columns of base, tuned and their difference
  const original = rows.map((row) => SCORES.map((column) => row.cells[column].textContent));
  let views = null;
  let source = null;
  let own = false;
  let opened = null;

  // Sorting: numbers by data-v, texts by their words; a second click turns the order round.
  for (const head of document.querySelectorAll("th button")) {
    const cell = head.closest("th");
    head.addEventListener("click", () => sort(cell, cell.getAttribute("aria-sort") === "ascending"));
  }

  function sort(cell, down) {
    const table = cell.closest("table");
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    const column = cell.cellIndex;
    const part = table.tBodies[0];
    const keyed = [...part.rows].map((row, place) => [key(row.cells[column]), place, row]);
    keyed.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])) || a[1] - b[1]);
    part.append(...keyed.map((entry) => entry[2]));
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

  // Scores of every case under one change of settings; none for those of the tables.
  function rescore(variant) {
    for (const row of rows) {
      const place = Number(row.dataset.case);
      const values = variant && [variant.base[place], variant.tuned[place]];
      values?.push(values[1] - values[0]);
      SCORES.forEach((column, i) => {
        const cell = row.cells[column];
        const text = values ? values[i].toFixed(4) : original[place][i];
        cell.textContent = i === 2 && values && values[i] >= 0 ? `+${text}` : text;
        cell.dataset.v = values ? values[i] : Number(text.replace("−", "-"));
      });
    }
    if (!source) return;
    const value = (column) => rows.map((row) => [Number(row.dataset.case), Number(row.cells[column].dataset.v)]);
    const ordered = (column) => value(column).sort((a, b) => a[0] - b[0]).map((pair) => pair[1]);
    const [base, tuned, difference] = SCORES.map(ordered);
    source.data = { ...source.data, base, tuned, difference };
  }

  // A point of a profile is a mean: each case then shows its own value, largest first.
  function showParts(profile, part) {
    const head = body.parentElement.tHead.rows[0].cells[THIS];
    head.hidden = profile === undefined;
    for (const row of rows) {
      const value = profile?.[Number(row.dataset.case)]?.[part - 1];
      const cell = row.cells[THIS];
      cell.hidden = head.hidden;
      cell.textContent = value === undefined ? "" : value.toFixed(3);
      cell.dataset.v = value ?? "";
    }
    if (!head.hidden) sort(head, true);
    else if (head.hasAttribute("aria-sort")) sort(body.parentElement.tHead.rows[0].cells[0], false);
  }

  function select(chosen) {
    if (!source) return;
    own = true;
    source.selected.indices = chosen ?? [];
    own = false;
  }

  document.addEventListener("click", (event) => {
    const number = event.target.closest("button[data-set]");
    if (number) lead(number);
  });

  function lead(number) {
    const chosen = data.sets[Number(number.dataset.set)];
    const variant = data.variants[number.dataset.variant];
    const profile = data.profiles[number.dataset.profile];
    rescore(variant);
    showParts(profile, Number(number.dataset.part));
    show(chosen, number.dataset.words);
    if (variant) note.textContent += ` Scores are those under: ${variant.name}.`;
    if (profile) note.textContent += " The number is the mean of the column “this number”.";
    select(chosen);
    const title = document.getElementById("cases-title");
    title.scrollIntoView({ block: "start" });
    title.focus({ preventScroll: true });
  }

  clear.addEventListener("click", () => {
    rescore(undefined);
    showParts(undefined);
    show(null);
    select(null);
  });

  // A case opens in the saliency panel, which runs in a frame of its own.
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) open(row);
  });

  async function open(row) {
    opened = row;
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
    const [state, blocks] = JSON.parse(await new Response(stream).text());
    const themed = JSON.stringify({ ...state, theme: theme() }).replaceAll("<", "\\u003c");
    const template = document.getElementById("case-template").textContent;
    const frame = document.createElement("iframe");
    frame.title = `Saliency of case ${row.dataset.id}`;
    // Functions, because a replacement text would have its dollar signs interpreted.
    frame.srcdoc = JSON.parse(template)
      .replace("<!--state-->", () => themed)
      .replace("<!--blocks-->", () => blocks);
    frame.addEventListener("load", () => fit(frame));
    host.replaceChildren(title, frame);
    host.scrollIntoView({ block: "nearest" });
  }

  // The frame is as tall as what it shows, so that nothing scrolls inside it.
  function fit(frame) {
    const inner = frame.contentDocument?.body;
    if (!inner) return;
    new ResizeObserver(() => {
      const shown = inner.querySelector(".tl-content") ?? inner;
      frame.style.height = `${Math.max(320, shown.scrollHeight + 8)}px`;
    }).observe(inner.querySelector("main") ?? inner);
  }

  // Figures of one theme are one document; the scatters share the source "cases".
  const preference = matchMedia("(prefers-color-scheme: dark)");

  function theme() {
    return themes.value === "auto" ? (preference.matches ? "dark" : "light") : themes.value;
  }

  async function draw() {
    const { documents, roots: ids } = data.figures[theme()];
    views?.clear();
    const roots = {};
    for (const [name, id] of Object.entries(ids)) {
      const figure = document.querySelector(`figure[data-figure="${name}"]`);
      figure.querySelector(".plot")?.remove();
      const place = document.createElement("div");
      place.className = "plot";
      place.id = `plot-${name}`;
      figure.prepend(place);
      roots[id] = place.id;
    }
    const [docid] = Object.keys(documents);
    [views] = await Bokeh.embed.embed_items(documents, [{ docid, roots, root_ids: Object.values(ids) }]);
    const model = [...views.roots][0].model.document;
    source = model.get_model_by_name("cases");
    source.selected.change.connect(() => {
      if (own) return;
      const chosen = source.selected.indices;
      show(chosen.length ? [...chosen] : null, "Selected in the figure");
    });
    for (const { model: plot } of views.roots) {
      follow(plot, "variants", (marks, place) => {
        const figure = document.querySelector(`figure[data-figure="${plot.name}"]`);
        const lines = [...figure.previousElementSibling.querySelectorAll("tbody tr")];
        const row = lines.find((one) => one.cells[0].textContent === marks.variant[place]);
        return row?.cells[row.cells.length - 1].querySelector("button");
      });
      follow(plot, "profile", (marks, place) =>
        document.querySelector(`button[data-profile="${marks.profile[place]}"][data-part="${marks.part[place]}"]`),
      );
    }
    document.body.dataset.theme = theme();
  }

  // A mark in a figure does what its number in a table does.
  function follow(plot, name, numberOf) {
    // Bokeh's notifications are among the roots, too, and draw nothing.
    for (const marks of new Set(plot.renderers?.map((renderer) => renderer.data_source))) {
      if (marks?.name !== name) continue;
      marks.selected.change.connect(() => {
        const [place] = marks.selected.indices;
        const number = place === undefined ? null : numberOf(marks.data, place);
        if (number) lead(number);
      });
    }
  }

  // Every figure is saved as it is seen.
  for (const figure of document.querySelectorAll("figure[data-figure]")) {
    const caption = figure.querySelector("figcaption");
    for (const format of ["svg", "png"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "plain save";
      button.dataset.format = format;
      button.textContent = format.toUpperCase();
      button.setAttribute("aria-label", `Save figure ${figure.dataset.figure} as ${button.textContent}`);
      button.addEventListener("click", () => save(figure.dataset.figure, format));
      caption.append(" ", button);
    }
  }

  async function save(name, format) {
    const view = [...views.roots].find((one) => one.model.name === name);
    const blob = await view.export(format).to_blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${name}.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  async function restyle() {
    root.dataset.theme = themes.value;
    const chosen = source ? [...source.selected.indices] : [];
    const scores = source?.data;
    document.body.dataset.state = "loading";
    try {
      await draw();
      if (scores) {
        const { base, tuned, difference } = scores;
        source.data = { ...source.data, base, tuned, difference };
      }
      select(chosen);
      if (opened) await open(opened);
      document.body.dataset.state = "ready";
    } catch (error) {
      document.body.dataset.state = "error";
      note.textContent = `The figures could not be drawn: ${error}`;
    }
  }

  themes.addEventListener("change", restyle);
  preference.addEventListener("change", () => themes.value === "auto" && restyle());
  show(null);
  restyle();
})();
