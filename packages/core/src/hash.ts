/**
 * A 32-bit hash of text, well mixed: FNV-1a (Fowler, Noll and Vo) over its UTF-16 units, then the finalizer of MurmurHash3
 * (Appleby). The same in every process. Not for secrets.
 */
export function hash(text: string): number {
  let bits = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) bits = Math.imul(bits ^ text.charCodeAt(index), 0x01000193);
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
