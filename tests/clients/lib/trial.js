// One client is tried: does it publish, does it watch, and what becomes of it when the server is killed?
import { Server, clock, ownAddress, sleep } from "../../browser/lib/server.js";
import { reference } from "./clients.js";
import { Program, tied } from "./program.js";

const CHANNEL = "trial";
/** Frames after which media flows. */
const ENOUGH = 30;
/** Until media must flow; some clients take seconds to start on a machine that others use too. */
const JOIN_TIME = 20_000;
/** Longest wait for a client to notice that it is no more. */
export const PATIENCE = 60_000;

export const start = ({ words, helpers }) => new Program(words, helpers);
const seconds = (from, to) => (to === null || to === undefined ? null : Math.round((to - from) / 10) / 100);

export async function serve(args = []) {
  const server = await Server.make({ args: ["--advertise", ownAddress(), ...args] });
  await server.start();
  tied(server.process);
  return server;
}

export const whip = (server) => `${server.url}/whip/${CHANNEL}`;
export const whep = (server) => `${server.url}/whep/${CHANNEL}`;

/** RTP packets taken from publishers since the process started; 0 while it does not answer. */
export async function received(server) {
  const { text } = await server.get("/metrics").catch(() => ({ text: "" }));
  return Number(/^rekindle_rtp_received_total (\d+)/m.exec(text)?.[1] ?? 0);
}

async function peers(server) {
  const answer = await server.get("/healthz").catch(() => null);
  return answer && answer.status === 200 ? JSON.parse(answer.text) : null;
}

/** Whether the server holds nobody of an earlier process. */
async function nobodyIsAwaited(server) {
  const health = await peers(server);
  return health !== null && !health.resuming && health.peers.awaited === 0;
}

const enough = ({ video, audio }, frames) => (video === "none" || frames.video >= ENOUGH) && (audio === "none" || frames.audio >= ENOUGH);

/** Waits until a publisher's media comes in. */
export function flows(server, publisher, timeout = JOIN_TIME) {
  return publisher.until(async () => (await received(server)) >= ENOUGH, timeout);
}

/** Waits until a viewer has frames; resolves with the time of it, or null. */
export async function sees(viewer, wanted, timeout = JOIN_TIME) {
  return (await viewer.until(() => enough(wanted, viewer.frames), timeout)) && clock();
}

/** Why a session did not come to be, in few words. */
function fault(program, server) {
  const answer = program.last("answer");
  const state = program.last("state")?.state;
  const line = server.log(100).split("\n").findLast((text) => /WARN.*turned away/.test(text));
  const refusal = answer && answer.status !== 201 ? `${answer.status} ${problem(answer.problem)}` : null;
  const said = (pattern) => program.noise.findLast((text) => pattern.test(text))?.replace(/^(\[[^\]]*\] )+/, "");
  const noise = program.exit && (program.last("error")?.problem ?? said(/Server returned|alert|handshake/i) ?? said(/error|fail/i));
  return [refusal, noise, state, line && line.slice(line.indexOf("WARN"))].filter(Boolean).join("; ") || "no media";
}

function problem(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return text;
  }
}

/** @returns {Promise<{ works: boolean, fault?: string, told_s?: number }>} */
async function attempt(server, program, works) {
  const begin = clock();
  if (await works()) return { works: true, took_s: seconds(begin, clock()) };
  const lost = program.lost(begin);
  // From the answer on, where the client says when that came.
  const joined = program.last("answer")?.at ?? begin;
  return { works: false, fault: fault(program, server), told_s: lost && seconds(joined, lost.at), story: program.story() };
}

/** Publishes with these codecs; a viewer of another make must decode them. */
export async function publishes(client, wanted) {
  const server = await serve();
  const programs = [];
  const run = (command) => {
    programs.push(start(command));
    return programs.at(-1);
  };
  try {
    const publisher = run(client.publish(whip(server), wanted));
    const result = await attempt(server, publisher, () => flows(server, publisher));
    if (!result.works) return result;
    const viewer = run(reference(wanted).watch(whep(server), wanted));
    const seen = await attempt(server, viewer, () => sees(viewer, wanted));
    return seen.works ? result : { ...seen, fault: `published, but its viewer: ${seen.fault}` };
  } finally {
    for (const program of programs.reverse()) await program.end();
    await server.close();
  }
}

/** Watches what a client of another make publishes. */
export async function watches(client, wanted) {
  const server = await serve();
  const publisher = start(reference(wanted).publish(whip(server), wanted));
  let viewer;
  try {
    if (!(await flows(server, publisher))) throw new Error(`the publisher for it does not publish:\n${publisher.story()}`);
    viewer = start(client.watch(whep(server), wanted));
    return await attempt(server, viewer, () => sees(viewer, wanted));
  } finally {
    await viewer?.end();
    await publisher.end();
    await server.close();
  }
}

/** Whether a viewer goes on when its publisher leaves and another session publishes. */
export async function follows(client, wanted) {
  const server = await serve();
  const programs = [];
  const keep = (program) => (programs.push(program), program);
  const publish = async () => {
    const publisher = keep(start(reference(wanted).publish(whip(server), wanted)));
    return (await flows(server, publisher)) && publisher;
  };
  try {
    const first = await publish();
    const viewer = keep(start(client.watch(whep(server), wanted)));
    if (!(await sees(viewer, wanted))) throw new Error(`it does not watch:\n${viewer.story()}`);
    await first.end();
    await sleep(500);
    const before = viewer.frames;
    const begin = clock();
    const second = await publish();
    const more = () => viewer.frames.video >= before.video + ENOUGH && viewer.frames.audio >= before.audio + ENOUGH;
    const works = second && (await viewer.until(more, 15_000));
    return works ? { works: true, took_s: seconds(begin, clock()) } : { works: false, story: viewer.story() };
  } finally {
    for (const program of programs) await program.kill();
    await server.close();
  }
}

/** Kills the server and starts it at once; resolves with the time of the kill. */
export async function killed(server) {
  const at = await server.kill();
  server.spawn();
  tied(server.process);
  await server.ready();
  return at;
}

/** Starts a session again and again until it works, as a script around the client would. */
async function insists(make, works, end) {
  let program;
  for (let tries = 1; clock() < end; tries++) {
    program = start(make());
    if (await works(program)) return { program, at: clock(), tries };
    if (process.env.REKINDLE_KEEP) console.log(program.story());
    await program.kill();
    await sleep(250);
  }
  return { program, at: null };
}

/** Waits until nobody of the process before is awaited any more; resolves with the time, or null. */
export async function letGo(server, patience) {
  for (const end = clock() + patience; clock() < end; await sleep(50)) {
    if (await nobodyIsAwaited(server)) return clock();
  }
  return null;
}

/** Waits until a client has noticed; resolves with what and when. */
export function notices(program, since) {
  return program.until(() => program.lost(since), PATIENCE);
}

/** What a restart is for a publisher or a viewer that cannot renew its keys. */
export async function restarted(client, role, wanted) {
  const watching = role === "watch";
  const server = await serve();
  const programs = [];
  const keep = (program) => (programs.push(program), program);
  const feed = async () => {
    const publisher = keep(start(reference(wanted).publish(whip(server), wanted)));
    if (!(await flows(server, publisher))) throw new Error(`the publisher for it does not publish:\n${publisher.story()}`);
    return publisher;
  };
  const make = () => (watching ? client.watch(whep(server), wanted) : client.publish(whip(server), wanted));
  const works = (program) => (watching ? sees(program, wanted) : flows(server, program));
  try {
    let other = watching ? await feed() : null;
    const first = keep(start(make()));
    if (!(await works(first))) throw new Error(`it does not ${role}:\n${first.story()}`);
    await sleep(2000);
    const killedAt = await killed(server);
    // The publisher that it watched leaves in order, so that whoever is still awaited is the viewer.
    await other?.end();
    const [lost, free] = await Promise.all([notices(first, killedAt), letGo(server, PATIENCE)]);
    await first.kill();
    if (watching) other = await feed();
    const again = await insists(make, works, clock() + PATIENCE);
    keep(again.program);

    // Once more, and this time a new session is begun at once and the old one is forgotten.
    await sleep(1000);
    const nextAt = await killed(server);
    await other?.end();
    await again.program.kill();
    if (watching) await feed();
    const last = await insists(make, works, clock() + PATIENCE);
    keep(last.program);
    return {
      noticed_s: seconds(killedAt, lost?.at),
      how: lost?.how ?? null,
      let_go_s: seconds(killedAt, free),
      back_s: lost && seconds(killedAt, again.at),
      new_session_s: seconds(nextAt, last.at),
    };
  } finally {
    for (const program of programs) await program.kill();
    await server.close();
  }
}

/** Runs with a server and with programs that end with it. */
export async function staged(run) {
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
