/** Makes elements; text goes in as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with its attributes and children. A function is a listener, `true` an attribute
 * without a value; what is false, null or undefined is left out. `style` is an object: the
 * Content-Security-Policy lets no style in as text.
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make the same of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name === "style") setStyle(node, value);
    else if (value !== false && value !== null && value !== undefined)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return node;
}

function setStyle(node, style) {
  for (const [name, value] of Object.entries(style)) node.style.setProperty(name, value);
}

/** A control, which has an id, with its label. */
export function labelled(text, control) {
  return el("span", { class: "control" }, el("label", { for: control.id }, text), control);
}

/** A card with a title, hidden until its panel has something to show; `name` is its class. */
export function hiddenCard(name, title, ...content) {
  return el(
    "section",
    { class: `card ${name}`, "aria-labelledby": `${name}-title`, hidden: true },
    el("h2", { id: `${name}-title` }, title),
    ...content,
  );
}

/** A button that copies what `text` gives, and says that it did. */
export function copyButton(text, label = "Copy") {
  const button = el("button", { class: "small", type: "button" }, label);
  button.addEventListener("click", async () => {
    await copy(text());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Browsers give the clipboard to pages that came over TLS or from this machine; else the old way.
  const field = el("textarea", { class: "skip", "aria-hidden": "true" });
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

/** Bars beside their names: a list of `{name, share, text}`, shares in [0, 1]. */
export function bars(rows, label) {
  return el(
    "ol",
    { class: "bars", "aria-label": label },
    rows.map(({ name, share, text }) =>
      el(
        "li",
        {},
        el("span", { class: "bar-name", title: name }, name),
        el(
          "span",
          { class: "bar" },
          el("span", { class: "bar-fill", style: { width: `${100 * share}%` } }),
        ),
        el("span", { class: "bar-text" }, text),
      ),
    ),
  );
}
