// Frames of `positions.bin`, read as typed arrays without copying: header of 16 bytes, then 16 bytes for each vehicle.

const HEADER_BYTES = 16;
const ROW_BYTES = 16;
const MAGIC = 0x31504c42; // "BLP1"
export const STATE_BITS = 0x0f;
export const NO_HEADING = 0x40;
export const SILENT = 0x80;

/** One frame; rows are ordered by handle. */
export class Positions {
  /** @param {ArrayBuffer} buffer @throws {RangeError} if it is no frame */
  constructor(buffer) {
    const header = new DataView(buffer);
    if (buffer.byteLength < HEADER_BYTES || header.getUint32(0, true) !== MAGIC) throw new RangeError("no frame");
    this.count = header.getUint32(4, true);
    if (buffer.byteLength !== HEADER_BYTES + this.count * ROW_BYTES) throw new RangeError("frame of another length");
    this.timeMs = Number(header.getBigUint64(8, true));
    this.words = new Int32Array(buffer, HEADER_BYTES);
    this.handles = new Uint32Array(buffer, HEADER_BYTES);
    this.bytes = new Uint8Array(buffer, HEADER_BYTES);
    this.takenMs = performance.now();
  }

  handle(index) { return this.handles[index * 4]; }
  longitude(index) { return this.words[index * 4 + 1] / 1e7; }
  latitude(index) { return this.words[index * 4 + 2] / 1e7; }
  headingDeg(index) { return this.state(index) & NO_HEADING ? null : this.bytes[index * 16 + 12] * 360 / 256; }
  state(index) { return this.bytes[index * 16 + 13]; }

  /** Seconds since the position was taken, as of now. */
  ageS(index) {
    const at = index * 16 + 14;
    return (this.bytes[at] | this.bytes[at + 1] << 8) / 10 + (performance.now() - this.takenMs) / 1000;
  }

  /** @param {number|null|undefined} handle @returns {number} place of a handle, or -1 */
  find(handle) {
    if (handle === null || handle === undefined) return -1;
    let [low, high] = [0, this.count - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const found = this.handle(middle);
      if (found === handle) return middle;
      if (found < handle) low = middle + 1; else high = middle - 1;
    }
    return -1;
  }
}
