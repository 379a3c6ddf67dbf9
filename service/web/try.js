/** Try: an image in, the answers of one network or of all side by side. */

import { point } from "./address.js";
import { answerCard } from "./answer.js";
import { ask } from "./api.js";
import { ALL, chosen } from "./chosen.js";
import { classify } from "./classify.js";
import { Crop, cropped } from "./crop.js";
import { el } from "./dom.js";
import { explain } from "./errors.js";
import { openImages } from "./images/collection.js";
import { dropped } from "./images/files.js";
import { Overview } from "./overview.js";
import { drawingPad } from "./pad.js";
import { followServed } from "./served.js";
import { snippetCard } from "./snippets.js";
import { summarize } from "./summary.js";
import { webcamButton } from "./webcam.js";

const SAMPLES = ["seven", "three", "eight", "ring", "blocks", "sunset"];

const sampleUrl = (name) => `web/samples/${name}.png`;

const NARROW = matchMedia("(max-width: 820px)"); // as in try.css: the answers are below the image

/** The names of the images that are samples: a file of the same name is none. */
const sampleNames = new WeakMap();

let pad = null;

/** Open the view. */
export async function open(root, signal, parameters) {
  let view = null;
  chosen.model = parameters.get("network") ?? chosen.model;
  const sample = parameters.get("sample");
  await followServed(signal, (found) => {
    if (!view) {
      view = new Try(found, signal);
      root.className = "try";
      root.append(...view.parts);
      view.listen();
    }
    view.use(found.models);
  });
  if (SAMPLES.includes(sample)) await view.showSample(sample);
  else if (sample) view.summary.textContent = `There is no sample named ${sample}.`;
}

class Try {
  constructor({ grpcPort, maxImageBytes }, signal) {
    this.grpcPort = grpcPort;
    this.maxImageBytes = maxImageBytes;
    this.signal = signal;
    this.asking = new AbortController();
    this.answers = el("section", { class: "answers", "aria-label": "Answers" });
    this.summary = el("p", { class: "summary", role: "status" });
    this.picture = el("canvas", {
      class: "picture",
      role: "img",
      "aria-label": "The chosen image",
      hidden: true,
    });
    this.crop = new Crop(this.picture, (part) =>
      this.show(chosen.image, chosen.file, { scroll: false, part }),
    );
    this.code = el("div");
    this.select = el("select", {
      id: "network",
      change: ({ target }) => this.choose(target.value),
    });
    pad ??= drawingPad((image) => pad.dispatchEvent(new CustomEvent("drawn", { detail: image })));
    this.parts = [this.input(), el("div", { class: "output" }, this.answers, this.code)];
  }

  /** Ask these models from now on. */
  use(models) {
    this.models = models;
    const option = (value, text) => el("option", { value }, text);
    const all = models.length > 1 ? [option(ALL, `All ${models.length} networks`)] : [];
    const { model } = chosen;
    const isGone = model !== ALL && !models.some(({ key }) => key === model);
    const gone = isGone ? [option(model, `${titleOf(model)} is not loaded: all networks`)] : [];
    this.select.replaceChildren(...gone, ...all, ...models.map(({ key, title }) => option(key, title)));
    if (models.length) this.choose(chosen.model);
    else {
      this.asking.abort();
      this.cards = [];
      this.code.replaceChildren();
      this.answers.replaceChildren(el("p", { class: "card" }, "No model is loaded. See Models."));
    }
  }

  input() {
    return el(
      "section",
      { class: "input card", "aria-label": "Image" },
      el("label", { for: "network" }, "Network"),
      this.select,
      this.dropZone(),
      this.summary,
      el("h2", {}, "Or draw a digit"),
      pad,
      el("h2", {}, "Or choose a sample"),
      el(
        "div",
        { class: "samples" },
        SAMPLES.map((name) => this.sample(name)),
      ),
    );
  }

  dropZone() {
    const take = ({ target }) =>
      target.files[0] && this.show(target.files[0], target.files[0].name);
    const accept =
      "image/jpeg,image/png,image/webp,image/bmp,image/gif,image/tiff,image/avif,image/heic";
    return el(
      "div",
      { class: "drop" },
      // It is as high without a picture: nothing may move below a pointer.
      el("div", { class: "picture-frame" }, this.crop.box),
      el("p", {}, "Drop or paste an image here, or"),
      el(
        "div",
        { class: "row" },
        el(
          "label",
          { class: "button" },
          "Choose a file",
          el("input", { type: "file", accept, change: take }),
        ),
        el(
          "label",
          { class: "button phone" },
          "Take a photo",
          el("input", { type: "file", accept: "image/*", capture: "environment", change: take }),
        ),
        webcamButton((image, file) => this.show(image, file), this.signal),
        this.crop.button,
      ),
    );
  }

  sample(name) {
    return el(
      "button",
      { type: "button", class: "sample", click: () => this.showSample(name) },
      el("img", { src: sampleUrl(name), alt: name, width: 56, height: 56 }),
    );
  }

  async showSample(name) {
    try {
      const image = await (await ask(sampleUrl(name))).blob();
      sampleNames.set(image, name);
      if (!this.signal.aborted) await this.show(image, `${name}.png`);
    } catch (error) {
      this.fail(error, () => this.showSample(name));
    }
  }

  /** Drops and pastes count anywhere on the page, for as long as the view is open. */
  listen() {
    const { signal } = this;
    const files = async (event, data) => {
      if (data?.files.length || event.type !== "paste") event.preventDefault();
      const found = await dropped(data);
      if (found.length > 1 || found[0]?.path.includes("/")) openImages(found);
      else if (found.length) this.show(found[0].file, found[0].file.name);
    };
    addEventListener("dragover", (event) => event.preventDefault(), { signal });
    addEventListener("drop", (event) => files(event, event.dataTransfer), { signal });
    addEventListener("paste", (event) => files(event, event.clipboardData), { signal });
    // The page does not scroll away from the pad: the user may go on drawing.
    const drawn = ({ detail }) => this.show(detail, "drawing.png", { scroll: false });
    pad.addEventListener("drawn", drawn, { signal });
  }

  /** Show the answers of a model, by its key, or of all. */
  choose(key) {
    const found = this.models.filter((model) => key === model.key);
    // A model that is gone may come back: it stays chosen until somebody chooses another one.
    this.chosen = found.length ? found : this.models;
    this.select.value = key;
    if (!this.select.value) this.select.selectedIndex = 0; // one network is not offered as all
    chosen.model = key;
    this.cards = this.chosen.map(answerCard);
    this.overview = new Overview(this.chosen, (index) => {
      this.cards[index].card.scrollIntoView();
      this.cards[index].card.focus({ preventScroll: true });
    });
    this.show(chosen.image, chosen.file, { scroll: false, part: chosen.part });
  }

  /** Show an image, and the answers of the networks to it or to a part of it. */
  async show(image, file, { scroll = true, part = null } = {}) {
    if (this.signal.aborted) return; // the address is that of another view
    this.crop.forget();
    Object.assign(chosen, { image, file, part });
    point("try", {
      network: chosen.model === ALL ? "" : chosen.model,
      sample: image && sampleNames.get(image),
    });
    if (!this.cards.length) return;
    const cards = this.cards.map(({ card }) => card);
    this.answers.replaceChildren(...(cards.length > 1 ? [this.overview.table] : []), ...cards);
    this.overview.show();
    const name = part ? `part of ${file}` : file || "image.png";
    const snippets = snippetCard(this.chosen[0], name, this.grpcPort);
    this.code.replaceChildren(snippets.card);
    this.asking.abort();
    if (!image) return;
    this.asking = new AbortController();
    const signal = AbortSignal.any([this.signal, this.asking.signal]);
    this.paint(image, part, signal);
    this.summary.textContent = "";
    const sent = part ? await cropped(image, part) : image;
    if (signal.aborted) return; // the cards are waiting for another image
    snippets.offer(sent);
    const outcomes = [];
    const tell = () => {
      this.summary.textContent = summarize(outcomes);
      this.overview.show(outcomes);
      snippets.showAnswer(outcomes[0]);
    };
    if (!(await this.ask(this.cards, sent, signal, { outcomes, tell }))) return;
    if (scroll && NARROW.matches) this.answers.scrollIntoView();
    // A file that no network can read is one problem, not one for each network.
    const problems = new Set(outcomes.map(({ error }) => error?.message));
    const [{ error }] = outcomes;
    if (error && outcomes.length > 1 && problems.size === 1)
      this.fail(error, () => this.show(image, file, { part }));
  }

  /**
   * Ask some of the networks, fill their cards, put their outcomes among `outcomes`, and `tell`.
   *
   * Returns whether they were reached, and no other image is asked about meanwhile.
   */
  async ask(cards, image, signal, { outcomes, tell }) {
    for (const card of cards) card.wait();
    try {
      const models = cards.map(({ model }) => model);
      const found = await classify(models, image, this.maxImageBytes, { signal });
      if (signal.aborted) return false;
      found.forEach((outcome, index) => {
        const card = cards[index];
        outcomes[this.cards.indexOf(card)] = outcome;
        card.show(outcome, image, () => this.ask([card], image, signal, { outcomes, tell }));
      });
      tell();
      return true;
    } catch (error) {
      const { image: whole, file, part } = chosen;
      if (!signal.aborted) this.fail(error, () => this.show(whole, file, { part }));
      return false;
    }
  }

  /** Show one problem in place of all answers. */
  fail(error, again) {
    this.answers.replaceChildren(explain(error, again));
  }

  /** Draw an image unless it is shown; one that the browser cannot read is left to the server. */
  async paint(image, part, signal) {
    if (image === this.painted) return;
    const bitmap = await createImageBitmap(image).catch(() => null);
    if (signal.aborted) return;
    this.painted = image;
    this.picture.hidden = !bitmap;
    if (bitmap) {
      Object.assign(this.picture, { width: bitmap.width, height: bitmap.height });
      this.picture.getContext("2d").drawImage(bitmap, 0, 0);
    }
    this.crop.show(part);
  }
}

/** The title of a model that is not loaded, by its key in served.js. */
const titleOf = (key) => key.replace(/^v2\/models\/(.+)\/versions\/(.+)$/, "$1 version $2");
