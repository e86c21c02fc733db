// Panels follow the theme of the page that they stand in.
const dark = matchMedia("(prefers-color-scheme: dark)");
function follow() {
  const chosen = document.body.dataset.theme;
  const theme = chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light";
  for (const frame of document.querySelectorAll("figure.panels iframe")) {
    frame.style.colorScheme = theme;
  }
}
new MutationObserver(follow).observe(document.body, { attributeFilter: ["data-theme"] });
dark.addEventListener("change", follow);
follow();
