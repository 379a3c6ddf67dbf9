/** Images: a folder or a selection of images, classified and shown as a gallery or a table. */

import { el } from "../dom.js";
import { explain } from "../errors.js";
import { followServed } from "../served.js";
import { collection, take } from "./collection.js";
import { Controls } from "./controls.js";
import { evaluation } from "./evaluation.js";
import { dropped, selected } from "./files.js";
import { listing } from "./listing.js";
import { networkChoice } from "./network-choice.js";
import { Progress } from "./progress.js";
import { NO_FILTER, select, STATES } from "./rows.js";
import { Run } from "./run.js";
import { findTruths } from "./truths.js";

const REFRESH_MS = 500;

/** Open the view. */
export async function open(root, signal) {
  let view = null;
  await followServed(signal, (found) => {
    if (!view) {
      view = new ImagesView(root, signal);
      view.listen();
    }
    view.use(found);
  });
}

class ImagesView {
  constructor(root, signal) {
    this.root = root;
    this.signal = signal;
    this.controls = new Controls(() => this.draw());
    this.progress = new Progress(() => this.stopOrGoOn());
    this.networks = el("div", { class: "row" });
    this.problem = el("div", { hidden: true });
    this.evaluation = el("section", {
      class: "card evaluation",
      "aria-label": "Accuracy",
      hidden: true,
    });
    this.list = el("section", { class: "card list", "aria-label": "Images", hidden: true });
    root.className = "images";
    root.append(
      el(
        "section",
        { class: "card row", "aria-label": "Choose images" },
        this.inputs(),
        this.networks,
      ),
      this.problem,
      this.progress.box,
      this.evaluation,
      this.list,
    );
  }

  inputs() {
    const input = (text, attributes) =>
      el(
        "label",
        { class: "button" },
        text,
        el("input", {
          type: "file",
          multiple: true,
          ...attributes,
          change: ({ target }) => this.take(selected(target.files)),
        }),
      );
    return el(
      "div",
      { class: "row" },
      input("Choose images", { accept: "image/*" }),
      input("Choose a folder", { webkitdirectory: true }),
      el("span", { class: "muted" }, "or drop them anywhere on this page"),
    );
  }

  /** Drops count anywhere on the page, for as long as the view is open. */
  listen() {
    const { signal } = this;
    addEventListener("dragover", (event) => event.preventDefault(), { signal });
    const drop = async (event) => {
      event.preventDefault();
      const files = await dropped(event.dataTransfer);
      if (files.length) this.take(files);
    };
    addEventListener("drop", drop, { signal });
  }

  /** Offer these models from now on; images that no model was asked about are sent. */
  use({ models, maxImageBytes }) {
    Object.assign(this, { models, maxImageBytes });
    this.networks.replaceChildren(networkChoice(models, () => this.restart()));
    const { run, items } = collection;
    if (run && run !== this.followed) this.follow(run);
    else if (!run && items.length) this.restart();
    this.draw();
  }

  take(files) {
    take(files);
    this.restart();
  }

  /** Ask the chosen models about all images. */
  async restart() {
    const { items } = collection;
    collection.run?.stop();
    const models = this.chosen();
    for (const item of items) Object.assign(item, { outcomes: undefined, truths: undefined });
    collection.filter = filterFor(models);
    if (!items.length || !models.length) return this.draw();
    const run = (collection.run = new Run(items, models, this.maxImageBytes));
    this.draw();
    try {
      await findTruths(collection, models);
    } catch (error) {
      run.error = error;
    }
    // Meanwhile other images or networks may have been chosen.
    if (run.error || collection.run !== run) return this.draw();
    this.follow(run);
    run.start();
    this.draw();
  }

  /** The models that the lists name. */
  chosen() {
    return [collection.first, collection.second]
      .map((key) => this.models.find((model) => model.key === key))
      .filter(Boolean);
  }

  stopOrGoOn() {
    const { run } = collection;
    if (run.isRunning) run.stop();
    else run.start();
    this.draw();
  }

  /** Show what a run does, until the view is left. */
  follow(run) {
    const { signal } = this;
    this.followed = run;
    let timer = null;
    const later = () => {
      timer ??= setTimeout(() => {
        timer = null;
        if (!signal.aborted) this.refresh();
      }, REFRESH_MS);
    };
    run.addEventListener("progress", later, { signal });
    run.addEventListener("end", () => this.draw(), { signal });
  }

  /** Show new answers where the images are: none moves below a pointer while a run goes on. */
  refresh() {
    this.progress.draw();
    this.controls.draw(this.shown.length);
    this.listing.show(this.shown);
  }

  draw() {
    const { items, filter, order } = collection;
    this.drawProblem();
    this.progress.draw();
    this.drawEvaluation();
    this.list.hidden = !items.length;
    if (!items.length) return;
    this.shown = select(items, filter, order);
    this.layOut();
    this.refresh();
  }

  /** Return a note that the server has other models now than those that answered, or null. */
  replaced() {
    const { run } = collection;
    if (!run || sameModels(run.models, this.chosen())) return null;
    const names = run.models.map(({ manifest: { name, version } }) => `${name} version ${version}`);
    return el(
      "p",
      { class: "warning" },
      `The answers below are of ${names.join(" and ")}. The server has loaded or unloaded models since. `,
      this.models.length
        ? el(
            "button",
            { type: "button", class: "small", click: () => this.restart() },
            "Classify again",
          )
        : "",
    );
  }

  drawProblem() {
    const { run, problem, mayBeOrdered } = collection;
    const replaced = this.replaced();
    const inOrder = () => {
      collection.byOrder = true;
      this.restart();
    };
    this.problem.replaceChildren(
      replaced ?? "",
      run?.error ? explain(run.error, () => this.restart()) : "",
      problem ? el("p", { class: "problem" }, problem) : "",
      problem && mayBeOrdered
        ? el(
            "button",
            { type: "button", click: inOrder },
            "Take the folders, sorted by name, as its classes in their order",
          )
        : "",
    );
    this.problem.hidden = !run?.error && !problem && !replaced;
  }

  /** The figures are of all images of a run that ended: they do not change below a pointer. */
  drawEvaluation() {
    const { run } = collection;
    const shown = run && !run.isRunning ? run : null;
    if (this.evaluated === shown) return;
    this.evaluated = shown;
    const parts = shown ? evaluation(collection, (...at) => this.open(...at)) : [];
    this.evaluation.replaceChildren(...parts);
    this.evaluation.hidden = !parts.length;
  }

  /** Show the images that a figure is of. */
  open(filter, order = "file") {
    collection.filter = { ...NO_FILTER, ...filter };
    collection.order = order;
    this.draw();
    this.list.scrollIntoView();
    this.listing.view.focus({ preventScroll: true });
  }

  /** Make the list anew if it is to have other columns. */
  layOut() {
    const { layout, classes, run } = collection;
    const titles = (run?.models ?? []).map(({ title }) => title);
    const shape = JSON.stringify([layout, Boolean(classes), titles]);
    if (shape === this.shape) return;
    this.shape = shape;
    this.listing = listing(layout, { hasClasses: Boolean(classes), titles });
    this.list.replaceChildren(this.controls.row, this.listing.view);
  }
}

/** Return the filter without what was of other networks: a cell, or a comparison of two. */
function filterFor(models) {
  const { state } = collection.filter;
  const isOfTwo = ["two", "both"].includes(STATES[state].needs);
  const kept = isOfTwo && models.length < 2 ? "all" : state;
  return { ...collection.filter, state: kept, cell: null };
}

/** Return whether these are the same versions, in the same order. */
function sameModels(some, others) {
  const ids = (models) => models.map(({ path, manifest }) => `${path} ${manifest.model_sha256}`);
  return ids(some).join() === ids(others).join();
}
