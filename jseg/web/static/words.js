// The list of words, and the input for new ones, which splits at commas.

const tidy = (text) =>
  text
    .split("|")
    .map((part) => part.trim())
    .filter(Boolean)
    .join("|");

export class Words {
  constructor(list, input, add, changed) {
    this.list = list;
    this.input = input;
    this.changed = changed;
    this.words = [];
    input.addEventListener("keydown", (event) => this.key(event));
    input.addEventListener("input", () => input.value.includes(",") && this.commit());
    input.addEventListener("change", () => this.commit());
    add.addEventListener("click", () => {
      this.commit();
      input.focus();
    });
  }

  // The words as one string for the server, with commas between words and | between synonyms.
  get text() {
    return this.words.join(",");
  }

  set(words) {
    this.words = [];
    this.take(words);
    this.draw();
  }

  take(words) {
    const before = this.words.length;
    for (const word of words.map(tidy))
      if (word && !this.words.includes(word)) this.words.push(word);
    return this.words.length > before;
  }

  commit() {
    const more = this.take(this.input.value.split(","));
    this.input.value = "";
    if (more) this.update();
  }

  key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      this.commit();
    } else if (event.key === "Backspace" && !this.input.value && this.words.length) {
      event.preventDefault();
      this.edit(this.words.length - 1);
    }
  }

  // Moves a word back into the input.
  edit(index) {
    const [word] = this.words.splice(index, 1);
    this.take(this.input.value.split(","));
    this.input.value = word.replaceAll("|", " | ");
    this.draw();
    this.input.focus();
    this.changed();
  }

  remove(index) {
    this.words.splice(index, 1);
    this.update();
    const next = this.list.children[Math.min(index, this.words.length - 1)];
    (next?.lastElementChild ?? this.input).focus();
  }

  update() {
    this.draw();
    this.changed();
  }

  draw() {
    this.list.replaceChildren(
      ...this.words.map((word, index) => {
        const chip = document.createElement("li");
        const text = document.createElement("button");
        const cross = document.createElement("button");
        chip.className = "chip";
        text.type = cross.type = "button";
        text.textContent = word.replaceAll("|", " | ");
        text.title = "Edit";
        text.setAttribute("aria-label", `Edit ${text.textContent}`);
        cross.textContent = "×";
        cross.setAttribute("aria-label", `Remove ${text.textContent}`);
        text.addEventListener("click", () => this.edit(index));
        cross.addEventListener("click", () => this.remove(index));
        chip.append(text, cross);
        return chip;
      }),
    );
  }
}
