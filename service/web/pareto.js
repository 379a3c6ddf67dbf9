/** The points that no other point beats in both directions. */

/** Return the marks, `{x, y}` each, than which no other has a larger x and y; by falling x. */
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
