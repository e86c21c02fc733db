// Panels have the theme of the page that they stand in.
const dark = matchMedia("(prefers-color-scheme: dark)");
const frames = document.querySelectorAll("figure.panels iframe");
function tell() {
  const chosen = document.body.dataset.theme;
  const theme = chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light";
  for (const frame of frames) frame.contentWindow.postMessage({ theme }, "*");
}
addEventListener("message", ({ data }) => data?.twinlens === "theme" && tell());
new MutationObserver(tell).observe(document.body, { attributeFilter: ["data-theme"] });
dark.addEventListener("change", tell);
