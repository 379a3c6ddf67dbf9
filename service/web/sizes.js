/** Short texts for the sizes of tensors and windows. */

/** Format a size, such as `64 × 56 × 56`; of a square, only the side. */
export function size(lengths) {
  return lengths.length === 2 && lengths[0] === lengths[1]
    ? String(lengths[0])
    : lengths.join(" × ");
}

/** Format a window, such as `3×3 s2 p1`. */
export function windowed({ kernel, stride, padding, dilation }) {
  const wide = Math.max(...dilation) > 1 ? ` d${size(dilation)}` : "";
  return `${kernel.join("×")} s${size(stride)} p${size(padding)}${wide}`;
}
