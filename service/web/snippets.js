/** The call that the page makes, for a shell, Python, JavaScript and grpcurl, with its raw answer. */

import { TOP_K } from "./classify.js";
import { copyButton, el } from "./dom.js";
import { save } from "./save.js";
import { token } from "./token.js";

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Snippets that send the file to the model. */
export function snippets(model, file, grpcPort) {
  const { name } = model.manifest;
  const grpc = `${location.hostname}:${grpcPort}`;
  const plaintext = location.protocol === "https:" ? "" : " -plaintext";
  const secret = token() ? " -H 'authorization: Bearer '\"$TOKEN\"" : "";
  return {
    curl: curl(model, file),
    Python: python(name, file, grpc),
    JavaScript: javascript(model, file),
    grpcurl: `echo '{"model": "${name}", "top_k": ${TOP_K}, "image": "'$(base64 -w0 ${shell(file)})'"}' |
  grpcurl${plaintext}${secret} -d @ ${grpc} convoy.v1.ClassifierService/Classify
`,
  };
}

function python(name, file, grpc) {
  const isEncrypted = location.protocol === "https:";
  const imports = [token() && "import os", isEncrypted && "import grpc"].filter(Boolean);
  const options = [
    JSON.stringify(grpc),
    isEncrypted && "credentials=grpc.ssl_channel_credentials()",
    token() && 'token=os.environ["TOKEN"]',
  ].filter(Boolean);
  return `${imports.map((line) => `${line}\n`).join("")}from convoy import Client

with Client(${options.join(", ")}) as client:
    answer = client.classify(${JSON.stringify(file)}, model=${JSON.stringify(name)}, top_k=${TOP_K})
    print(answer.label, answer.probability)
    print(answer.timing)
`;
}

/** Return the snippet for Node.js, Deno and Bun. */
function javascript(model, file) {
  const secret = token()
    ? `
  headers: { authorization: \`Bearer \${process.env.TOKEN}\` },`
    : "";
  return `import { readFile } from "node:fs/promises";

const answer = await fetch(${JSON.stringify(urlOf(model))}, {
  method: "POST",${secret}
  body: await readFile(${JSON.stringify(file)}),
});
console.log(await answer.json());
`;
}

function urlOf({ manifest }) {
  const path = `v1/models/${manifest.name}/versions/${manifest.version}/classify?top_k=${TOP_K}`;
  return new URL(path, document.baseURI).href;
}

function curl(model, file) {
  const secret = token() ? ' -H "authorization: Bearer $TOKEN"' : "";
  return `curl -sS${secret} --data-binary @${shell(file)} ${shell(urlOf(model))}
`;
}

/**
 * The snippets under tabs, and the answer that `showAnswer` gets, an outcome of `classify`.
 *
 * `offer` gets the image that was sent: drawings, and parts of images, are no files yet.
 */
export function snippetCard(model, file, grpcPort) {
  const texts = snippets(model, file, grpcPort);
  const code = el("code", {});
  const tabs = Object.keys(texts).map((name) =>
    el("button", { type: "button", "aria-pressed": "false", click: () => show(name) }, name),
  );
  const show = (name) => {
    code.textContent = texts[name];
    for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.textContent === name));
  };
  show("curl");
  const raw = el("code", {}, "No image yet.");
  const showAnswer = ({ answer, error }) => {
    // The provider is the page's own.
    const { preview, provider, ...told } = answer ?? {};
    raw.textContent = JSON.stringify(
      answer ? told : { error: error.message, reason: error.reason },
      null,
      2,
    );
  };
  let sent = null;
  const saving = el(
    "button",
    { type: "button", class: "small", hidden: true, click: () => save(sent, file, sent.type) },
    "Save the image",
  );
  const offer = (image) => {
    sent = image;
    saving.hidden = false;
  };
  const card = el(
    "section",
    { class: "card snippets", "aria-labelledby": "snippets-title" },
    el(
      "header",
      {},
      el("h2", { id: "snippets-title" }, "The same call"),
      el("div", { class: "row" }, saving, copyButton(() => code.textContent)),
    ),
    el("div", { class: "segments", role: "group", "aria-label": "Language" }, tabs),
    el("pre", { tabindex: "0", "aria-label": "Code" }, code),
    el(
      "details",
      {},
      el("summary", {}, `Answer of ${model.title}`),
      el("pre", { tabindex: "0", "aria-label": "Answer" }, raw),
    ),
  );
  return { card, showAnswer, offer };
}
