// The page: sends photo and words to the server, and shows its answers.

import * as api from "./api.js";
import { Legend } from "./legend.js";
import { readLink, writeLink } from "./link.js";
import { Options } from "./options.js";
import { Pane } from "./pane.js";
import { acceptPhotos, showSamples } from "./photo.js";
import { Words } from "./words.js";

const SETTLE = 90; // milliseconds without a change before the server is asked
const LINK_PAUSE = 300; // milliseconds without a change before the address is updated
const by = (id) => document.getElementById(id);

let photo = null; // { blob or sample, name, image, width, height, bitmap }
let panes = []; // [{ key, pane, asking }]
let lit = null;
let uploading = null;
let resending = null;
let timer = 0;
let initial = {};

const options = new Options(
  () => later(SETTLE),
  () => {
    remember();
    draw();
  },
);
const words = new Words(by("chips"), by("word"), by("add"), () => later(0));
const legend = new Legend(by("legend"), (index) => {
  lit = index;
  draw();
});

function say(sentence) {
  by("status").textContent = sentence;
}

function fail(problem) {
  if (problem.name === "AbortError" || problem.status === 409) return;
  by("error-text").textContent = problem.message;
  by("error").hidden = false;
  say("");
}

function later(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(ask, milliseconds);
}

// Shows a new photo, and cancels what is being computed for the previous one.
async function take(next) {
  by("error").hidden = true;
  uploading?.abort();
  uploading = new AbortController();
  for (const entry of panes) entry.asking?.abort();
  say("Reading the photo …");
  try {
    photo = await uploaded(next, uploading.signal);
  } catch (problem) {
    return fail(problem);
  }
  by("drop").hidden = true;
  by("panes").hidden = by("another").hidden = false;
  for (const button of by("samples").children)
    button.setAttribute("aria-pressed", String(button.dataset.sample === photo.sample));
  for (const entry of panes) entry.pane.show(photo);
  await ask();
}

async function uploaded(next, signal) {
  const { image, preview } = await api.upload(next, signal);
  const bitmap = await api.picture(preview.data, preview.type);
  signal.throwIfAborted();
  return { ...next, image, width: preview.width, height: preview.height, bitmap };
}

// Calls `request` with the name of the photo, and again with a new name if the server no longer has the photo.
async function withPhoto(request) {
  const { image } = photo;
  try {
    return await request(image);
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    if (photo.image === image) await (resending ??= resend()); // once for both panes
    return request(photo.image);
  }
}

async function resend() {
  try {
    photo = await uploaded(photo, uploading.signal);
  } finally {
    resending = null;
  }
}

// Makes one pane for each shown model.
function arrange() {
  const keys = options.shown;
  if (keys.join() !== panes.map((entry) => entry.key).join()) {
    for (const entry of panes) entry.asking?.abort();
    panes = keys.map((key) => ({ key, pane: new Pane(point), asking: null }));
    by("panes").replaceChildren(...panes.map((entry) => entry.pane.element));
    if (photo) for (const entry of panes) entry.pane.show(photo);
  }
  by("panes").classList.toggle("two", keys.length > 1);
  for (const entry of panes) entry.pane.title.textContent = keys.length > 1 ? titleOf(entry.key) : "";
}

const titleOf = (key) => options.models.find((model) => model.key === key).title;

async function ask() {
  clearTimeout(timer);
  arrange();
  remember();
  if (!photo) return;
  if (!words.words.length) {
    for (const entry of panes) {
      entry.asking?.abort();
      entry.pane.answer = null;
    }
    say("Add at least one word.");
    return refresh();
  }
  by("error").hidden = true;
  draw();
  say("Segmenting …");
  const asked = panes;
  await Promise.all(asked.map(askOne));
  if (asked === panes) refresh();
}

async function askOne(entry) {
  entry.asking?.abort();
  const asking = (entry.asking = new AbortController());
  entry.pane.element.classList.add("busy");
  try {
    entry.pane.answer = await answerOf(entry.key, asking.signal);
    const { seconds, encoded } = entry.pane.answer;
    say(`${encoded ? `Encoded in ${time(seconds.encode)}, words` : "Words"} in ${time(seconds.decode)}.`);
  } catch (problem) {
    fail(problem); // the previous answer stays
  } finally {
    if (entry.asking === asking) entry.pane.element.classList.remove("busy");
  }
}

async function answerOf(key, signal) {
  const answer = await withPhoto((image) => api.segment({ image, ...questionTo(key) }, signal));
  answer.mask = await api.inflate(answer.mask);
  answer.confidence = await api.inflate(answer.confidence);
  for (const word of answer.classes) word.tagged = word.unseen && answer.facts.knows_seen;
  signal.throwIfAborted();
  return answer;
}

const questionTo = (key) => ({ words: words.text, model: key, ...options.question });

const time = (seconds) => (seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`);

function refresh() {
  const answered = panes.filter((entry) => entry.pane.answer);
  for (const id of ["save-mask", "save-overlay", "save-json"]) by(id).disabled = !answered.length;
  legend.show(answered.map(({ key, pane }) => ({ title: panes.length > 1 ? titleOf(key) : "", answer: pane.answer })));
  const first = panes[0].pane.answer;
  if (first) options.facts(first.facts, first.grid);
  if (legend.kept === null && !by("legend").contains(document.activeElement)) lit = null;
  draw();
}

let drawing = 0;
function draw() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(() => {
    if (photo) for (const { pane } of panes) pane.draw({ ...options.drawing, lit });
  });
}

function point(place) {
  for (const { pane } of panes) pane.point(place);
}

function state() {
  return { words: words.text, sample: photo?.sample ?? "", ...options.texts };
}

// After a pause, since browsers limit how often a page may change its address.
let remembering = 0;
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => writeLink(state(), initial), LINK_PAUSE);
}

async function save(form) {
  const endings = { mask: ".png", overlay: ".overlay.png", json: ".json" };
  const { opacity, outlines } = options.drawing;
  const question = { ...questionTo(panes[0].key), form, opacity, outlines };
  try {
    const blob = await withPhoto((image) => api.download({ image, ...question }));
    const anchor = document.createElement("a");
    anchor.href = URL.createObjectURL(blob);
    anchor.download = photo.name.replace(/\.[^.]*$/, "") + endings[form];
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
  } catch (problem) {
    fail(problem);
  }
}

async function copyLink() {
  writeLink(state(), initial);
  try {
    await navigator.clipboard.writeText(location.href);
    say("Link copied.");
  } catch {
    say("Copy the link from the address bar.");
  }
}

async function start() {
  const given = readLink();
  const info = await api.info();
  by("version").textContent = info.version;
  by("note").textContent = info.start.note;
  by("note").hidden = !info.start.note;
  options.start(info);
  initial = { words: info.start.words.join(","), sample: "", ...options.texts };
  options.set(given);
  words.set((given.words ?? initial.words).split(","));
  legend.show([]);
  arrange();
  acceptPhotos(by("stage"), by("file"), info.limits, take, (sentence) => fail({ message: sentence }));
  for (const form of ["mask", "overlay", "json"]) by(`save-${form}`).addEventListener("click", () => save(form));
  by("link").addEventListener("click", copyLink);
  by("dismiss").addEventListener("click", () => (by("error").hidden = true));
  addEventListener("resize", draw);
  await showSamples(by("samples"), info.samples, take);
  by("sample-row").hidden = !info.samples.length;
  const sample = info.samples.find(({ name }) => name === given.sample) ?? (info.start.sample ? info.samples[0] : null);
  if (sample) await take({ sample: sample.name, name: sample.name });
}

start().catch(fail);
