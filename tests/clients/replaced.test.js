// A viewer that others wrote goes on when its publisher is replaced by a new session.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIENTS } from "./lib/clients.js";
import { follows } from "./lib/trial.js";

const VP8 = { video: "VP8", audio: "opus" };

for (const name of ["wrtc", "werift", "aiortc"]) {
  test(`${name} goes on when the publisher is replaced by a new session`, { timeout: 90_000 }, async () => {
    const { works, story } = await follows(CLIENTS[name], VP8);
    assert.ok(works, `frames of the second publisher come\n${story}`);
  });
}
