// The page: the first tab publishes its camera after a click, all others watch. It says in words what is going on, and never
// shows a picture that stands still without saying why.
import { Seen } from "./page-seen.js";
import { publish, watch } from "./rekindle.js";

const element = (id) => document.getElementById(id);
const video = element("video");

const channel = new URLSearchParams(location.search).get("channel") || "main";
// In the fragment, because that is never sent to a server and so is in no log.
const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? undefined;

/** A picture that stands still for so long is explained, in ms. */
const STILL_MS = 1000;
/** For how long "back after N ms" stays in the status, in ms. */
const BACK_MS = 6000;
const LOG_LINES = 60;
/** What was seen and heard of a restart is counted so long after it, and looked at as often while all is well, in ms. */
const SEEN_MS = 1000;
/**
 * Words about what the session does wait so long, in ms: while keys are renewed, the browser has better to do than to lay out text, and
 * nobody can read words that stand for less.
 */
const WORDS_MS = 150;

let session = null;
let role = "viewer";
let camera = null;
/** When a new frame was last shown, when the last state began, and the words for the last restart. */
let frameAt = -Infinity;
let stateAt = performance.now();
let back = null;
let seen = new Seen();
/** A restart's sound is still being counted. */
let counting = false;
let playBlocked = false;
let trouble = null;
/** What happened and is not in the list yet, and the timer that puts it there. */
let news = [];
let timer = null;

/** The words for each state: for the status, and for the overlay. */
const WORDS = {
  connecting: ["busy", "Connecting", ""],
  waiting: ["busy", "Waiting for a publisher", "Nobody publishes on this channel yet. The picture starts by itself when somebody does."],
  connected: ["good", "Connected", ""],
  "server-gone": ["bad", "Server gone", "The picture goes on as soon as the server is back. Nothing needs to be done here."],
  renewing: ["busy", "Server is back, keys are being renewed", "The connection is the same. Only its keys are new."],
  reconnecting: ["busy", "Making a new session", "The old connection could not be kept."],
  failed: ["bad", "It did not work", ""],
  closed: ["busy", "Stopped", ""],
};

/** Notes what happened; shown with the next {@link render}. */
function say(text) {
  news.push([new Date(), text]);
}

/** Renders when there is time for it. */
function renderSoon() {
  timer ??= setTimeout(render, WORDS_MS);
}

function line(at, text) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = at.toISOString();
  time.textContent = at.toLocaleTimeString([], { hour12: false });
  const words = document.createElement("span");
  words.textContent = text;
  item.append(time, words);
  return item;
}

/** What the status says: tone and text. */
function status() {
  const [tone, text] = WORDS[session?.state ?? "closed"];
  if (session?.state !== "connected") return [tone, text];
  if (back && performance.now() - back.at < BACK_MS) return ["good", `Connected, back after ${back.took}`];
  if (role === "publisher") return ["good", "Connected, you are live"];
  if (session.live === false) return ["busy", "Connected, waiting for a publisher"];
  return [tone, text];
}

/** What the overlay says, or null while a moving picture needs no words. */
function notice() {
  if (trouble) return { tone: "bad", title: trouble.title, text: trouble.text };
  const state = session?.state ?? "closed";
  if (role === "publisher" && ["connected", "server-gone", "renewing", "reconnecting"].includes(state)) {
    // Your own camera never stands still; but what viewers see does.
    if (state === "connected" || performance.now() - stateAt < STILL_MS) return null;
    const [tone, title] = WORDS[state];
    return { tone, title, text: "This is your own camera. Viewers see their last picture until the server is back." };
  }
  if (state === "waiting") return { tone: "busy", title: WORDS.waiting[1], text: WORDS.waiting[2], publish: true };
  if (playBlocked) return { tone: "busy", title: "Ready to play", text: "Your browser wants a click first.", play: true };
  if (performance.now() - frameAt < STILL_MS) return null;
  if (state === "connected") {
    if (session.live === false) {
      return { tone: "busy", title: "The publisher has left", text: "The picture starts by itself when somebody publishes.", publish: true };
    }
    if (frameAt === -Infinity) return { tone: "busy", title: "Connected", text: "The first picture is on its way." };
    return { tone: "busy", title: "No picture is arriving", text: "You are connected, but the publisher's picture does not come through at the moment." };
  }
  const [tone, title, text] = WORDS[state];
  return { tone, title, text };
}

function render() {
  clearTimeout(timer);
  timer = null;
  const log = element("log");
  for (const [at, text] of news) log.prepend(line(at, text));
  news = [];
  while (log.children.length > LOG_LINES) log.lastChild.remove();

  const [tone, text] = status();
  write("status-text", text);
  element("status").dataset.tone = tone;

  const words = notice();
  element("overlay").hidden = words === null;
  if (words) {
    element("notice").dataset.tone = words.tone;
    let more = words.text;
    if (session?.state === "server-gone") more += ` (${Math.floor((performance.now() - stateAt) / 1000)} s)`;
    write("notice-title", words.title);
    write("notice-text", more);
  }
  element("publish").hidden = !words?.publish;
  element("play").hidden = !words?.play;
  element("again").hidden = !trouble;

  write("role", role === "publisher" ? "publishing" : "watching");
  write("boot", session?.boot ?? "–");
  if (back) write("took", back.took);
  write("restarts", String(session?.restarts ?? 0));
  const replaced = session?.replacements ?? 0;
  write("same", !session?.boot ? "–" : replaced === 0 ? "the same since the start" : `new, ${replaced} time${replaced > 1 ? "s" : ""}`);
  element("same").dataset.same = String(replaced === 0);
  const moving = performance.now() - frameAt < STILL_MS;
  element("badge-live").hidden = !(role === "publisher" ? session?.state === "connected" : moving);
  element("badge-own").hidden = role !== "publisher";
  element("unmute").hidden = role === "publisher" || frameAt === -Infinity;
  element("stop").hidden = role !== "publisher";
  element("cushion-choice").hidden = role === "publisher" || !("jitterBufferTarget" in (globalThis.RTCRtpReceiver?.prototype ?? {}));
  element("hint").hidden = role !== "publisher";
}

function write(id, text) {
  const target = element(id);
  // Only when it is another: a screen reader would speak it again.
  if (target.textContent !== String(text)) target.textContent = String(text);
}

/** Notes every frame that is shown. */
function follow() {
  if (video.requestVideoFrameCallback) {
    const shown = (at) => {
      frameAt = performance.now();
      seen.frame(at);
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
    return;
  }
  let last = 0;
  setInterval(() => {
    const count = video.getVideoPlaybackQuality?.().totalVideoFrames ?? video.currentTime;
    if (count !== last) frameAt = performance.now();
    last = count;
  }, 200);
}

async function show(stream) {
  if (video.srcObject !== stream) video.srcObject = stream;
  try {
    await video.play();
    playBlocked = false;
  } catch (error) {
    playBlocked = error.name === "NotAllowedError";
  }
  render();
}

/** Takes a session as the page's own, and tells what becomes of it. */
function use(next) {
  session = next;
  trouble = null;
  stateAt = performance.now();
  const mine = (handler) => (event) => {
    if (session !== next) return;
    handler(event.detail);
    renderSoon();
  };
  next.addEventListener("state", mine(({ state, reason }) => {
    stateAt = performance.now();
    if (state === "server-gone") counting = true;
    if (state === "reconnecting") say(`Making a new session (${reason}).`);
    else say(`${WORDS[state][1]}.`);
  }));
  next.addEventListener("track", mine(() => show(next.stream)));
  next.addEventListener("state", mine(({ state, previous }) => {
    // A false alarm has no restart to tell of; where there was one, it is told first.
    if (state === "connected" && previous === "server-gone") setTimeout(() => (counting = false), 2 * SEEN_MS);
  }));
  next.addEventListener("restart", mine(({ boot, took_ms, renewed }) => {
    back = { at: performance.now(), took: `${took_ms} ms` };
    say(`Back after ${took_ms} ms: process no. ${boot}, the same connection, ${renewed ? "new keys" : "the same keys"}.`);
    if (role === "viewer" && video.requestVideoFrameCallback) setTimeout(tellSeen, SEEN_MS, next, performance.now() - took_ms - SEEN_MS);
  }));
  next.addEventListener("replaced", mine(() => {
    say("A new session has taken over.");
    if (role === "viewer") show(next.stream);
  }));
  next.addEventListener("source", mine(({ live }) => say(live ? "The publisher is there." : "The publisher has left.")));
  next.addEventListener("error", mine(({ reason, message }) => {
    if (reason === "channel-taken") {
      say("Somebody else publishes on this channel already; watching instead.");
      startWatching();
      return;
    }
    trouble = { title: "It did not work", text: message };
    say(message);
  }));
  render();
}

/** Says what a viewer really saw and heard of a restart since a time. */
async function tellSeen(of, since) {
  const { still_ms, made_up_ms } = await seen.since(of.pc, since);
  if (session !== of || of.state !== "connected") return;
  counting = false;
  const sound = made_up_ms === null ? "" : `, ${made_up_ms} ms of sound made up`;
  write("seen", `a frame for ${still_ms} ms${sound}`);
  element("seen-row").hidden = false;
  say(`Seen of it: no new frame for ${still_ms} ms at the most${sound}.`);
}

/** Leaves without a word: another session follows. */
function leave() {
  const before = session;
  session = null;
  before?.close();
}

function startWatching() {
  leave();
  role = "viewer";
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  video.srcObject = null;
  frameAt = -Infinity;
  seen = new Seen();
  counting = false;
  use(watch(`whep/${encodeURIComponent(channel)}`, { token, cushion: cushion() }));
}

/** The viewer's choice: a picture that restarts do not stop, or the least delay. */
function cushion() {
  return element("cushion").value === "auto" ? "auto" : Number(element("cushion").value);
}

async function startPublishing() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: true,
      video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } },
    });
  } catch (error) {
    const missing = error.name === "NotFoundError";
    trouble = {
      title: missing ? "No camera was found" : "The camera was not given",
      text: missing ? "Connect a camera and a microphone, and try again." : "Allow this page to use camera and microphone, and try again.",
    };
    say(trouble.title);
    render();
    return;
  }
  leave();
  role = "publisher";
  camera = stream;
  video.muted = true;
  show(stream);
  use(publish(`whip/${encodeURIComponent(channel)}`, stream, { token }));
}

element("channel").textContent = channel;
element("self").href = location.href;
document.title = `rekindle: ${channel}`;
element("publish").addEventListener("click", startPublishing);
element("again").addEventListener("click", startWatching);
element("stop").addEventListener("click", startWatching);
element("play").addEventListener("click", () => show(video.srcObject));
element("unmute").addEventListener("click", () => {
  video.muted = !video.muted;
  element("unmute").textContent = video.muted ? "Unmute" : "Mute";
  element("unmute").setAttribute("aria-pressed", String(!video.muted));
});
element("cushion").addEventListener("change", () => {
  if (role === "viewer" && session) session.cushion = cushion();
});
// What was made up before a restart is not of it.
setInterval(() => {
  if (role === "viewer" && session?.state === "connected" && !counting) seen.calm(session.pc);
}, SEEN_MS);
// A page that comes back from the browser's cache has left its session.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
follow();
setInterval(() => timer ?? render(), 250);
startWatching();
