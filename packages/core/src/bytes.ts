const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The value of an entry that was read with `keysOnly`. */
export const noBytes: Uint8Array = new Uint8Array(0);

/** UTF-8 bytes of text. */
export function encode(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Text of UTF-8 bytes; what is not UTF-8 becomes U+FFFD. */
export function decode(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** The bytes that well-formed text takes in UTF-8. */
export function byteLength(text: string): number {
  let bytes = text.length;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    // Two units of a surrogate pair make four bytes, one unit of the rest up to three.
    if (unit >= 0x80) bytes += unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

/** Orders keys as their UTF-8 bytes do. JavaScript's own order differs: it puts U+10000 and above before U+E000. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const [left, right] = [a.charCodeAt(index), b.charCodeAt(index)];
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

/** A UTF-16 unit's place in code point order: surrogates, which stand for U+10000 and above, come last. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
