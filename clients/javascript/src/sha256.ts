/**
 * SHA-256 (FIPS 180-4) of bytes that come in pieces: browsers have it for what is in memory as a
 * whole only, and a file need not fit there.
 */
export class Sha256 {
  readonly #state = Uint32Array.from(INITIAL);
  readonly #block = new Uint8Array(64);
  readonly #words = new Int32Array(64);
  #held = 0;
  #length = 0;

  update(bytes: Uint8Array): this {
    this.#length += bytes.length;
    let at = 0;
    while (at < bytes.length) {
      const part = bytes.subarray(at, at + 64 - this.#held);
      this.#block.set(part, this.#held);
      this.#held += part.length;
      at += part.length;
      if (this.#held === 64) this.#compress();
    }
    return this;
  }

  /** The digest in hex; nothing can be added after this. */
  hex(): string {
    const bits = this.#length * 8;
    this.update(Uint8Array.of(0x80));
    const zeros = (120 - this.#held) % 64;
    const tail = new DataView(new ArrayBuffer(zeros + 8));
    tail.setUint32(zeros, Math.floor(bits / 2 ** 32));
    tail.setUint32(zeros + 4, bits >>> 0);
    this.update(new Uint8Array(tail.buffer));
    return [...this.#state].map((word) => word.toString(16).padStart(8, "0")).join("");
  }

  #compress(): void {
    const [w, s] = [this.#words, this.#state];
    const block = new DataView(this.#block.buffer);
    for (let i = 0; i < 16; i++) w[i] = block.getInt32(i * 4);
    for (let i = 16; i < 64; i++) {
      const [x, y] = [w[i - 15]!, w[i - 2]!];
      const low = rotated(x, 7) ^ rotated(x, 18) ^ (x >>> 3);
      const high = rotated(y, 17) ^ rotated(y, 19) ^ (y >>> 10);
      w[i] = (w[i - 16]! + low + w[i - 7]! + high) | 0;
    }
    let [a, b, c, d, e, f, g, h] = s as unknown as Eight;
    for (let i = 0; i < 64; i++) {
      const big = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
      const one = (h + big + ((e & f) ^ (~e & g)) + ROUND[i]! + w[i]!) | 0;
      const small = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
      const two = (small + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => {
      s[i] = s[i]! + word;
    });
    this.#held = 0;
  }
}

type Eight = [number, number, number, number, number, number, number, number];

function rotated(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by));
}

/** The first primes, of whose roots the constants are made. */
const PRIMES = Array.from({ length: 312 }, (_, n) => n).filter(
  (n) => n > 1 && Array.from({ length: n - 2 }, (_, i) => i + 2).every((d) => n % d),
);
const fraction = (root: number) => Math.floor((root - Math.floor(root)) * 2 ** 32) >>> 0;
const INITIAL = PRIMES.slice(0, 8).map((prime) => fraction(prime ** (1 / 2)));
const ROUND = PRIMES.slice(0, 64).map((prime) => fraction(prime ** (1 / 3)) | 0);
