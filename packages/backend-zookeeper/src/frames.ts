/** Cuts what a socket reads into messages, each with the four bytes in front that tell its length. */
export class Frames {
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** How many bytes it takes to get any further. */
  #wanted = 4;

  /** The messages that are complete with this chunk. Throws on a length that cannot be. */
  push(chunk: Buffer): readonly Buffer[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#wanted) return [];
    let rest = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    const frames: Buffer[] = [];
    for (;;) {
      this.#wanted = rest.length < 4 ? 4 : 4 + rest.readUInt32BE(0);
      if (this.#wanted > 2 ** 31) throw new RangeError(`a message cannot be ${this.#wanted - 4} bytes long`);
      if (rest.length < this.#wanted) break;
      frames.push(rest.subarray(0, this.#wanted));
      rest = rest.subarray(this.#wanted);
    }
    this.#chunks = [rest];
    this.#bytes = rest.length;
    return frames;
  }
}
