import { describe, expect, it, vi } from "vitest";
import { changedOptions, OPTIONS, optionsFrom } from "../../src/core/options.ts";
import { Store } from "../../src/core/store.ts";
import { FakeModel, manifest, source } from "../fixture.ts";

const make = (model: FakeModel) =>
  new Store(model, source(manifest()), new AbortController().signal);

describe("options", () => {
  it("are kept as far as they are not those of the start", () => {
    expect(changedOptions(OPTIONS)).toEqual({});
    const density = { ...OPTIONS.saliency.density, threshold: 3 };
    const options = {
      ...OPTIONS,
      saliency: { ...OPTIONS.saliency, density },
      heads: { ...OPTIONS.heads, tab: "effects" as const },
    };
    const kept = { saliency: { density }, heads: { tab: "effects" } };
    expect(changedOptions(options)).toEqual(kept);
    expect(optionsFrom(JSON.parse(JSON.stringify(kept)))).toEqual(options);
  });

  it("pass over what is unknown or of another type", () => {
    const kept = { heads: { tab: 3, colour: "red" }, saliency: { hideTemplate: true }, map: {} };
    const wanted = { ...OPTIONS, saliency: { ...OPTIONS.saliency, hideTemplate: true } };
    expect(optionsFrom(kept)).toEqual(wanted);
  });

  it("go to the model and come from it", async () => {
    const model = new FakeModel(manifest(), { view: { heads: { view: "list" } } });
    const store = make(model);
    expect(store.options.heads.view).toBe("list");
    store.setOptions("concepts", { tab: "neurons" });
    expect(model.get("view")).toEqual({ heads: { view: "list" }, concepts: { tab: "neurons" } });
    expect(model.saved).toBe(1);
    store.setOptions("concepts", { tab: "neurons" });
    expect(model.saved).toBe(1);
    const listener = vi.fn();
    store.subscribe(listener, new AbortController().signal);
    model.set("view", {});
    await vi.waitFor(() => expect(listener).toHaveBeenCalledTimes(1));
    expect(store.options).toEqual(OPTIONS);
  });
});
