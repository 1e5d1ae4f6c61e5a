// Builds with BoringSSL and clients that others wrote, as they come: also those whose RSA certificates dimpl cannot check.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIENTS } from "./lib/clients.js";
import { publishes, serve, start, watches, whip } from "./lib/trial.js";

const VP8 = { video: "VP8", audio: "opus" };
const H264 = { video: "H264", audio: "opus" };

test("the server's library is BoringSSL", async () => {
  const server = await serve();
  try {
    assert.equal(JSON.parse((await server.get("/healthz")).text).dtls, "BoringSSL");
  } finally {
    await server.close();
  }
});

test("GStreamer's webrtcbin publishes and watches with its own RSA certificate", { timeout: 120_000 }, async () => {
  for (const [what, trial] of Object.entries({ publishes, watches })) {
    const { works, fault, story } = await trial(CLIENTS.gstreamer, VP8);
    assert.ok(works, `${what}: ${fault}\n${story}`);
  }
});

// The first of these is the DTLS server itself.
for (const name of ["ffmpeg", "ffmpeg-active", "pyav-p256"]) {
  test(`FFmpeg publishes (${CLIENTS[name].note})`, { timeout: 60_000 }, async () => {
    const { works, fault, story } = await publishes(CLIENTS[name], H264);
    assert.ok(works, `${fault}\n${story}`);
  });
}

// BoringSSL knows no P-224 in certificates, and has no setting for it.
test("FFmpeg with GnuTLS and the P-224 certificate that it makes is turned away: the log says why and what to do, and it ends", { timeout: 60_000 }, async () => {
  const server = await serve();
  const publisher = start(CLIENTS.pyav.publish(whip(server), H264));
  try {
    const told = () => /WARN.*turned away.*it is the DTLS server.*give it one with a P-256 key, or let it be the DTLS client/.test(server.log(100));
    assert.ok(await publisher.until(told, 20_000), `${publisher.story()}\n${server.log(50)}`);
    assert.ok(await publisher.until(() => publisher.exit, 20_000), publisher.story());
    assert.notEqual(publisher.exit.code, 0, publisher.story());
    const { text } = await server.get("/metrics");
    assert.match(text, /^rekindle_sessions_ended_total{reason="no-handshake"} 1$/m);
    assert.match(text, /^rekindle_handshakes_total 0$/m);
  } finally {
    await publisher.kill();
    await server.close();
  }
});

test("with --require-post-quantum a client that has none is turned away, and the log says why", { timeout: 60_000 }, async () => {
  const server = await serve(["--require-post-quantum"]);
  const publisher = start(CLIENTS.aiortc.publish(whip(server), VP8));
  try {
    const told = () => /WARN.*turned away.*offers no post-quantum key exchange/.test(server.log(100));
    assert.ok(await publisher.until(told, 20_000), `${publisher.story()}\n${server.log(50)}`);
    const { text } = await server.get("/metrics");
    assert.match(text, /^rekindle_sessions_ended_total{reason="not-post-quantum"} 1$/m);
    assert.match(text, /^rekindle_handshakes_total 0$/m);
  } finally {
    await publisher.kill();
    await server.close();
  }
});
