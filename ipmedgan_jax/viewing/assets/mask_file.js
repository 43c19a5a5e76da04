// The drawing as a NIfTI file in the scan's own grid, and back.
// The file is made from the scan's own header, so it has the scan's axes, affine, units and byte order.

/** Where the fields of a header are: NIfTI-1 and NIfTI-2. */
const LAYOUTS = {
  348: { dim: 40, width: 2, datatype: 70, bitpix: 72, offset: 108, slope: 112, calMax: 124, magic: 344, data: 352, real: 4 },
  540: { dim: 16, width: 8, datatype: 12, bitpix: 14, offset: 168, slope: 176, calMax: 192, magic: 4, data: 544, real: 8 },
};

/** The mask as an uncompressed NIfTI file; `bits` in file order, `header` the scan's first bytes. */
export function maskFile(header, bits) {
  const { layout, little } = layoutOf(header);
  const file = new Uint8Array(layout.data + bits.length);
  file.set(new Uint8Array(header, 0, layout.data - 4));
  const view = new DataView(file.buffer);
  const real = (place, value) =>
    layout.real === 4 ? view.setFloat32(place, value, little) : view.setFloat64(place, value, little);
  setDimensions(view, layout, little);
  view.setInt16(layout.datatype, 2, little); // uint8
  view.setInt16(layout.bitpix, 8, little);
  if (layout.real === 4) view.setFloat32(layout.offset, layout.data, little);
  else view.setBigInt64(layout.offset, BigInt(layout.data), little);
  real(layout.slope, 1);
  real(layout.slope + layout.real, 0);
  real(layout.calMax, 0);
  real(layout.calMax + layout.real, 0);
  file.set(layout.real === 4 ? [0x6e, 0x2b, 0x31, 0] : [0x6e, 0x2b, 0x32, 0, 0x0d, 0x0a, 0x1a, 0x0a], layout.magic);
  file.set(bits, layout.data);
  return file;
}

function layoutOf(header) {
  const view = new DataView(header);
  for (const little of [true, false]) {
    const layout = LAYOUTS[view.getInt32(0, little)];
    if (layout) return { layout, little };
  }
  throw new Error("The scan is not a NIfTI file.");
}

/** Three dimensions: a scan may be stored as one volume of a fourth. */
function setDimensions(view, layout, little) {
  const put = (axis, value) => {
    const place = layout.dim + axis * layout.width;
    if (layout.width === 2) view.setInt16(place, value, little);
    else view.setBigInt64(place, BigInt(value), little);
  };
  put(0, 3);
  for (let axis = 4; axis < 8; axis += 1) put(axis, 1);
}

/** The drawing (viewer's order) in the order of the file; start and step are the viewer's way through the file's voxels. */
export function toFileOrder(bits, dims, start, step) {
  const result = new Uint8Array(bits.length);
  walk(dims, start, step, (place, index) => {
    result[place] = bits[index];
  });
  return result;
}

/** Voxels of a file (file order) that are not 0, in the viewer's order. */
export function fromFileOrder(values, dims, start, step) {
  const result = new Uint8Array(dims[0] * dims[1] * dims[2]);
  walk(dims, start, step, (place, index) => {
    result[index] = values[place] ? 1 : 0;
  });
  return result;
}

function walk(dims, start, step, visit) {
  const first = start[0] + start[1] + start[2];
  let index = 0;
  for (let z = 0; z < dims[2]; z += 1)
    for (let y = 0; y < dims[1]; y += 1)
      for (let x = 0; x < dims[0]; x += 1, index += 1) visit(first + x * step[0] + y * step[1] + z * step[2], index);
}
