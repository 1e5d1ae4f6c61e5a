// How long a viewer's browser keeps media back: rekindle-cushion.js decides, and is told what was measured. And the line of a description
// that has lost sound asked for again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Cushion, checked } from "../../static/rekindle-cushion.js";
import { withSoundAgain } from "../../static/rekindle-description.js";

test("by itself it covers an instant restart at this round trip, within bounds", () => {
  for (const [rtt, ms] of [[0, 135], [50, 300], [100, 500], [1000, 500]]) {
    const cushion = new Cushion("auto");
    assert.equal(cushion.ms, 150);
    cushion.look(rtt);
    assert.equal(cushion.ms, ms, `${rtt} ms`);
  }
  const unknown = new Cushion("auto");
  assert.equal(unknown.look(Infinity), false);
});

test("it grows at once and never shrinks much in one step", () => {
  const cushion = new Cushion("auto");
  assert.equal(cushion.look(100), true);
  let before = cushion.ms;
  while (cushion.look(0)) {
    assert.ok(cushion.ms >= before * 0.89 && cushion.ms < before);
    before = cushion.ms;
  }
  assert.equal(cushion.ms, 100);
});

test("restarts that took longer than the way says count, but none that no cushion could hide", () => {
  const cushion = new Cushion("auto");
  cushion.took(320, Infinity);
  cushion.took(5000, 0);
  cushion.look(0);
  assert.equal(cushion.ms, 354);
  cushion.took(300, 40);
  cushion.look(0);
  assert.equal(cushion.ms, 374, "what is missing comes a round trip later");
  for (let i = 0; i < 5; i++) cushion.took(60, 0);
  for (let i = 0; i < 30; i++) cushion.look(0);
  assert.equal(cushion.ms, 100);
});

test("a page's own number stays as it is, and nonsense is refused by name", () => {
  const cushion = new Cushion(checked(40));
  assert.equal(cushion.look(500), false);
  assert.equal(cushion.ms, 40);
  assert.equal(new Cushion(checked(0)).ms, null);
  assert.equal(checked(undefined), "auto");
  for (const wrong of [-1, 5000, NaN, "200", null, {}]) assert.throws(() => checked(wrong), /cushion/);
});

test("sound is asked for again once, for Opus alone", () => {
  const sdp = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\n";
  const once = withSoundAgain(sdp);
  assert.equal(once, sdp.replace("opus/48000/2\r\n", "opus/48000/2\r\na=rtcp-fb:111 nack\r\n"));
  assert.equal(withSoundAgain(once), once);
});
