const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const noBytes: Uint8Array = new Uint8Array(0);

export function encode(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Text of UTF-8 bytes; what is not UTF-8 becomes U+FFFD. */
export function decode(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

export function byteLength(text: string): number {
  return encoder.encode(text).length;
}
