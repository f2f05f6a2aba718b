// Draws masks over a photo as `jseg segment` does: colours over grey values, white lines with a dark rim.

const RIM = 0.45;
const DIMMED = 0.12; // factor of the opacity of words that are not highlighted

// Returns the outlines of labels (w x h) at `scale` times the size: 2 on a line, 1 on its rim, 0 elsewhere.
export function outlines(label, w, h, scale) {
  const W = w * scale;
  const H = h * scale;
  const lines = new Uint8Array(W * H);
  const mark = (x, y) => {
    if (x >= 0 && y >= 0 && x < W && y < H) lines[y * W + x] = 2;
  };
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const here = label[y * w + x];
      if (x && here !== label[y * w + x - 1])
        for (let i = 0; i < scale; i++) {
          mark(x * scale - 1, y * scale + i);
          mark(x * scale, y * scale + i);
        }
      if (y && here !== label[(y - 1) * w + x])
        for (let i = 0; i < scale; i++) {
          mark(x * scale + i, y * scale - 1);
          mark(x * scale + i, y * scale);
        }
    }
  for (let at = 0; at < lines.length; at++) {
    if (lines[at] !== 2) continue;
    const x = at % W;
    if (x > 0 && !lines[at - 1]) lines[at - 1] = 1;
    if (x < W - 1 && !lines[at + 1]) lines[at + 1] = 1;
    if (at >= W && !lines[at - W]) lines[at - W] = 1;
    if (at < lines.length - W && !lines[at + W]) lines[at + W] = 1;
  }
  return lines;
}

// Draws into `data`, RGBA at `scale` times w x h.
export function colourIn(data, mask, w, h, scale, classes, options) {
  const { opacity, lit } = options;
  const lines = options.outlines && opacity > 0 ? outlines(mask, w, h, scale) : null;
  const W = w * scale;
  for (let y = 0; y < h * scale; y++)
    for (let x = 0; x < W; x++) {
      const word = classes[mask[((y / scale) | 0) * w + ((x / scale) | 0)]];
      const at = y * W + x;
      const p = 4 * at;
      if (word && opacity > 0) {
        const alpha = lit === null || lit === word.index ? opacity : opacity * DIMMED;
        const grey = 0.299 * data[p] + 0.587 * data[p + 1] + 0.114 * data[p + 2];
        for (let c = 0; c < 3; c++) data[p + c] = alpha * word.colour[c] + (1 - alpha) * grey;
      }
      if (!lines || !lines[at]) continue;
      for (let c = 0; c < 3; c++) data[p + c] = lines[at] === 2 ? 255 : RIM * data[p + c];
    }
}

// Draws the grid of regions, each with its best word if there is space, otherwise with a dot in the colour of the word.
// `scale` is the size of a pixel of the page in pixels of the canvas.
export function drawRegions(context, regions, classes, scale) {
  const { width, height } = context.canvas;
  const cell = [width / regions.columns, height / regions.rows];
  const size = scale * Math.max(11, Math.min(16, cell[0] / scale / 6, cell[1] / scale / 3.4));
  context.font = `${size}px system-ui, "DejaVu Sans", sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  regions.best.forEach((index, place) => {
    const [x, y] = [(place % regions.columns) * cell[0], Math.floor(place / regions.columns) * cell[1]];
    context.strokeStyle = "rgba(0, 0, 0, 0.55)";
    context.lineWidth = 3 * scale;
    context.strokeRect(x, y, cell[0], cell[1]);
    context.strokeStyle = "#fff";
    context.lineWidth = scale;
    context.strokeRect(x, y, cell[0], cell[1]);
    const lines = [...fit(context, classes[index].name, cell[0] - 10 * scale), `${Math.round(100 * regions.probability[place])} %`];
    const box = [Math.max(...lines.map((line) => context.measureText(line).width)) + 8 * scale, lines.length * size * 1.2 + 4 * scale];
    const middle = [x + cell[0] / 2, y + cell[1] / 2];
    if (box[0] > cell[0] - 2 || box[1] > cell[1] - 2) {
      context.fillStyle = `rgb(${classes[index].colour})`;
      context.beginPath();
      context.arc(...middle, Math.max(3 * scale, Math.min(...cell) / 5), 0, 7);
      context.fill();
      context.stroke();
      return;
    }
    context.fillStyle = "rgba(255, 255, 255, 0.86)";
    context.fillRect(middle[0] - box[0] / 2, middle[1] - box[1] / 2, ...box);
    context.fillStyle = "#1b1f24";
    lines.forEach((line, i) => context.fillText(line, middle[0], middle[1] + (i - (lines.length - 1) / 2) * size * 1.2));
  });
}

// Breaks a name at spaces into lines that fit into a width.
function fit(context, name, width) {
  const lines = [];
  for (const word of name.split(" ")) {
    const joined = lines.length ? `${lines.at(-1)} ${word}` : word;
    if (lines.length && context.measureText(joined).width <= width) lines[lines.length - 1] = joined;
    else lines.push(word);
  }
  return lines;
}
