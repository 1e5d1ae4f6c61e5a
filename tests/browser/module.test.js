// The pure parts of the module: no browser, no server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EventParser, reoffer, withStreams } from "../../static/rekindle.js";

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
  const offer = reoffer(ANSWER, { version: 3 });
  assert.deepEqual(lines(offer, "a=setup:"), ["a=setup:actpass", "a=setup:actpass"]);
  assert.deepEqual(lines(offer, "o="), ["o=- 18446744073709551000 4 IN IP4 127.0.0.1"]);
  const rest = (sdp) => sdp.split("\r\n").filter((line) => !/^(o=|a=setup:)/.test(line));
  assert.deepEqual(rest(offer), rest(ANSWER));
});

test("an edit reaches every section, and an answer stays passive", () => {
  const answer = reoffer(ANSWER, { version: 1, fingerprint: "sha-512 CC:DD", type: "answer" });
  assert.deepEqual(lines(answer, "a=fingerprint:"), ["a=fingerprint:sha-512 CC:DD", "a=fingerprint:sha-512 CC:DD"]);
  assert.deepEqual(lines(answer, "a=setup:"), ["a=setup:passive", "a=setup:passive"]);
});

test("the BUNDLE owner moves and comes back", () => {
  assert.deepEqual(lines(reoffer(ANSWER, { version: 1, flip: true }), "a=group:"), ["a=group:BUNDLE 1 0"]);
  assert.deepEqual(lines(reoffer(ANSWER, { version: 2, flip: false }), "a=group:"), ["a=group:BUNDLE 0 1"]);
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
