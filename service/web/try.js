/** Try: an image in, the answers of one network or of all side by side. */

import { answerCard } from "./answer.js";
import { el } from "./dom.js";
import { drawingPad } from "./pad.js";
import { served } from "./served.js";
import { snippetCard } from "./snippets.js";

const SAMPLES = ["seven", "three", "eight", "ring", "blocks", "sunset"];

const ALL = "all";

/** The image that is shown and asked about; kept while other views are open. */
const kept = { image: null, file: "", choice: ALL };

let pad = null;

/** Open the view. */
export async function open(root, signal) {
  const { models, grpcPort } = await served();
  if (!models.length) {
    root.append(el("p", { class: "card" }, "No model is loaded: see the view Models."));
    return;
  }
  const view = new Try(models, grpcPort, signal);
  root.className = "try";
  root.append(...view.parts);
  view.listen();
  view.choose(kept.choice);
}

class Try {
  constructor(models, grpcPort, signal) {
    this.models = models;
    this.grpcPort = grpcPort;
    this.signal = signal;
    this.asking = new AbortController();
    this.answers = el("section", {
      class: "answers",
      "aria-label": "Answers",
      "aria-live": "polite",
    });
    this.picture = el("canvas", {
      class: "picture",
      role: "img",
      "aria-label": "The chosen image",
      hidden: true,
    });
    this.code = el("div");
    this.select = this.makeSelect();
    pad ??= drawingPad((image) => pad.dispatchEvent(new CustomEvent("drawn", { detail: image })));
    this.parts = [this.input(), el("div", { class: "output" }, this.answers, this.code)];
  }

  makeSelect() {
    const option = (value, text) => el("option", { value }, text);
    const all = this.models.length > 1 ? [option(ALL, `All ${this.models.length} networks`)] : [];
    const change = ({ target }) => this.choose(target.value);
    const options = this.models.map((model) => option(model.path, model.title));
    return el("select", { id: "network", change }, all, options);
  }

  input() {
    return el(
      "section",
      { class: "input card", "aria-label": "Image" },
      el("label", { for: "network" }, "Network"),
      this.select,
      this.dropZone(),
      el("h2", {}, "Or draw a digit"),
      pad,
      el("h2", {}, "Or start with one of ours"),
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
      this.picture,
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
          { class: "button" },
          "Take a photo",
          el("input", { type: "file", accept: "image/*", capture: "environment", change: take }),
        ),
      ),
    );
  }

  sample(name) {
    const url = `web/samples/${name}.png`;
    const click = async () => this.show(await (await fetch(url)).blob(), `${name}.png`);
    return el(
      "button",
      { type: "button", class: "sample", click },
      el("img", { src: url, alt: name, width: 56, height: 56 }),
    );
  }

  /** Drops and pastes count anywhere on the page, for as long as the view is open. */
  listen() {
    const { signal } = this;
    const files = (event, data) => {
      const file = [...(data?.files ?? [])][0];
      if (file) this.show(file, file.name);
      if (file || event.type !== "paste") event.preventDefault();
    };
    addEventListener("dragover", (event) => event.preventDefault(), { signal });
    addEventListener("drop", (event) => files(event, event.dataTransfer), { signal });
    addEventListener("paste", (event) => files(event, event.clipboardData), { signal });
    pad.addEventListener("drawn", ({ detail }) => this.show(detail, "drawing.png"), { signal });
  }

  /** Show the answers of a model, by its path, or of all. */
  choose(path) {
    const chosen = this.models.filter((model) => path === model.path);
    kept.choice = chosen.length ? path : this.select.options[0].value;
    this.select.value = kept.choice;
    this.chosen = kept.choice === ALL ? this.models : chosen.length ? chosen : this.models;
    this.cards = this.chosen.map(answerCard);
    this.answers.replaceChildren(...this.cards.map(({ card }) => card));
    this.show(kept.image, kept.file);
  }

  /** Show an image and what the networks say of it. */
  show(image, file) {
    Object.assign(kept, { image, file });
    this.code.replaceChildren(snippetCard(this.chosen[0], file || "image.png", this.grpcPort));
    this.asking.abort();
    if (!image) return;
    this.asking = new AbortController();
    const signal = AbortSignal.any([this.signal, this.asking.signal]);
    this.paint(image);
    for (const card of this.cards) card.ask(image, signal);
  }

  async paint(image) {
    const bitmap = await createImageBitmap(image).catch(() => null); // the server will say what it is
    this.picture.hidden = !bitmap;
    if (!bitmap) return;
    Object.assign(this.picture, { width: bitmap.width, height: bitmap.height });
    this.picture.getContext("2d").drawImage(bitmap, 0, 0);
  }
}
