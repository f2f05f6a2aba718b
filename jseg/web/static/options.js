// Models, sliders and check boxes: their values as texts for the link, and as numbers for questions.

const REGIONS = [1, 4, 16, 64, 256];
const by = (id) => document.getElementById(id);

export class Options {
  // `ask()` is called if the server must answer again, `draw()` if only the drawing changes.
  constructor(ask, draw) {
    this.bias = null; // null: the default of the model
    this.models = [];
    this.initial = {};
    for (const id of ["opacity", "outlines", "grid"]) by(id).addEventListener("input", () => this.changed(draw));
    for (const id of ["threshold", "background", "model", "compare", "regions"])
      by(id).addEventListener("input", () => this.changed(ask));
    by("bias").addEventListener("input", () => {
      this.bias = Number(by("bias").value);
      this.changed(ask);
    });
    by("reset").addEventListener("click", () => {
      this.set(this.initial);
      this.changed(ask);
    });
  }

  start(info) {
    this.models = info.models;
    by("model").replaceChildren(...info.models.map((model) => new Option(model.title, model.key)));
    by("compare-field").hidden = info.models.length < 2;
    by("threshold").value = info.start.threshold;
    this.facts(info.models[0].facts, null);
    this.initial = this.texts;
    this.changed(() => {});
  }

  // Shows the properties of the selected model: its bias, and its possible numbers of regions.
  facts(facts, grid) {
    if (!facts) return;
    const select = by("regions");
    const chosen = select.value;
    const own = facts.num_regions;
    select.replaceChildren(
      new Option(own ? `as trained (${own})` : "none", ""),
      ...REGIONS.filter((count) => own && count !== own).map((count) => new Option(count, count)),
    );
    for (const option of select.options)
      option.disabled = option.value !== "" && (facts.fixed_regions || (grid && Math.sqrt(option.value) > Math.min(...grid)));
    select.value = chosen;
    if (select.selectedIndex < 0) select.value = "";
    select.disabled = !own;
    by("regions-field").classList.toggle("off", !own);
    by("bias").disabled = !facts.knows_seen;
    by("bias-field").classList.toggle("off", !facts.knows_seen);
    if (this.bias === null) by("bias").value = facts.seen_bias;
    this.outputs();
  }

  changed(then) {
    this.outputs();
    then();
  }

  outputs() {
    for (const output of document.querySelectorAll("output")) {
      const slider = by(output.htmlFor[0]);
      const own = slider.id === "bias" && this.bias === null ? " (default)" : "";
      output.textContent = Number(slider.value).toFixed(2) + own;
    }
  }

  get texts() {
    const state = {};
    for (const id of ["model", "opacity", "threshold", "background", "regions"]) state[id] = by(id).value;
    for (const id of ["compare", "outlines", "grid"]) state[id] = by(id).checked ? "1" : "0";
    state.bias = this.bias === null ? "" : String(this.bias);
    return state;
  }

  // Sets the values of a link. Unknown and impossible ones are ignored.
  set(state) {
    for (const id of ["model", "opacity", "threshold", "background", "regions"]) {
      if (!(id in state)) continue;
      const before = by(id).value;
      by(id).value = state[id];
      if (by(id).selectedIndex === -1) by(id).value = before;
    }
    for (const id of ["compare", "outlines", "grid"]) if (id in state) by(id).checked = state[id] === "1";
    const bias = state.bias ? Number(state.bias) : NaN;
    this.bias = Number.isFinite(bias) ? bias : null;
    if (this.bias !== null) by("bias").value = this.bias;
    else by("bias").value = this.models[0]?.facts?.seen_bias ?? 0;
    this.outputs();
  }

  // Keys of the shown models: the selected one, and the next one to compare with.
  get shown() {
    const keys = this.models.map((model) => model.key);
    const at = Math.max(0, keys.indexOf(by("model").value));
    return by("compare").checked && keys.length > 1 ? [keys[at], keys[(at + 1) % keys.length]] : [keys[at]];
  }

  get question() {
    return {
      background: by("background").value,
      threshold: Number(by("threshold").value),
      seen_bias: this.bias,
      num_regions: by("regions").value === "" ? null : Number(by("regions").value),
    };
  }

  get drawing() {
    return { opacity: Number(by("opacity").value), outlines: by("outlines").checked, grid: by("grid").checked };
  }
}
