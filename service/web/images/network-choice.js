/** The choice of the network that answers, and of one to compare it with. */

import { el, labelled } from "../dom.js";
import { collection } from "./collection.js";

/** The two lists; `changed` is called after a choice. */
export function networkChoice(models, changed) {
  const keys = models.map(({ key }) => key);
  if (!keys.includes(collection.first)) collection.first = keys[0] ?? "";
  if (!keys.includes(collection.second)) collection.second = "";
  const list = (id, key, more) => {
    const select = el(
      "select",
      {
        id,
        change: ({ target }) => {
          collection[key] = target.value;
          changed();
        },
      },
      more,
      models.map((model) => el("option", { value: model.key }, model.title)),
    );
    select.value = collection[key];
    return select;
  };
  const none = el("option", { value: "" }, "nothing");
  return el(
    "div",
    { class: "row" },
    labelled("Network", list("images-first", "first", [])),
    models.length > 1 ? labelled("Compare with", list("images-second", "second", [none])) : null,
  );
}
