// The short form of the matrix: three clients that others wrote, as publisher, as viewer, and over a restart and a change of publisher.
import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, sleep } from "../browser/lib/server.js";
import { CLIENTS } from "./lib/clients.js";
import { Program } from "./lib/program.js";
import { aftermath, flows, killed, publishes, sees, serve, start, whep, whip } from "./lib/trial.js";

const VP8 = { video: "VP8", audio: "opus" };
const H264 = { video: "H264", audio: "opus" };

/** Runs with a server and with programs that end with it. */
async function staged(run) {
  const server = await serve();
  const programs = [];
  const play = (command) => {
    programs.push(start(command));
    return programs.at(-1);
  };
  try {
    await run(server, play);
  } finally {
    for (const program of programs) await program.kill();
    await server.close();
  }
}

test("aiortc publishes and watches; after kill -9 it is let go at once, and a new session works", { timeout: 60_000 }, async () => {
  await staged(async (server, play) => {
    const { publish, watch } = CLIENTS.aiortc;
    const pair = async () => {
      const publisher = play(publish(whip(server), VP8));
      assert.ok(await flows(server, publisher), `media comes in\n${publisher.story()}\n${server.log()}`);
      const viewer = play(watch(whep(server), VP8));
      assert.ok(await sees(viewer, VP8), `the viewer decodes\n${viewer.story()}\n${server.log()}`);
      return [publisher, viewer];
    };
    const old = await pair();
    const killedAt = await killed(server);
    // It sends a check every five seconds, and its media all the time; without media its viewer is heard by a check or a report.
    const { free } = await aftermath(server, new Program(["true"]), killedAt, 10_000);
    assert.ok(free, `both are let go\n${server.log()}`);
    for (const program of old) await program.kill();
    await pair();
  });
});

for (const name of ["ffmpeg", "ffmpeg-active"]) {
  test(`FFmpeg publishes H.264 and Opus, and aiortc decodes it (${CLIENTS[name].note})`, { timeout: 60_000 }, async () => {
    const { works, fault, story } = await publishes(CLIENTS[name], H264);
    assert.ok(works, `${fault}\n${story}`);
  });
}

test("libwebrtc goes on when the publisher is replaced by a new session", { timeout: 60_000 }, async () => {
  await staged(async (server, play) => {
    const begin = () => play(CLIENTS.aiortc.publish(whip(server), VP8));
    const first = begin();
    assert.ok(await flows(server, first), first.story());
    const viewer = play(CLIENTS.wrtc.watch(whep(server), VP8));
    assert.ok(await sees(viewer, VP8), viewer.story());
    await first.end();
    const answer = await server.get("/channel/trial");
    assert.equal(JSON.parse(answer.text).live, false, "the first one has left");
    const shown = viewer.frames.video;
    const second = begin();
    const end = clock() + 15_000;
    while (viewer.frames.video < shown + 60 && clock() < end && !second.exit) await sleep(50);
    assert.ok(viewer.frames.video >= shown + 60, `frames of the second one are shown\n${viewer.story()}\n${second.story()}\n${server.log()}`);
    assert.equal(viewer.last("state").state, "connected");
  });
});
