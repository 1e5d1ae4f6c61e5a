// What the page makes of statistics and samples: no browser, no server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loudness } from "../../static/page-level.js";
import { limit, quality, wishes } from "../../static/page-quality.js";
import { Faults, Rates, lines, rateWords } from "../../static/page-rates.js";
import { flows } from "../../static/rekindle-watch.js";

const codecs = [
  { type: "codec", id: "c1", timestamp: 0, mimeType: "audio/opus" },
  { type: "codec", id: "c2", timestamp: 0, mimeType: "video/VP8" },
];
const inbound = (timestamp, bytes, received, lost) => [
  ...codecs,
  { type: "inbound-rtp", kind: "audio", timestamp, bytesReceived: bytes / 5, packetsReceived: received / 2, packetsLost: 0, codecId: "c1" },
  { type: "inbound-rtp", kind: "video", timestamp, bytesReceived: bytes * 0.8, packetsReceived: received / 2, packetsLost: lost, codecId: "c2", frameWidth: 640, frameHeight: 360, framesPerSecond: 29.6, freezeCount: 1, jitterBufferDelay: timestamp / 100, jitterBufferEmittedCount: timestamp / 10 },
  { type: "candidate-pair", timestamp, responsesReceived: 1, currentRoundTripTime: 0.0204 },
  { type: "candidate-pair", timestamp, responsesReceived: 0, currentRoundTripTime: 0 },
];

test("a viewer's rate, loss and delay are those since the last look", () => {
  const rates = new Rates();
  const first = rates.look(inbound(1000, 100_000, 1000, 50), false);
  assert.deepEqual([first.kbps, first.lost, first.delay], [null, null, null], "one look has nothing to compare with");
  const second = rates.look(inbound(2000, 350_000, 1900, 150), false);
  assert.deepEqual([second.kbps, second.lost, second.delay, second.rtt], [2000, 0.1, 100, 20]);
  assert.deepEqual(Object.fromEntries(lines(second)), {
    Rate: "2.0 Mbit/s",
    Picture: "640 × 360",
    "Frames per second": "30",
    Codecs: "opus, VP8",
    "Lost on the way": "10.0 %",
    "Round trip": "20 ms",
    "Kept back": "100 ms",
    Freezes: "1",
  });
  assert.equal(rates.look(inbound(3000, 1000, 10, 0), false).kbps, null, "a new connection counts from zero");
  assert.equal(rateWords(999), "999 kbit/s");
});

test("a publisher's rate is what it sends, and its loss what the server says", () => {
  const rates = new Rates();
  const sent = (timestamp, bytesSent) => [
    { type: "outbound-rtp", kind: "video", timestamp, bytesSent, qualityLimitationReason: "cpu" },
    { type: "remote-inbound-rtp", timestamp, fractionLost: 0.25 },
  ];
  rates.look(sent(0.5, 0), true);
  const { kbps, lost, limited } = rates.look(sent(1000.5, 125_000), true);
  assert.deepEqual([kbps, lost, limited], [1000, 0.25, "cpu"]);
  assert.ok(lines(new Rates().look([], true)).every(([, value]) => value === "–"), "nothing is known of a connection without media");
});

test("a publisher is told of what lasts, and not of a moment", () => {
  const faults = new Faults();
  const look = (sample, times = 1) => Array.from({ length: times }, () => faults.look({ lost: null, ...sample })).at(-1);
  assert.equal(look({ limited: "bandwidth" }, 9), null, "a browser begins with a low rate");
  assert.equal(look({ limited: "none" }), null);
  assert.equal(look({ limited: "bandwidth" }), "line", "ten of eleven");
  assert.equal(look({ limited: "none" }, 3), null);
  faults.clear();
  assert.equal(look({ limited: "cpu", lost: 0.2 }, 10), "loss", "what is lost says more than what is limited");
  faults.clear();
  assert.equal(look({ limited: "cpu" }, 10), "computer");
  assert.equal(look({ limited: undefined, lost: 0.05 }), "computer", "a little loss is mended");
});

test("loudness goes from silence to full scale, by decibels", () => {
  const tone = (peak) => Float32Array.from({ length: 1000 }, (_, i) => (i % 2 ? peak : -peak));
  assert.equal(loudness(new Float32Array(1000)), 0);
  assert.equal(loudness(tone(1)), 1);
  assert.ok(Math.abs(loudness(tone(0.0316)) - 0.5) < 0.01, "30 dB below is half of 60");
  assert.equal(loudness(tone(0.0001)), 0);
});

test("a quality limits what is sent, and the usual one leaves the browser alone", async () => {
  const parameters = { encodings: [{ active: true }] };
  let set = 0;
  const sender = { track: { kind: "video" }, getParameters: () => parameters, setParameters: async () => (set += 1) };
  const pc = { getSenders: () => [{ track: null }, sender] };
  await limit(pc, 720);
  assert.equal(set, 0);
  await limit(pc, 480);
  assert.deepEqual([parameters.encodings, set], [[{ active: true, maxBitrate: 800_000 }], 1]);
  await limit(pc, 480);
  assert.equal(set, 1, "what is so already is not asked for");
  await limit(pc, 720);
  assert.deepEqual([parameters.encodings, set], [[{ active: true }], 2]);
  await limit(null, 480);
  assert.equal(quality("made up"), 720);
  assert.deepEqual(wishes(480).width, { ideal: 854 });
});

test("where a publisher sent sound alone before a restart, sound is what is waited for", async () => {
  let packets = 100;
  const pc = { getStats: async () => new Map([["a", { type: "inbound-rtp", kind: "audio", packetsReceived: (packets += 10) }], ["v", { type: "inbound-rtp", kind: "video", packetsReceived: 50, framesDecoded: 40 }]]) };
  const start = performance.now();
  assert.equal(await flows(pc, () => true, () => true, false), true);
  assert.ok(performance.now() - start < 1500, "at once");
  // Where there was a picture, sound alone is not enough.
  assert.equal(await flows(pc, () => performance.now() - start < 300, () => true, true), false);
});
