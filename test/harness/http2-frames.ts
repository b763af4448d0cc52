/** One frame of HTTP/2, header and all. */
export interface Frame {
  readonly bytes: Buffer;
  readonly stream: number;
  /** True when it is part of a call, and not of HTTP/2's own housekeeping. */
  readonly ofCall: boolean;
  /** True when it is the last one its sender sends on that stream. */
  readonly endsStream: boolean;
}

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const headerLength = 9;
const [dataFrame, headersFrame, resetFrame, endStreamFlag] = [0, 1, 3, 1];

/** Does a client's first chunk open HTTP/2 in the clear? */
export function opensHttp2(firstChunk: Buffer): boolean {
  return firstChunk.subarray(0, 3).toString() === preface.slice(0, 3);
}

/** Cuts one direction of a connection into frames. A client's preface comes out as a frame of stream 0. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);
  #prefaceLeft: boolean;

  constructor(side: "client" | "server") {
    this.#prefaceLeft = side === "client";
  }

  /** Takes the bytes that came and gives the frames that are now complete. */
  push(chunk: Buffer): Frame[] {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    const frames: Frame[] = [];
    for (let length = this.#nextLength(); length <= this.#rest.length; length = this.#nextLength()) {
      const bytes = this.#rest.subarray(0, length);
      this.#rest = this.#rest.subarray(length);
      frames.push(this.#prefaceLeft ? { bytes, stream: 0, ofCall: false, endsStream: false } : frameOf(bytes));
      this.#prefaceLeft = false;
    }
    return frames;
  }

  #nextLength(): number {
    if (this.#prefaceLeft) return preface.length;
    if (this.#rest.length < headerLength) return Number.POSITIVE_INFINITY;
    return headerLength + this.#rest.readUIntBE(0, 3);
  }
}

function frameOf(bytes: Buffer): Frame {
  const type = bytes.readUInt8(3);
  const ends = (bytes.readUInt8(4) & endStreamFlag) !== 0;
  const ofCall = type === dataFrame || type === headersFrame;
  return {
    bytes,
    stream: bytes.readUInt32BE(5) & 0x7fff_ffff,
    ofCall,
    endsStream: type === resetFrame || (ends && ofCall),
  };
}
