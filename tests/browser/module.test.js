// The pure parts of the module: no browser, no server.
import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { reoffer, withStreams } from "../../static/rekindle-description.js";
import { EventParser, keepOpen, retryDelay } from "../../static/rekindle-line.js";
import { bundled, grouped, withParking, without } from "../../static/rekindle-parking.js";
import * as module from "../../static/rekindle.js";

const ANSWER = [
  "v=0",
  "o=- 18446744073709551000 1 IN IP4 127.0.0.1",
  "s=-",
  "t=0 0",
  "a=group:BUNDLE 0 1",
  "a=ice-lite",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111",
  "a=fingerprint:sha-256 AA:BB",
  "a=setup:passive",
  "a=mid:0",
  "a=sendonly",
  "a=rtpmap:111 opus/48000/2",
  "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
  "a=fingerprint:sha-256 AA:BB",
  "a=setup:passive",
  "a=mid:1",
  "a=sendonly",
  "a=rtpmap:96 VP8/90000",
  "a=rtpmap:97 rtx/90000",
  "a=ssrc:1 cname:rekindle",
  "",
].join("\r\n");

const lines = (sdp, start) => sdp.split("\r\n").filter((line) => line.startsWith(start));

test("an offer is made of the answer: another role and version, and all else as it was", () => {
  const offer = reoffer(ANSWER, 3);
  assert.deepEqual(lines(offer, "a=setup:"), ["a=setup:actpass", "a=setup:actpass"]);
  assert.deepEqual(lines(offer, "o="), ["o=- 18446744073709551000 4 IN IP4 127.0.0.1"]);
  const rest = (sdp) => sdp.split("\r\n").filter((line) => !/^(o=|a=setup:)/.test(line));
  assert.deepEqual(rest(offer), rest(ANSWER));
});

test("an edit reaches every section, and an answer stays passive", () => {
  const answer = reoffer(ANSWER, 1, "sha-512 CC:DD", "answer");
  assert.deepEqual(lines(answer, "a=fingerprint:"), ["a=fingerprint:sha-512 CC:DD", "a=fingerprint:sha-512 CC:DD"]);
  assert.deepEqual(lines(answer, "a=setup:"), ["a=setup:passive", "a=setup:passive"]);
});

test("another section owns the BUNDLE group", () => {
  assert.deepEqual(bundled(grouped(ANSWER, ["7", "0", "1"])), ["7", "0", "1"]);
  assert.deepEqual(bundled(reoffer(ANSWER, 2)), ["0", "1"]);
});

// Firefox's offer with a section that carries nothing on either side of those of the media.
const PARKED_OFFER = [
  "v=0",
  "a=fingerprint:sha-256 EE:FF",
  "a=group:BUNDLE p 0 1 q",
  "m=audio 38767 UDP/TLS/RTP/SAVPF 109 9",
  "a=inactive",
  "a=mid:p",
  "a=rtpmap:109 opus/48000/2",
  "m=audio 0 UDP/TLS/RTP/SAVPF 109 9",
  "a=bundle-only",
  "a=mid:0",
  "a=rtpmap:109 opus/48000/2",
  "m=video 0 UDP/TLS/RTP/SAVPF 120",
  "a=bundle-only",
  "a=mid:1",
  "m=audio 0 UDP/TLS/RTP/SAVPF 109",
  "a=bundle-only",
  "a=inactive",
  "a=mid:q",
  "a=rtpmap:109 opus/48000/2",
  "",
].join("\r\n");

test("the server is not shown sections that carry nothing, and its answer is completed with them", () => {
  const shown = without(PARKED_OFFER, ["p", "q"]);
  assert.deepEqual(bundled(shown), ["0", "1"]);
  assert.deepEqual(lines(shown, "m="), ["m=audio 9 UDP/TLS/RTP/SAVPF 109 9", "m=video 0 UDP/TLS/RTP/SAVPF 120"]);
  assert.deepEqual(lines(shown, "a=mid:"), ["a=mid:0", "a=mid:1"]);
  assert.deepEqual(lines(shown, "a=bundle-only"), ["a=bundle-only"]);

  const answer = withParking(ANSWER, PARKED_OFFER, ["p", "q"]);
  assert.deepEqual(bundled(answer), ["p", "0", "1", "q"]);
  assert.deepEqual(lines(answer, "a=mid:"), ["a=mid:p", "a=mid:0", "a=mid:1", "a=mid:q"]);
  assert.deepEqual(lines(answer, "a=fingerprint:"), Array(4).fill("a=fingerprint:sha-256 AA:BB"));
  assert.deepEqual(lines(answer, "a=setup:"), Array(4).fill("a=setup:passive"));
  const [, first, audio] = answer.split(/^(?=m=)/m);
  assert.ok(first.startsWith("m=audio 9 UDP/TLS/RTP/SAVPF 109\r\n") && first.includes("a=rtpmap:109 opus/48000/2\r\n"), first);
  assert.equal(audio, ANSWER.split(/^(?=m=)/m)[1], "the server's own sections are as it made them");
  assert.deepEqual(lines(withStreams(answer, [{ kind: "audio", ssrc: 5, rtx: null }]), "a=ssrc:"), ["a=ssrc:5 cname:rekindle", "a=ssrc:1 cname:rekindle"]);
});

test("another publisher's streams take the place of the old ones, in their own sections", () => {
  const streams = [
    { kind: "audio", ssrc: 10, rtx: 11 },
    { kind: "video", ssrc: 20, rtx: 21 },
  ];
  const [, audio, video] = withStreams(ANSWER, streams).split(/^(?=m=)/m);
  assert.deepEqual(lines(audio, "a=ssrc"), ["a=ssrc:10 cname:rekindle"], "no rtx was agreed for audio");
  assert.deepEqual(lines(video, "a=ssrc"), ["a=ssrc-group:FID 20 21", "a=ssrc:20 cname:rekindle", "a=ssrc:21 cname:rekindle"]);
  assert.equal(withStreams(ANSWER, []), ANSWER);
});

test("events are read however the stream is cut into pieces", () => {
  const text = ': alive\n\nretry: 500\nevent: hello\ndata: {"boot":7}\n\nevent: source\r\ndata: {"live":\r\ndata: true}\r\n\r\nevent: x\ndata: no json\n\n';
  for (const size of [1, 2, 7, text.length]) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
    assert.deepEqual(events, [
      { event: "hello", data: { boot: 7 } },
      { event: "source", data: { live: true } },
    ]);
  }
});

test("an event of a stream that sessions share names its session", () => {
  const events = new EventParser().push('session: a\nevent: gone\ndata: {}\n\nevent: hello\ndata: {}\n\n');
  assert.deepEqual(events, [
    { session: "a", event: "gone", data: {} },
    { event: "hello", data: {} },
  ]);
});

/** A server whose streams the test writes and ends; each request takes the next one, or fails. */
class Streams {
  requests = [];
  up = true;

  open = async (ids, signal) => {
    if (!this.up) throw new TypeError("refused");
    let controller;
    const body = new ReadableStream({ start: (given) => (controller = given) });
    const stream = { ids, at: performance.now(), ended: false, say: (session, event, data = {}) => controller.enqueue(new TextEncoder().encode(`session: ${session}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`)) };
    const end = (why) => {
      if (stream.ended) return;
      [stream.ended, stream.endedAt] = [true, performance.now()];
      controller.error(new Error(why));
    };
    stream.end = () => end("reset");
    signal.addEventListener("abort", () => end("aborted"));
    this.requests.push(stream);
    return new Response(body);
  };
}

const soon = (ms = 40) => new Promise((resolve) => setTimeout(resolve, ms));

function follows(ids) {
  const streams = new Streams();
  const told = [];
  const line = keepOpen(streams.open, {
    heard: (event, _, session) => told.push(`${session} ${event}`),
    answers: () => {},
    down: (first, refused) => told.push(`down${first ? " first" : ""}${refused ? " refused" : ""}`),
    unknown: () => told.push("unknown"),
  });
  line.follow(ids);
  return { streams, told, line };
}

test("another session is asked for beside the stream that there is, which ends when the new one has begun", async () => {
  const { streams, told, line } = follows(["a"]);
  await soon();
  streams.requests[0].say("a", "hello");
  line.follow(["a", "b"]);
  await soon();
  assert.deepEqual(streams.requests.map(({ ids, ended }) => [ids, ended]), [[["a"], false], [["a", "b"], false]]);
  streams.requests[0].say("a", "connected");
  await soon();
  streams.requests[1].say("a", "hello");
  await soon();
  assert.ok(streams.requests[0].ended);
  streams.requests[1].say("b", "hello");
  line.follow(["b"]);
  await soon();
  assert.equal(streams.requests.length, 2, "for one session less nothing is asked");
  assert.deepEqual(told, ["a hello", "a connected", "a hello", "b hello"]);
  line.follow([]);
  assert.ok(streams.requests[1].ended);
  await soon();
  assert.deepEqual(told.at(-1), "b hello", "what is not wanted any more is not missed");
});

test("a stream that ends is told of once and opened again at once", async () => {
  const { streams, told, line } = follows(["a"]);
  await soon();
  streams.requests[0].say("a", "hello");
  await soon();
  streams.up = false;
  streams.requests[0].end();
  await soon(100);
  streams.up = true;
  await soon(60);
  streams.requests[1].say("a", "hello");
  await soon();
  assert.equal(told[1], "down first");
  assert.ok(told.slice(2, -1).length > 0 && told.slice(2, -1).every((word) => word === "down refused"), told.join(", "));
  assert.equal(told.at(-1), "a hello");
  line.stop();
});

test("retries are as far apart as the server says, the first one at any time of that, and where it says nothing they come at once", () => {
  const many = (...how) => Array.from({ length: 1000 }, () => retryDelay(...how)).toSorted((a, b) => a - b);
  const first = many(0, 300, true);
  assert.ok(first[0] < 20 && first[999] <= 360, `${first[0]} to ${first[999]}`);
  for (const part of [0.25, 0.5, 0.75]) assert.ok(Math.abs(first[1000 * part] - 300 * part) < 40, `${first[1000 * part]} at ${part}`);
  const later = many(100, 300, false);
  assert.ok(later[0] >= 240 && later[999] <= 360, `${later[0]} to ${later[999]}`);
  for (const isFirst of [true, false]) assert.ok(many(0, 0, isFirst)[999] <= 12);
  assert.ok(many(60_000, 300, false)[999] <= 600, "and no more than without");
});

test("a page that shares its stream comes back as early as the one of its sessions that is awaited first", async () => {
  // Between attempts that come as far apart as this nothing is asked; at once means within some of these times.
  const MS = 400;
  const retries = async (...told) => {
    const { streams, line } = follows(told.map((_, i) => `${i}`));
    await soon();
    told.forEach((spread_ms, i) => streams.requests[0].say(`${i}`, "hello", { spread_ms }));
    await soon();
    return { streams, line };
  };
  const viewers = await Promise.all(Array.from({ length: 40 }, () => retries(MS, MS)));
  const both = await Promise.all(Array.from({ length: 40 }, () => retries(MS, 0)));
  const grown = await Promise.all(Array.from({ length: 40 }, () => retries(0)));
  for (const { streams } of grown) streams.requests[0].say("0", "spread", { spread_ms: MS });
  await soon();
  for (const { streams } of [...viewers, ...both, ...grown]) streams.requests[0].end();
  await soon(MS / 4);
  const back = (pages) => pages.filter(({ streams }) => streams.requests.length > 1).length;
  const counts = [viewers, both, grown].map(back);
  await soon(MS * 1.5);
  const all = [viewers, both, grown].map(back);
  for (const { line } of [...viewers, ...both, ...grown]) line.stop();
  assert.equal(counts[1], 40, "a publisher waits for nobody");
  assert.ok(counts[0] < 35 && counts[2] < 35, `${counts}`);
  assert.deepEqual(all, [40, 40, 40]);
});

test("a look that finds nobody ends the stream that does not know it", async () => {
  const { streams, told, line } = follows(["a"]);
  await soon();
  streams.requests[0].say("a", "hello");
  await soon();
  line.look();
  await soon();
  streams.requests[1].say("a", "hello");
  await soon();
  assert.deepEqual(told, ["a hello", "a hello"], "a server that is there costs nothing");
  streams.up = false;
  line.look();
  await soon();
  assert.equal(told[2], "down first refused");
  assert.ok(streams.requests[1].ended);
  line.stop();
});

test("the module is what its types say: see types/declared.ts", () => {
  assert.deepEqual(Object.keys(module), ["Session", "publish", "watch"]);
});

test("the server has all of the page built in, and nothing else", () => {
  const source = fs.readFileSync(new URL("../../src/server/assets.rs", import.meta.url), "utf8");
  const builtIn = [...source.matchAll(/built_in!\("([^"]+)"\)/g)].map(([, name]) => name);
  const files = (folder) => fs.readdirSync(new URL(folder, import.meta.url), { withFileTypes: true }).filter((entry) => entry.isFile()).map(({ name }) => name).toSorted();
  assert.deepEqual(builtIn.toSorted(), files("../../static/"));
  // What is for operators is on their listener alone.
  const page = fs.readFileSync(new URL("../../src/server/admin/page.rs", import.meta.url), "utf8");
  assert.deepEqual([...page.matchAll(/static\/admin\/([^"]+)"/g)].map(([, name]) => name).toSorted(), files("../../static/admin/"));
});

test("what cannot work is refused with what to do", () => {
  const { publish, watch } = module;
  assert.throws(() => watch("/whep/main"), /needs a browser/);
  globalThis.RTCPeerConnection = class {};
  globalThis.MediaStream = class {};
  try {
    assert.throws(() => watch("/whep/main", { pc: {} }), /"pc".*makes its connections itself/);
    assert.throws(() => watch("/whep/main", { tokn: "x" }), /"tokn".*token, fetch, signal, cushion, leaveOnPagehide, iceServers, rtc/);
    assert.throws(() => publish("/whip/main", {}), /MediaStream/);
  } finally {
    delete globalThis.RTCPeerConnection;
    delete globalThis.MediaStream;
  }
});

test("a request that nobody answers is followed by another one at once, so that one always waits where somebody holds the server's port", async () => {
  const { streams, told, line } = follows(["a"]);
  await soon();
  streams.requests[0].say("a", "hello");
  await soon();
  streams.requests[0].end();
  await soon();
  const second = streams.requests.length;
  assert.ok(second > 1);
  // Given up after a second and some more for what failed before.
  for (let waited = 0; streams.requests.length === second && waited < 4000; waited += 5) await soon(5);
  line.stop();
  const [silent, next] = streams.requests.slice(-2);
  assert.ok(silent.endedAt - silent.at > 900, "it had its time");
  assert.ok(next.at - silent.endedAt < 50, `${next.at - silent.endedAt} ms without a request`);
  assert.deepEqual(told, ["a hello", "down first", "down"]);
});
