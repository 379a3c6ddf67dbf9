/** Sizes of tensors and windows in short. */

/** `64 × 56 × 56`; of a square the side alone. */
export function size(lengths) {
  return lengths.length === 2 && lengths[0] === lengths[1]
    ? String(lengths[0])
    : lengths.join(" × ");
}

/** A window: `3×3 s2 p1`. */
export function windowed({ kernel, stride, padding, dilation }) {
  const wide = Math.max(...dilation) > 1 ? ` d${size(dilation)}` : "";
  return `${kernel.join("×")} s${size(stride)} p${size(padding)}${wide}`;
}
