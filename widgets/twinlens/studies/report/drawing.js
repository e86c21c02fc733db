// Draws every figure, then puts all of them as SVG and PNG into the page, for --dump-dom.
(async () => {
  "use strict";
  const data = JSON.parse(document.getElementById("figures").textContent);
  const [[docid]] = Object.entries(data.documents);
  const roots = {};
  for (const [name, id] of Object.entries(data.roots)) {
    const place = document.querySelector(`[data-figure="${name}"]`);
    place.id = id;
    roots[id] = place.id;
  }
  const [views] = await Bokeh.embed.embed_items(data.documents, [{ docid, roots, root_ids: Object.values(data.roots) }]);
  const drawn = [];
  for (const [name, id] of Object.entries(data.roots)) {
    const view = [...views.roots].find((root) => root.model.id === id);
    while (!(view.bbox.width > 0 && view.bbox.height > 0)) await new Promise((done) => setTimeout(done, 20));
    const svg = await (await view.export("svg").to_blob()).text();
    const png = view.export("png").canvas.toDataURL("image/png").split(",")[1];
    drawn.push([name, svg, png]);
  }
  const place = document.createElement("pre");
  place.id = "drawn";
  const bytes = new TextEncoder().encode(JSON.stringify(drawn));
  place.textContent = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  document.body.replaceChildren(place);
})();
