import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { Sha256 } from "../dist/sha256.js";

describe("SHA-256", () => {
  const bytes = (length) => Uint8Array.from({ length }, (_, i) => (i * 31) % 256);
  const expected = (data) => createHash("sha256").update(data).digest("hex");

  for (const length of [0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1_000, 70_001]) {
    it(`of ${length} bytes`, () => {
      const data = bytes(length);
      assert.equal(new Sha256().update(data).hex(), expected(data));
    });
  }

  it("is the same in pieces of any size", () => {
    const data = bytes(1_000);
    for (const size of [1, 7, 63, 64, 65, 999]) {
      const sha256 = new Sha256();
      for (let at = 0; at < data.length; at += size) sha256.update(data.subarray(at, at + size));
      assert.equal(sha256.hex(), expected(data));
    }
  });
});
