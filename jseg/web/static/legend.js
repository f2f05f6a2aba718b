// The words with their colours and areas. Pointing at a word highlights it in the photo, and a click keeps it highlighted.

import { percent } from "./pane.js";

export class Legend {
  // `light(index or null)` is called with the word to highlight.
  constructor(box, light) {
    this.box = box;
    this.light = light;
    this.kept = null;
  }

  // answers: [{ title, answer }], one for each model.
  show(answers) {
    const focused = document.activeElement?.dataset?.word;
    if (!answers[0]?.answer.classes.some((word) => word.index === this.kept)) this.kept = null;
    this.box.replaceChildren(...answers.map(({ title, answer }) => this.table(title, answer)));
    if (!answers.length) {
      const hint = document.createElement("p");
      hint.className = "hint";
      hint.textContent = "Nothing yet. Choose a photo and add words.";
      this.box.append(hint);
    }
    if (focused) this.box.querySelector(`button[data-word="${CSS.escape(focused)}"]`)?.focus();
  }

  table(title, answer) {
    const table = document.createElement("table");
    table.className = "legend";
    if (title) table.createCaption().textContent = title;
    const head = table.createTHead().insertRow();
    for (const name of ["word", "area", "score"]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      head.append(cell);
    }
    const body = table.createTBody();
    const order = [...answer.classes].sort((a, b) => b.pixels - a.pixels);
    for (const word of order) this.row(body, word);
    const nothing = body.insertRow();
    nothing.className = "none";
    nothing.append(document.createElement("th"));
    nothing.cells[0].scope = "row";
    nothing.cells[0].textContent = "nothing";
    nothing.insertCell().textContent = percent(answer.nothing.share);
    nothing.insertCell();
    return table;
  }

  row(body, word) {
    const row = body.insertRow();
    if (!word.pixels) row.className = "none";
    const name = document.createElement("th");
    const button = document.createElement("button");
    const swatch = document.createElement("span");
    name.scope = "row";
    button.type = "button";
    button.dataset.word = word.name;
    button.setAttribute("aria-pressed", String(this.kept === word.index));
    swatch.className = "swatch";
    swatch.style.background = `rgb(${word.colour})`;
    button.append(swatch, word.name);
    if (word.tagged) {
      const tag = document.createElement("span");
      tag.className = "tag";
      tag.textContent = "unseen";
      tag.title = "no masks in training";
      button.append(tag);
    }
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => this.light(word.index));
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => this.light(this.kept));
    button.addEventListener("click", () => {
      this.kept = this.kept === word.index ? null : word.index;
      for (const other of this.box.querySelectorAll("button"))
        other.setAttribute("aria-pressed", String(other.dataset.word === word.name && this.kept !== null));
      this.light(this.kept ?? null);
    });
    name.append(button);
    row.append(name);
    row.insertCell().textContent = percent(word.share);
    row.insertCell().textContent = word.confidence === null ? "–" : percent(word.confidence);
  }
}
