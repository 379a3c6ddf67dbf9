/** Values drawn over a picture: red above zero, blue below. */

/** Return, for each pixel, the mean fall of the probability over the patches that hid it. */
export function heatOf({ patch, rows, columns }, falls, width, height) {
  const sums = new Float64Array(width * height);
  const counts = new Uint16Array(width * height);
  rows.forEach((top, row) =>
    columns.forEach((left, column) => {
      for (let y = top; y < top + patch[0]; y += 1)
        for (let x = left; x < left + patch[1]; x += 1) {
          sums[y * width + x] += falls[row][column];
          counts[y * width + x] += 1;
        }
    }),
  );
  return sums.map((sum, index) => sum / (counts[index] || 1));
}

/** Resize a map to *width* × *height* pixels, bilinearly, with its values at the cell centres. */
export function stretched(map, width, height) {
  const heat = new Float64Array(width * height);
  const columns = Array.from({ length: width }, (_, x) => between(x, width, map[0].length));
  for (let y = 0; y < height; y += 1) {
    const [top, bottom, down] = between(y, height, map.length);
    columns.forEach(([left, right, along], x) => {
      const upper = map[top][left] * (1 - along) + map[top][right] * along;
      const lower = map[bottom][left] * (1 - along) + map[bottom][right] * along;
      heat[y * width + x] = upper * (1 - down) + lower * down;
    });
  }
  return heat;
}

/** Return the two cells around a pixel, and its distance from the first, in [0, 1]. */
function between(pixel, pixels, places) {
  const at = Math.min(Math.max(((pixel + 0.5) * places) / pixels - 0.5, 0), places - 1);
  const first = Math.floor(at);
  return [first, Math.min(first + 1, places - 1), at - first];
}

/** Draw the picture and the heat over it: the larger a value, up to `most`, the more opaque. */
export function overlay(canvas, picture, heat, most) {
  const context = canvas.getContext("2d");
  const colours = new OffscreenCanvas(canvas.width, canvas.height);
  const image = new ImageData(canvas.width, canvas.height);
  heat.forEach((value, index) => {
    image.data.set(value > 0 ? [215, 40, 30] : [30, 90, 220], 4 * index);
    image.data[4 * index + 3] = most ? (190 * Math.abs(value)) / most : 0;
  });
  colours.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(picture, 0, 0);
  context.drawImage(colours, 0, 0);
}
