/** A picture from the camera, which is requested on a click and released afterwards. */

import { el } from "./dom.js";

const REFUSALS = {
  NotAllowedError: [
    "The browser does not allow the camera",
    "Allow the camera for this address in the browser's settings, and in those of the system. Then try again.",
  ],
  NotFoundError: ["There is no camera", "Connect a camera and try again, or choose a file."],
  NotReadableError: [
    "The camera cannot be used",
    "Another program may be using it. Close that program and try again.",
  ],
};

const INSECURE = [
  "The browser does not allow the camera on this page",
  "Browsers allow it only over HTTPS or on the server's own machine. Serve the page over HTTPS, or choose a file.",
];

const GONE = ["The camera was disconnected", "Connect it and try again, or choose a file."];

/** A button that opens the camera until *signal* aborts; `take` gets each picture and its name. */
export function webcamButton(take, signal) {
  const click = () => new Webcam(take, signal);
  return el("button", { type: "button", click }, "Webcam");
}

/** A dialog that shows the camera until a picture is taken or the dialog is closed. */
class Webcam {
  constructor(take, signal) {
    this.take = take;
    this.video = el("video", { autoplay: true, muted: true, playsinline: true, hidden: true });
    this.video.addEventListener("loadeddata", () => this.#ready());
    this.told = el("div", {}, el("p", { role: "status" }, "Waiting for the camera…"));
    this.button = el(
      "button",
      { type: "button", class: "primary", disabled: true, click: () => this.#shoot() },
      "Take the picture",
    );
    this.dialog = el(
      "dialog",
      { class: "webcam", "aria-labelledby": "webcam-title", close: () => this.#end() },
      el("h2", { id: "webcam-title" }, "Webcam"),
      this.told,
      this.video,
      el(
        "div",
        { class: "row" },
        this.button,
        el("button", { type: "button", click: () => this.dialog.close() }, "Cancel"),
      ),
    );
    this.ended = new AbortController();
    const closing = { signal: this.ended.signal };
    signal.addEventListener("abort", () => this.dialog.close(), closing);
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.#start();
  }

  async #start() {
    // Browsers hide all cameras from a page that came over plain HTTP from another machine.
    if (!navigator.mediaDevices) return this.#explain(INSECURE);
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: true });
      this.tracks = stream.getTracks();
      if (!this.dialog.open) return this.#end(); // closed while the browser asked
      for (const track of this.tracks)
        track.addEventListener("ended", () => this.#explain(GONE), { once: true });
      this.video.srcObject = stream;
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      this.#explain(REFUSALS[error.name] ?? ["The camera cannot be used", error.message]);
    }
  }

  #ready() {
    this.told.replaceChildren();
    this.video.hidden = false;
    this.button.disabled = false;
    this.button.focus();
  }

  async #shoot() {
    const { videoWidth: width, videoHeight: height } = this.video;
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    this.dialog.close();
    this.take(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 }), "webcam.jpg");
  }

  #explain([title, remedy]) {
    this.video.hidden = true;
    this.button.disabled = true;
    this.told.replaceChildren(
      el("div", { class: "problem", role: "alert" }, el("strong", {}, title), el("p", {}, remedy)),
    );
  }

  #end() {
    for (const track of this.tracks ?? []) track.stop(); // turns the camera's light off
    this.ended.abort(); // removes the listener: a view may open many dialogs
    this.dialog.remove();
  }
}
