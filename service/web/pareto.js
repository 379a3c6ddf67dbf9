/** Which points nothing else beats in both directions. */

/** The marks, `{x, y}` each, of which no other has a larger x and a larger y; by falling x. */
export function paretoFront(marks) {
  let highest = -Infinity;
  return [...marks]
    .sort((one, other) => other.x - one.x || other.y - one.y)
    .filter(({ y }) => {
      const isBest = y > highest;
      highest = Math.max(highest, y);
      return isBest;
    });
}
