// What the operators' page makes of answers: rates, boots, words. No browser, no server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { steps } from "../../static/admin/stats-draw.js";
import { History, ceiling, comebackWords, durationWords, rateWords, shareWords, timeWords } from "../../static/admin/stats-history.js";

const answer = (process, media = {}, resume = {}, awaited = 0) => ({
  version: "0",
  boot: Number(process),
  process: String(process),
  started_ms: 0,
  uptime_ms: 2000,
  peers: { connected: 0, awaited, joining: 0 },
  live: 0,
  viewers: 0,
  channels: [],
  more_channels: 0,
  media: { received_bytes: 0, sent_bytes: 0, sent: 0, retransmitted: 0, overrun: 0, dropped: 0, loss_reports: 0, loss_sum: 0, ...media },
  resume: { back: 0, lost: {}, curve: [], ...resume },
});

test("rates are between two answers, and begin anew with another process", () => {
  const history = new History();
  history.take(answer(1, { received_bytes: 5000, sent_bytes: 9000, loss_reports: 10, loss_sum: 1 }), 0);
  assert.deepEqual(history.samples, [], "one answer is no rate");
  history.take(answer(1, { received_bytes: 5500, sent_bytes: 9000 }), 400);
  history.take(answer(1, { received_bytes: 6000, sent_bytes: 11_000, loss_reports: 14, loss_sum: 2 }), 1000);
  history.take(answer(1, { received_bytes: 6000, sent_bytes: 11_000, loss_reports: 14, loss_sum: 2 }), 2000);
  // Another process counts from zero, and has run for a moment, and then for 2 s.
  history.take({ ...answer(2, { received_bytes: 100, sent_bytes: 900 }), uptime_ms: 100 }, 2100);
  history.take(answer(2, { received_bytes: 100, sent_bytes: 1000 }), 4000);
  const seen = history.samples.map(({ isFirst, bitsIn, bitsOut, loss }) => [isFirst, bitsIn, bitsOut, loss]);
  assert.deepEqual(seen, [[false, 8000, 16_000, 0.25], [false, 0, 0, null], [true, 400, 4000, null]]);
  for (let i = 1; i < 400; i++) history.take(answer(2), 4000 + 1000 * i);
  assert.equal(history.samples.length, 180);
});

test("each channel has rates of its own, also one that is new or has begun anew, but not one that was only left out before", () => {
  const channel = (name, received, sent, reports = 0, lost = 0) => ({ name, live: true, viewers: 1, media: { received_bytes: received, sent_bytes: sent, loss_reports: reports, loss_sum: lost } });
  const channels = (more, ...all) => ({ ...answer(1), channels: all, more_channels: more });
  const history = new History();
  const seen = () => [...history.channels].map(([name, { bitsIn, bitsOut, loss }]) => [name, bitsIn, bitsOut, loss]);
  history.take(channels(0, channel("a", 1000, 5000, 4, 1), channel("b", 9000, 9000)), 0);
  assert.deepEqual(seen(), [], "one answer is no rate");
  history.take(channels(2, channel("a", 2000, 9000, 6, 1.5), channel("b", 500, 250), channel("c", 125, 0)), 1000);
  assert.deepEqual(seen(), [["a", 8000, 32_000, 0.25], ["b", 4000, 2000, null], ["c", 1000, 0, null]]);
  history.take(channels(1, channel("a", 2000, 9000, 6, 1.5), channel("d", 9999, 9999)), 2000);
  assert.deepEqual(seen(), [["a", 0, 0, 0.25]]);
  // What another process has counted before 0.9 s is no rate.
  history.take({ ...answer(2), uptime_ms: 100, channels: [channel("a", 5000, 5000)] }, 2100);
  assert.deepEqual(seen(), []);
  history.take({ ...answer(2), channels: [channel("a", 5000, 5000)] }, 4000);
  assert.deepEqual(seen(), [["a", 20_000, 20_000, null]]);
});

test("boots are those that were seen, the newest first, each as it was seen last", () => {
  const history = new History();
  history.take(answer(1, {}, {}, 3), 0);
  history.take(answer(1, {}, { back: 3, curve: [[5, 3]] }), 1);
  for (let boot = 2; boot < 40; boot++) history.take(answer(boot), boot);
  assert.deepEqual([history.boots.length, history.boots[0].boot], [20, 39]);
  const again = new History();
  again.take(answer(1, {}, { back: 1 }, 1), 0);
  again.take(answer(1, {}, { back: 2 }), 1);
  again.take(answer(2), 2);
  assert.deepEqual(again.boots.map(({ boot, awaited, resume }) => [boot, awaited, resume.back]), [[2, 0, 0], [1, 0, 2]]);
});

test("words and scales", () => {
  assert.deepEqual([undefined, 12.4, 1234, 61_000].map((ms) => timeWords(ms)), ["–", "12 ms", "1.23 s", "1 min 1 s"]);
  assert.deepEqual([59_999, 3_600_000, 90_000_000].map(durationWords), ["59 s", "1 h", "1 d 1 h"]);
  assert.deepEqual([800, 1_500_000, 2_340_000_000].map(rateWords), ["1 kbit/s", "1.5 Mbit/s", "2.34 Gbit/s"]);
  assert.deepEqual([0, 0.0123].map(shareWords), ["0.0 %", "1.2 %"]);
  assert.deepEqual([0, NaN, 1, 3, 7, 12, 230].map(ceiling), [1, 1, 1, 5, 10, 20, 250]);
  assert.deepEqual(steps([[10, 1], [20, 3]], 50), [[0, 0], [10, 0], [10, 1], [20, 1], [20, 3], [50, 3]]);
  const resume = { back: 2, lost: { silent: 1 }, median_ms: 80, p90_ms: 90, last_ms: 90, curve: [] };
  assert.equal(comebackWords({ boot: 7, process: "", startedAt: 0, awaited: 1, resume }), "Boot 7: 2 came back, half of them after 80 ms, 90 % after 90 ms, the last after 90 ms; 1 awaited; 1 lost (1 silent).");
});
