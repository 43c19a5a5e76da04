// gzip, and the voxels of a mask as the server packs them.

const isPacked = (bytes) => bytes[0] === 0x1f && bytes[1] === 0x8b;
const through = (bytes, stream) => new Response(new Blob([bytes]).stream().pipeThrough(stream));

/** The bytes of a file, decompressed if they are gzip. The server sends one member. */
export async function plainBytes(buffer) {
  if (!isPacked(new Uint8Array(buffer))) return buffer;
  return through(buffer, new DecompressionStream("gzip")).arrayBuffer();
}

export const gzipped = (bytes) => through(bytes, new CompressionStream("gzip")).blob();

/** One byte a voxel, in the order of the scan's file: of gzip in base64. */
export async function unpackedMask(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Uint8Array(await plainBytes(bytes.buffer));
}
