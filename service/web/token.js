/** The bearer token, kept for this tab only, and the dialog that asks for it. */

const KEY = "convoy-token";

let asking = null;

/** The token, if there is one. */
export const token = () => sessionStorage.getItem(KEY);

/** Have none from now on. */
export const forgetToken = () => sessionStorage.removeItem(KEY);

/**
 * Ask for a token, once for all requests that were refused meanwhile.
 *
 * Returns whether there is another one than `tried`, which was refused.
 */
export async function askForToken(tried) {
  if (token() && `Bearer ${token()}` !== tried) return true;
  asking ??= show(Boolean(tried)).finally(() => (asking = null));
  return asking;
}

function show(wasWrong) {
  const dialog = document.getElementById("token");
  const field = dialog.querySelector("input");
  document.getElementById("token-why").textContent = wasWrong
    ? "The server does not accept this token."
    : "This server requires a token.";
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const given = dialog.returnValue === "use";
        if (given) sessionStorage.setItem(KEY, field.value.trim());
        resolve(given);
      },
      { once: true },
    );
  });
}
