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

// Somebody holds the ports while no server runs (`rekindle supervise`, systemd): nothing is refused, and what was sent meanwhile is answered late.
// Each bound is the one without held ports.
for (const [words, more, spoiled, most] of [
  ["", {}, 0, (rtt) => 40 + 4 * rtt],
  [", also where the browser does not say what it sent", { tells: false }, 1, (rtt) => 30 + 10 * rtt],
  [", also where each attempt has a port of its own", { ports: true }, 0, (rtt) => 60 + 5 * rtt],
]) {
  test(`where the ports are held, a ClientHello that waited there costs no time${words}`, () => {
    let [waited, sum, others] = [0, 0, 0];
    each({ held: true, ...more }, (world, ms, words) => {
      waited += world.attempts[0].at < world.downMs ? 1 : 0;
      sum += ms;
      assert.ok(world.spoiled <= spoiled && world.attempts.length <= 2 + world.spoiled, words);
      assert.ok(ms <= most(world.rtt), words);
    });
    each(more, (_, ms) => (others += ms));
    assert.ok(waited > 0, "the model has attempts that begin while no server runs");
    assert.ok(sum < others, `${sum / others} times as long as where nobody holds the ports`);
  });
}

test("where the ports are held and the server is near, keys are there as soon as it is up, however long it was away", () => {
  let [runs, spoiled] = [0, 0];
  for (const roundTrips of [1, 2]) {
    for (const rtt of [0.2, 1, 5, 15]) {
      for (let downMs = 0; downMs <= 9000; downMs += 7) {
        const world = new World({ rtt, downMs, repeatMs: 50, tryMs: 10, roundTrips, held: true });
        const at = world.run(20_000);
        const words = `${rtt} ms of round trip, down ${downMs} ms, ${roundTrips} round trips: keys ${at === null ? "never" : `${at - downMs} ms after it`}, attempts at ${world.attempts.map(({ at, spoiled }) => `${at}${spoiled ? " (spoiled)" : ""}`)}`;
        assert.ok(at !== null && at - downMs <= (world.spoiled ? 200 : 60) + 5 * rtt, words);
        runs += 1;
        spoiled += world.spoiled;
      }
    }
  }
  // A renewal that the page tries blindly just when the server comes up meets the answer to the one before.
  assert.ok(spoiled < runs / 200, `${spoiled} of ${runs}`);
});
