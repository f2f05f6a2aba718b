// Returns the texts of the page whose contrast is below 4.5, the limit of WCAG AA, with their contrast.
() => {
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const light = (rgb) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (item) => {
    for (; item; item = item.parentElement) {
      const colour = parse(getComputedStyle(item).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
  };
  const low = [];
  for (const item of document.querySelectorAll("body *")) {
    const says = [...item.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!says || !item.offsetParent) continue;
    if (item.closest("[disabled], .off, noscript")) continue;
    const [a, b] = [light(parse(getComputedStyle(item).color)), light(ground(item))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push([item.textContent, (a + 0.05) / (b + 0.05)]);
  }
  return low;
}
