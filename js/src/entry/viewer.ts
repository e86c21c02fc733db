// A page without models that shows recordings.

import { recordings, showRecording } from "../ask/opened.ts";
import { h } from "../draw/dom.ts";

const { signal } = new AbortController();
const dark = matchMedia("(prefers-color-scheme: dark)");
const said = h("p", { class: "tl-ask-said tl-aside", role: "status" });
const say = (text: string, failed: boolean) => {
  said.textContent = text;
  said.classList.toggle("tl-ask-failed", failed);
  said.setAttribute("role", failed ? "alert" : "status");
};
const panels = h("main", {});
let ending = new AbortController();
const opener = recordings(
  (recording) => {
    ending.abort();
    ending = new AbortController();
    void showRecording(recording, "auto", panels, ending.signal);
  },
  say,
  signal,
);
const root = h(
  "div",
  { class: "twinlens tl-ask-root", "data-theme": dark.matches ? "dark" : "light" },
  h("div", { class: "tl-content" }, h("div", { class: "tl-flow tl-ask-row" }, opener, said)),
);
dark.addEventListener("change", () => {
  root.dataset.theme = dark.matches ? "dark" : "light";
});
say("Drop a recording (.twl) anywhere on this page. It is read here and goes nowhere.", false);
document.body.classList.add("twinlens-page");
document.body.append(root, panels);
