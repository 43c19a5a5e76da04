// Which voxels a shape covers. Voxels are [x, y, z]; a grid is {dims, spacing} with spacing in mm; `visit(x, y, z)` is called
// for each voxel, also outside the grid. Knows nothing of the page and of the viewer.

/** For each plane (0 axial, 1 coronal, 2 sagittal): the two axes in the slice, and the axis through the slices. */
export const AXES = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 2, 0],
];

/** A disc in the slice, or a ball; its diameter is in mm, and its middle voxel always belongs to it. */
export function disc(grid, plane, middle, diameter, isBall, visit) {
  const [u, v, w] = AXES[plane];
  const radius = diameter / 2;
  const reach = [u, v, w].map((axis) => Math.floor(radius / grid.spacing[axis]));
  const depth = isBall ? reach[2] : 0;
  for (let k = -depth; k <= depth; k += 1)
    for (let j = -reach[1]; j <= reach[1]; j += 1)
      for (let i = -reach[0]; i <= reach[0]; i += 1) {
        const far = (i * grid.spacing[u]) ** 2 + (j * grid.spacing[v]) ** 2 + (k * grid.spacing[w]) ** 2;
        if (far > radius ** 2 + 1e-6) continue;
        visit(
          ...moved(middle, [
            [u, i],
            [v, j],
            [w, k],
          ]),
        );
      }
  visit(...middle);
}

/** Voxels on the straight way from one voxel to another, ends included. */
export function line(from, to, visit) {
  const steps = Math.max(...from.map((start, axis) => Math.abs(to[axis] - start)), 1);
  for (let step = 0; step <= steps; step += 1)
    visit(...from.map((start, axis) => Math.round(start + ((to[axis] - start) * step) / steps)));
}

/** The inside of a closed outline in one slice, repeated through `depth` slices with that slice in the middle. */
export function polygon(plane, points, depth, visit) {
  const [u, v, w] = AXES[plane];
  const rows = points.map((point) => point[v]);
  const slices = layers(points[0][w], depth);
  const each = (i, j) => {
    for (const k of slices)
      visit(
        ...placed([
          [u, i],
          [v, j],
          [w, k],
        ]),
      );
  };
  for (let j = Math.ceil(Math.min(...rows)); j <= Math.max(...rows); j += 1) {
    const cuts = crossings(points, u, v, j);
    for (let cut = 0; cut + 1 < cuts.length; cut += 2)
      for (let i = Math.ceil(cuts[cut]); i <= cuts[cut + 1]; i += 1) each(i, j);
  }
  points.forEach((point, i) =>
    line(rounded(point), rounded(points[(i + 1) % points.length]), (...voxel) => each(voxel[u], voxel[v])),
  );
}

/** A rectangle in the slice from corner to corner, through `depth` slices with that slice in the middle. */
export function box(plane, from, to, depth, visit) {
  const [u, v, w] = AXES[plane];
  for (const k of layers(from[w], depth))
    for (let j = Math.min(from[v], to[v]); j <= Math.max(from[v], to[v]); j += 1)
      for (let i = Math.min(from[u], to[u]); i <= Math.max(from[u], to[u]); i += 1)
        visit(
          ...placed([
            [u, i],
            [v, j],
            [w, k],
          ]),
        );
}

/** Voxels connected with the seed whose value differs from those about the seed by `tolerance` at most, within `reach` mm. */
export function grow(grid, valueAt, seed, tolerance, reach, visit) {
  const level = meanAbout(grid, valueAt, seed);
  const low = seed.map((middle, axis) => Math.max(0, middle - Math.floor(reach / grid.spacing[axis])));
  const high = seed.map((middle, axis) => Math.min(grid.dims[axis] - 1, middle + Math.floor(reach / grid.spacing[axis])));
  const [nx, ny, nz] = low.map((first, axis) => high[axis] - first + 1);
  const seen = new Uint8Array(nx * ny * nz);
  const index = (x, y, z) => x - low[0] + nx * (y - low[1] + ny * (z - low[2]));
  const inside = (x, y, z) => x >= low[0] && y >= low[1] && z >= low[2] && x <= high[0] && y <= high[1] && z <= high[2];
  const near = (x, y, z) => distance(grid, seed, [x, y, z]) <= reach;
  const open = [seed];
  seen[index(...seed)] = 1;
  while (open.length) {
    const [x, y, z] = open.pop();
    visit(x, y, z);
    for (const [i, j, k] of [
      [x - 1, y, z],
      [x + 1, y, z],
      [x, y - 1, z],
      [x, y + 1, z],
      [x, y, z - 1],
      [x, y, z + 1],
    ]) {
      if (!inside(i, j, k) || seen[index(i, j, k)]) continue;
      seen[index(i, j, k)] = 1;
      if (near(i, j, k) && Math.abs(valueAt(i, j, k) - level) <= tolerance) open.push([i, j, k]);
    }
  }
}

/** The mean over the seed and its neighbours in the grid: a single noisy voxel is no good seed. */
function meanAbout(grid, valueAt, [x, y, z]) {
  let sum = 0;
  let count = 0;
  for (const k of [z - 1, z, z + 1])
    for (const j of [y - 1, y, y + 1])
      for (const i of [x - 1, x, x + 1]) {
        if ([i, j, k].some((place, axis) => place < 0 || place >= grid.dims[axis])) continue;
        sum += valueAt(i, j, k);
        count += 1;
      }
  return sum / count;
}

const distance = (grid, a, b) => Math.hypot(...a.map((place, axis) => (place - b[axis]) * grid.spacing[axis]));
export const rounded = (point) => point.map(Math.round);
const layers = (middle, depth) =>
  Array.from({ length: depth }, (_, k) => Math.round(middle) - Math.floor((depth - 1) / 2) + k);

function moved(voxel, steps) {
  const result = [...voxel];
  for (const [axis, step] of steps) result[axis] += step;
  return result;
}

function placed(places) {
  const result = [0, 0, 0];
  for (const [axis, place] of places) result[axis] = place;
  return result;
}

function crossings(points, u, v, row) {
  const cuts = [];
  points.forEach((a, i) => {
    const b = points[(i + 1) % points.length];
    if (a[v] <= row !== b[v] <= row) cuts.push(a[u] + ((row - a[v]) / (b[v] - a[v])) * (b[u] - a[u]));
  });
  return cuts.sort((a, b) => a - b);
}
