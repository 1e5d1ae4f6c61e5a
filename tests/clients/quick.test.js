// The short form of the matrix: clients that others wrote publish and watch, and the server is killed.
import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { CLIENTS, ffmpeg } from "./lib/clients.js";
import { flows, follows, killed, letGo, notices, publishes, sees, serve, staged, start, whep, whip } from "./lib/trial.js";

const VP8 = { video: "VP8", audio: "opus" };
const H264 = { video: "H264", audio: "opus" };

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
    // The publisher is heard by its media; the viewer by its next check, after six seconds at the latest.
    const free = await letGo(server, 10_000);
    assert.ok(free, `both are let go\n${server.log()}`);
    console.log(`let go ${Math.round(free - killedAt)} ms after the kill`);
    for (const program of old) await program.kill();
    await pair();
  });
});

test("libdatachannel, as in OBS, hears after kill -9 that it is no more", { timeout: 60_000 }, async () => {
  await staged(async (server, play) => {
    const publisher = play(CLIENTS.libdatachannel.publish(whip(server), H264));
    assert.ok(await flows(server, publisher), publisher.story());
    const killedAt = await killed(server);
    const lost = await notices(publisher, killedAt);
    assert.ok(lost, `it notices\n${publisher.story()}\n${server.log()}`);
    console.log(`${lost.how} ${Math.round(lost.at - killedAt)} ms after the kill`);
    // Its next check is due within six seconds. Without an answer to that it would go on for half a minute.
    assert.ok(lost.at - killedAt < 10_000, publisher.story());
  });
});

for (const name of ["ffmpeg", "ffmpeg-active"]) {
  test(`FFmpeg publishes H.264 and Opus, and aiortc decodes it (${CLIENTS[name].note})`, { timeout: 60_000 }, async () => {
    const { works, fault, story } = await publishes(CLIENTS[name], H264);
    assert.ok(works, `${fault}\n${story}`);
  });
}

test("libwebrtc goes on when its publisher is replaced by a new session", { timeout: 60_000 }, async () => {
  const { works, story } = await follows(CLIENTS.wrtc, VP8);
  assert.ok(works, `frames of the second publisher come\n${story}`);
});

const PUBLISHING = fs.readFileSync(new URL("../../docs/publishing.md", import.meta.url), "utf8");
/** The command that publishes, as words. */
const COMMAND = /^\$ (ffmpeg -re [^`$]*)/m.exec(PUBLISHING)[1].replaceAll("\\\n", " ").trim().split(/\s+/);
const TOKEN = COMMAND[COMMAND.indexOf("-authorization") + 1];
/** The same with the program that was installed, and with a server's address. */
const command = (server) => [ffmpeg(), "-nostdin", ...COMMAND.slice(1).with(-1, whip(server))];

test("the command for FFmpeg in docs/publishing.md publishes to a server that wants its token", { timeout: 60_000 }, async () => {
  const server = await serve(["--publish-token", TOKEN]);
  const publisher = start({ words: command(server) });
  try {
    assert.ok(await flows(server, publisher), `${publisher.story()}\n${server.log()}`);
  } finally {
    await publisher.kill();
    await server.close();
  }
});

test("the loop around FFmpeg in docs/publishing.md publishes once the server is there", { timeout: 60_000 }, async () => {
  const loop = /^\$ (until ffmpeg \.\.\.; do .*; done)$/m.exec(PUBLISHING)[1];
  const server = await serve(["--publish-token", TOKEN]);
  await server.kill();
  const publisher = start({ words: ["bash", "-c", loop.replace("ffmpeg ...", '"$@"'), "bash", ...command(server)] });
  const { pid } = publisher.process;
  try {
    assert.ok(await publisher.until(() => publisher.noise.some((line) => /refused/i.test(line)), 10_000), publisher.story());
    server.spawn();
    assert.ok(await flows(server, publisher), `${publisher.story()}\n${server.log()}`);
  } finally {
    // What the shell has started does not end with it.
    const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
    await publisher.kill();
    for (const child of children) process.kill(Number(child), "SIGKILL");
    await server.close();
  }
});
