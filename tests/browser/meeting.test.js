// The browser repeats its ClientHello by itself, and the page renews: at some down times the two meet, and what answers the one must not
// spoil the other. By a virtual clock, over all down times, round trips and timers of the browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "./lib/numbers.js";
import { World } from "./lib/outage-world.js";

const RTTS = [25, 35, 50, 75, 100, 200];
const DOWN_MS = { up: 1500, by: 5 };
/** Chromium's first repetition comes after two of its own round trips, which a busy machine makes longer; never before 50 ms. */
const REPEATS = [2, 2.3, 2.7, 3.2];
const TRIES_MS = [10, 23];

/** Every case; `more` are conditions of all. */
function* cases(more = {}) {
  for (const roundTrips of [1, 2]) {
    for (const rtt of RTTS) {
      for (const repeat of REPEATS) {
        for (const tryMs of TRIES_MS) {
          for (let downMs = 0; downMs <= DOWN_MS.up; downMs += DOWN_MS.by) {
            yield { rtt, downMs, repeatMs: Math.max(50, repeat * rtt), tryMs, roundTrips, ...more };
          }
        }
      }
    }
  }
}

/** Runs all, and calls `check` with each world and with what it took from the end of the down time on. */
function each(more, check) {
  for (const conditions of cases(more)) {
    const world = new World(conditions);
    const at = world.run();
    const { rtt, downMs, repeatMs, tryMs, roundTrips } = conditions;
    const words = `${rtt} ms of round trip, down ${downMs} ms, first repetition after ${repeatMs} ms, ${tryMs} ms between tries, ${roundTrips} round trips: keys ${at === null ? "never" : `${at - downMs} ms after it`}, attempts at ${world.attempts.map(({ at, spoiled }) => `${at}${spoiled ? " (spoiled)" : ""}`)}`;
    assert.ok(at !== null, words);
    check(world, at - downMs, words);
  }
}

test("no attempt gets the answer to another one, and no down time costs more than its neighbours", () => {
  each({}, (world, ms, words) => {
    assert.equal(world.spoiled, 0, words);
    assert.ok(world.attempts.length <= 2, words);
    // A try that comes just too soon and the next one, the handshake, and the news that the server has the keys.
    assert.ok(ms <= 40 + 4 * world.rtt, words);
  });
});

test("where the browser does not say what it sent, a spoiled attempt is known by what the server has seen, and done again soon and once", () => {
  let spoiled = 0;
  each({ tells: false }, (world, ms, words) => {
    spoiled += world.spoiled;
    assert.ok(world.spoiled <= 1, words);
    assert.ok(ms <= 30 + 10 * world.rtt, words);
  });
  assert.ok(spoiled > 0, "the model has attempts that meet");
});

test("an attempt that is spoiled all the same, while the browser took its time to begin, is done again as soon as its answer has gone by", () => {
  let spoiled = 0;
  each({ applyMs: 10 }, (world, ms, words) => {
    spoiled += world.spoiled;
    assert.ok(world.spoiled <= 2, words);
    assert.ok(ms <= (world.spoiled > 1 ? 700 : 60) + 6 * world.rtt, words);
  });
  assert.ok(spoiled > 0, "the model has attempts that meet");
});

test("where each attempt has a port of its own, no answer goes astray, and none is begun before its time", () => {
  each({ ports: true }, (world, ms, words) => {
    assert.ok(world.attempts.length <= 2 && world.spoiled === 0, words);
    assert.ok(ms <= 60 + 5 * world.rtt, words);
  });
});

test("an attempt that the server never hears of costs no more than the time that it would have taken", () => {
  each({ lost: (attempt) => attempt === 0 }, (world, ms, words) => {
    assert.ok(world.attempts.length === 2 && world.spoiled === 0, words);
    assert.ok(ms <= 120 + 8 * world.rtt, words);
  });
});

test("nor does one where ClientHellos and their answers are late, or lost", () => {
  for (let seed = 1; seed <= 5000; seed++) {
    const next = random(seed);
    const rtt = 25 + 175 * next();
    const conditions = { rtt, downMs: 1500 * next(), repeatMs: Math.max(50, (2 + 2 * next()) * rtt), tryMs: 10 + 20 * next(), roundTrips: next() < 0.5 ? 1 : 2 };
    const world = new World({ ...conditions, late: () => 9 * next(), lost: () => next() < 0.1 });
    const at = world.run();
    const words = `seed ${seed}, ${JSON.stringify(conditions)}: keys at ${at}, attempts at ${world.attempts.map((attempt) => Math.round(attempt.at))}`;
    assert.ok(at !== null && world.spoiled === 0, words);
  }
});
