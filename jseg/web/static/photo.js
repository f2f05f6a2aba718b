// Photos from the file dialog, by drag and drop, from the clipboard, and samples.

import { picture } from "./api.js";

// Calls `take({ blob, name })` with a photo, or `refuse(sentence)` with the reason why it cannot be used.
export function acceptPhotos(stage, input, limits, take, refuse) {
  const offer = (file) => {
    if (!file) return refuse("No file was dropped. Save the image as a file first.");
    if (file.type && !file.type.startsWith("image/")) return refuse(`${file.name} is not a JPEG, PNG or WebP image.`);
    if (file.size > limits.image_bytes)
      return refuse(`${file.name} is larger than ${Math.round(limits.image_bytes / 2 ** 20)} MB.`);
    return take({ blob: file, name: file.name });
  };
  const highlight = (on) => {
    for (const box of stage.querySelectorAll(".drop, .panes")) box.classList.toggle("over", on);
  };
  input.addEventListener("change", () => {
    if (input.files.length) offer(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  for (const event of ["dragover", "dragenter"])
    document.addEventListener(event, (drag) => {
      drag.preventDefault();
      highlight(true);
    });
  document.addEventListener("dragleave", (drag) => drag.relatedTarget ?? highlight(false));
  document.addEventListener("drop", (drop) => {
    drop.preventDefault();
    highlight(false);
    offer(drop.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (paste) => {
    const file = [...paste.clipboardData.files].find((item) => item.type.startsWith("image/"));
    if (file) {
      paste.preventDefault();
      offer(file);
    }
  });
}

export async function showSamples(row, samples, take) {
  for (const { name, data } of samples) {
    const button = document.createElement("button");
    const canvas = document.createElement("canvas");
    const bitmap = await picture(data, "image/png");
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    button.type = "button";
    button.dataset.sample = name;
    button.setAttribute("aria-label", `Sample ${name.replace("_", " ")}`);
    button.append(canvas);
    button.addEventListener("click", () => take({ sample: name, name }));
    row.append(button);
  }
}
