// The page: the first tab publishes its camera after a click, all others watch. It says in words what is going on, and never
// shows a picture that stands still without saying why.
import { Camera, cameraTrouble } from "./page-camera.js";
import { Seen } from "./page-seen.js";
import { Tokens, fieldWords } from "./page-token.js";
import { STILL_MS, WORDS, notice, status } from "./page-words.js";
import { publish, watch } from "./rekindle.js";

const element = (id) => document.getElementById(id);
const video = element("video");

const channel = new URLSearchParams(location.search).get("channel") || "main";
const tokens = new Tokens();
tokens.takeFromAddress();

const LOG_LINES = 60;
/** What was seen and heard of a restart is counted so long after it, and looked at as often while all is well, in ms. */
const SEEN_MS = 1000;
/**
 * Words about what the session does wait so long, in ms: while keys are renewed, the browser has better to do than to lay out text, and
 * nobody can read words that stand for less.
 */
const WORDS_MS = 150;

/** What a reload of a page that publishes leaves for the next one: the channel's name. */
const PUBLISHING = "rekindle-publishing";
/** Where the focus goes when what had it is no longer shown: to the first of these that is. */
const FOCUS = ["token", "publish", "play", "again", "stop", "unmute", "notice", "stage"];

let session = null;
let role = "viewer";
/** @type {Camera | null} */
let camera = null;
/** When a new frame was last shown, when the last state began, and the words for the last restart. */
let frameAt = -Infinity;
let stateAt = performance.now();
let back = null;
let seen = new Seen();
/** A restart's sound is still being counted. */
let counting = false;
let playBlocked = false;
/** What goes before all else, and what "Try again" does then. @type {import("./page-words.js").Notice | null} */
let trouble = null;
let retry = startWatching;
/** This page published before it was loaded again. */
let resumes = remembered() === channel;
/** What happened and is not in the list yet, and the timer that puts it there. */
let news = [];
let timer = null;

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

function remembered() {
  try {
    return sessionStorage.getItem(PUBLISHING);
  } catch {
    return null;
  }
}

/** Has the next load of this page offer to go on publishing, or not. */
function remember(publishes) {
  resumes &&= publishes;
  try {
    if (publishes) sessionStorage.setItem(PUBLISHING, channel);
    else sessionStorage.removeItem(PUBLISHING);
  } catch {
    // A browser that keeps nothing for pages: there will be no offer.
  }
}

/** @returns {import("./page-words.js").View} */
function view() {
  const now = performance.now();
  const { state = "closed", live = null, unheard = false } = session ?? {};
  return { state, live, unheard, stateFor: now - stateAt, role, camera, still: now - frameAt, soundOnly: seen.soundOnly, back, playBlocked, resumes, trouble };
}

function render() {
  clearTimeout(timer);
  timer = null;
  const focused = document.activeElement;
  const log = element("log");
  for (const [at, text] of news) log.prepend(line(at, text));
  news = [];
  while (log.children.length > LOG_LINES) log.lastChild.remove();

  const arrives = frameAt > -Infinity || seen.soundOnly;
  // Somebody else has taken the channel meanwhile.
  if (resumes && role === "viewer" && arrives) remember(false);
  const present = view();
  const [tone, text] = status(present);
  write("status-text", text);
  element("status").dataset.tone = tone;
  showNotice(notice(present));

  write("role", role === "publisher" ? "publishing" : "watching");
  write("boot", session?.boot ?? "–");
  if (back) write("took", back.took);
  write("restarts", String(session?.restarts ?? 0));
  const replaced = session?.replacements ?? 0;
  write("same", !session?.boot ? "–" : replaced === 0 ? "the same since the start" : `new, ${replaced} time${replaced > 1 ? "s" : ""}`);
  element("same").dataset.same = String(replaced === 0);
  const published = session?.state === "connected" && !camera?.isLost;
  element("badge-live").hidden = !(role === "publisher" ? published : present.still < STILL_MS);
  element("badge-own").hidden = role !== "publisher";
  element("unmute").hidden = role === "publisher" || !arrives;
  write("unmute", video.muted ? "Unmute" : "Mute");
  element("stop").hidden = role !== "publisher" || session?.state === "failed";
  element("cushion-choice").hidden = role === "publisher" || trouble !== null || !("jitterBufferTarget" in (globalThis.RTCRtpReceiver?.prototype ?? {}));
  element("hint").hidden = role !== "publisher";
  keepFocus(focused);
}

/** @param {import("./page-words.js").Notice | null} words */
function showNotice(words) {
  element("overlay").hidden = words === null;
  if (words) {
    element("notice").dataset.tone = words.tone;
    let more = words.text;
    if (session?.state === "server-gone") more += ` (${Math.floor((performance.now() - stateAt) / 1000)} s)`;
    write("notice-title", words.title);
    write("notice-text", more);
  }
  for (const id of ["publish", "play", "again", "back"]) element(id).hidden = !words?.buttons?.includes(id);
  write("publish", resumes ? "Go on publishing" : "Publish your camera");
  element("token-form").hidden = !words?.token;
  if (!words?.token) return;
  const { label, button } = fieldWords(words.token);
  write("token-label", label);
  write("token-send", button);
  // For browsers that keep passwords: each token is one of its own.
  element("token-name").value = `${label} for ${channel}`;
}

/** Where what had the focus is no longer shown, something else must have it: those who use the keyboard would begin at the top again. */
function keepFocus(focused) {
  const waits = focused?.id === "notice" || focused?.id === "stage";
  if (!focused || focused === document.body || !(waits || focused.closest("[hidden]"))) return;
  const next = element(FOCUS.find((id) => !element(id).closest("[hidden]")));
  if (next !== focused) next.focus();
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
    if (role === "publisher" && state === "connected") remember(true);
    // Why it failed is told by an event of its own.
    if (state !== "failed") say(`${WORDS[state][1]}${state === "reconnecting" && reason ? ` (${reason})` : ""}.`);
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
  next.addEventListener("unheard", mine(({ unheard }) => say(unheard ? "Media does not get through to the server." : "Media gets through now.")));
  next.addEventListener("error", mine(({ reason, message, status: code }) => {
    if (reason === "channel-taken") {
      say(`${next.boot === null ? "Somebody else publishes on this channel already" : "Another publisher has taken this channel over"}; watching instead.`);
      stopPublishing();
    } else if (code === 401) {
      askForToken();
    } else {
      complain({ tone: "bad", title: "It did not work", text: message, buttons: role === "publisher" ? ["again", "back"] : ["again"] }, role === "publisher" ? goLive : startWatching);
      say(message);
    }
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
  camera?.close();
  camera = null;
  video.srcObject = null;
  frameAt = -Infinity;
  seen = new Seen();
  counting = false;
  use(watch(`whep/${encodeURIComponent(channel)}`, { token: tokens.for("watch"), cushion: cushion() }));
}

/** The viewer's choice: a picture that restarts do not stop, or the least delay. */
function cushion() {
  return element("cushion").value === "auto" ? "auto" : Number(element("cushion").value);
}

async function startPublishing() {
  const before = session;
  complain({ tone: "busy", title: "Waiting for your camera", text: "Your browser may ask whether this page may use camera and microphone." }, startPublishing);
  let opened;
  try {
    opened = await Camera.open(() => opened && opened === camera && cameraChanged());
  } catch (error) {
    complain({ tone: "bad", ...cameraTrouble(error), buttons: ["again", "back"] }, startPublishing);
    say(`${trouble.title}.`);
    return;
  }
  // A token that came with the address has begun something else meanwhile.
  if (session !== before) return opened.close();
  camera = opened;
  if (camera.missing) say(`No ${camera.missing} was found: ${camera.missing === "camera" ? "viewers hear you and see no picture" : "viewers see you and hear nothing"}.`);
  goLive();
}

/** Publishes what the camera gives. */
function goLive() {
  leave();
  role = "publisher";
  video.muted = true;
  show(camera.stream);
  use(publish(`whip/${encodeURIComponent(channel)}`, camera.stream, { token: tokens.for("publish") }));
}

function stopPublishing() {
  remember(false);
  startWatching();
}

function cameraChanged() {
  say(`${camera.notice?.title ?? "Camera and microphone are as they should be"}.`);
  render();
}

/** Says what is wrong. @param {import("./page-words.js").Notice} words @param {() => void} again what "Try again" does */
function complain(words, again) {
  trouble = words;
  retry = again;
  render();
}

function askForToken() {
  const use = role === "publisher" ? "publish" : "watch";
  // Who may publish need not be one who may watch.
  complain({ ...tokens.notice(use), buttons: [use === "watch" ? "publish" : "back"] }, startWatching);
  say(`${trouble.title}.`);
  // Nothing else can be done here, except where the offer to go on publishing has the focus.
  if (document.activeElement === document.body) element("token").focus();
}

/** A token has come: what waits for it goes on. */
function tokenCame(use) {
  if (trouble?.token !== use) return;
  if (use === "publish") goLive();
  else startWatching();
}

element("channel").textContent = channel;
// Without a token: links end up in histories.
element("self").href = location.href;
document.title = `rekindle: ${channel}`;
element("publish").addEventListener("click", startPublishing);
element("again").addEventListener("click", async () => {
  if (trouble) return retry();
  await camera?.regain(session?.pc);
  if (camera) show(camera.stream);
});
element("back").addEventListener("click", () => {
  remember(false);
  trouble = null;
  // Where only the camera failed, this page watches all the while.
  if (role === "publisher" || session?.state === "failed") startWatching();
  else render();
});
element("stop").addEventListener("click", stopPublishing);
element("play").addEventListener("click", () => show(video.srcObject));
element("unmute").addEventListener("click", () => {
  video.muted = !video.muted;
  render();
});
element("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const use = trouble?.token;
  if (!use) return;
  tokens.set(use, element("token").value);
  element("token").value = "";
  tokenCame(use);
});
addEventListener("hashchange", () => tokens.takeFromAddress().forEach(tokenCame));
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
// One click, and not by itself: a page that a browser opens again on another day must show nobody's room unasked.
if (resumes) element("publish").focus();
