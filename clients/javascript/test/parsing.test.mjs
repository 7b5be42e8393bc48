import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { EventStream } from "../dist/eventstream.js";
import { Assembly } from "../dist/fragments.js";
import { Lines } from "../dist/lines.js";

const CASES = JSON.parse(
  readFileSync(new URL("../../../tests/data/eventsource_cases.json", import.meta.url)),
).parse;

function decode(chunks) {
  const stream = new EventStream();
  const events = chunks.flatMap((chunk) => stream.feed(chunk));
  return { events, retry: stream.retry ?? null };
}

function cut(bytes, size) {
  const chunks = [];
  for (let at = 0; at < bytes.length; at += size()) chunks.push(bytes.subarray(at, at + size.last));
  return chunks;
}

function sizes(draw) {
  const size = () => size.last;
  size.last = draw();
  return size;
}

describe("event streams, as the standard has them", () => {
  for (const { name, stream_b64, events, retry_ms } of CASES) {
    it(name, () => {
      const bytes = Buffer.from(stream_b64, "base64");
      const expected = { events: events.map(({ data }) => data), retry: retry_ms };
      assert.deepEqual(decode([bytes]), expected, "whole");
      for (const size of [1, 2, 3, 7]) {
        assert.deepEqual(
          decode(
            cut(
              bytes,
              sizes(() => size),
            ),
          ),
          expected,
          `in pieces of ${size}`,
        );
      }
    });
  }

  it("characters that are cut at the end of a chunk are whole again", () => {
    const text = "data: héllo 🌊 – 潮\n\n";
    for (let at = 1; at < Buffer.byteLength(text); at++) {
      const bytes = Buffer.from(text);
      const { events } = decode([bytes.subarray(0, at), bytes.subarray(at)]);
      assert.equal(events[0], "héllo 🌊 – 潮");
    }
  });
});

describe("lines", () => {
  it("of JSON, cut anywhere", () => {
    const values = [{ a: 1 }, { b: "x\u2028y" }, [1, 2]];
    const text = values.map((value) => `${JSON.stringify(value)}\n`).join("");
    for (let size = 1; size < text.length; size++) {
      const lines = new Lines();
      const found = [];
      for (let at = 0; at < text.length; at += size)
        found.push(...lines.feed(text.slice(at, at + size)));
      assert.deepEqual(
        found.map((line) => JSON.parse(line)),
        values,
      );
    }
  });

  it("a CR and a LF in two pieces are one end", () => {
    const lines = new Lines();
    assert.deepEqual([...lines.feed("a\r"), ...lines.feed("\nb\n")], ["a", "b"]);
  });
});

/** Ms of processor time of the quicker of two runs: what else the machine does is not counted. */
function quickest(work) {
  return Math.min(
    ...Array.from({ length: 2 }, () => {
      const begin = process.cpuUsage();
      work();
      return process.cpuUsage(begin).user / 1_000;
    }),
  );
}

describe("a large body takes time in proportion to its size", () => {
  const MEGABYTE = 1 << 20;
  // 8 times the size: quadratic work would take 64 times as long. Between 8 and that there is room
  // for what the processor's caches and the collector of garbage make of it.
  const assertLinear = (parse) => {
    parse(MEGABYTE);
    const small = quickest(() => parse(8 * MEGABYTE));
    const large = quickest(() => parse(64 * MEGABYTE));
    assert.ok(large < 30 * small + 50, `8 MB: ${small} ms, 64 MB: ${large} ms`);
  };
  const chunked = (text, feed) => {
    for (let at = 0; at < text.length; at += 16_384) feed(text.subarray(at, at + 16_384));
  };

  it("one event", () => {
    assertLinear((size) => {
      const stream = new EventStream();
      let data = 0;
      chunked(Buffer.from(`data: ${"x".repeat(size)}\n\n`), (chunk) => {
        for (const event of stream.feed(chunk)) data += event.length;
      });
      assert.equal(data, size);
    });
  });

  it("small events", () => {
    assertLinear((size) => {
      const stream = new EventStream();
      let count = 0;
      const event = `id: 7\ndata: ${"x".repeat(80)}\n\n`;
      const text = event.repeat(Math.floor(size / event.length));
      chunked(Buffer.from(text), (chunk) => {
        count += stream.feed(chunk).length;
      });
      assert.equal(count * event.length, text.length);
    });
  });

  it("lines of JSON", () => {
    assertLinear((size) => {
      const lines = new Lines();
      const decoder = new TextDecoder();
      const line = `${JSON.stringify({ text: "é".repeat(60) })}\n`;
      const body = Buffer.from(line.repeat(Math.floor(size / Buffer.byteLength(line))));
      let count = 0;
      chunked(body, (chunk) => {
        for (const one of lines.feed(decoder.decode(chunk, { stream: true })))
          count += JSON.parse(one).text.length;
      });
      assert.equal(count, 60 * Math.floor(size / Buffer.byteLength(line)));
    });
  });

  it("one line that comes in small pieces", () => {
    assertLinear((size) => {
      const lines = new Lines();
      let found = [];
      const piece = "x".repeat(1_024);
      for (let at = 0; at < size; at += piece.length) found = lines.feed(piece);
      found = lines.feed("\n");
      assert.equal(found[0].length, size);
    });
  });
});

describe("messages in parts", () => {
  const whole = {
    type: "message",
    id: "m1",
    channel: "news",
    seq: 1,
    time: 0,
    data: "x".repeat(50),
  };
  const parts = (count = 3, of = "m1") => {
    const text = JSON.stringify(whole);
    const size = Math.ceil(text.length / count);
    return Array.from({ length: count }, (_, index) => ({
      type: "fragment",
      of,
      index,
      count,
      data: text.slice(index * size, (index + 1) * size),
    }));
  };

  it("are put together", () => {
    const assembly = new Assembly();
    const [a, b, c] = parts();
    assert.equal(assembly.take(a), undefined);
    assert.equal(assembly.take(b), undefined);
    assert.deepEqual(assembly.take(c), whole);
    assembly.end();
  });

  for (const [name, list] of Object.entries({
    "without the first": parts().slice(1),
    "without one in between": [parts()[0], parts()[2]],
    "one of them twice": [parts()[0], parts()[0]],
    "of two messages": [parts()[0], parts(3, "m2")[1]],
    "with something in between": [parts()[0], { type: "message", id: "m0" }],
  })) {
    it(`${name}: taken for a broken connection`, () => {
      const assembly = new Assembly();
      assert.throws(
        () => list.map((part) => assembly.take(part)),
        ({ kind }) => kind === "cut",
      );
    });
  }

  it("a stream may end between them", () => {
    const assembly = new Assembly();
    assembly.take(parts()[0]);
    assert.equal(assembly.take({ type: "close", code: 1012 }).type, "close");
    assert.throws(() => assembly.end());
  });
});
