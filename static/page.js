// The page: the first tab publishes after a look at its own camera, all others watch. It says in words what is going on, and never
// shows a picture that stands still without saying why.
import { cameraTrouble } from "./page-camera-words.js";
import { Camera } from "./page-camera.js";
import { Channels } from "./page-channels.js";
import { Controls } from "./page-controls.js";
import { Demo } from "./page-demo.js";
import { Desk } from "./page-desk.js";
import * as memory from "./page-memory.js";
import { showNotice } from "./page-notice.js";
import { Numbers } from "./page-numbers.js";
import { element, keepFocus, part, prepend, write } from "./page-parts.js";
import { FAULTS } from "./page-rates.js";
import { Seen, followFrames } from "./page-seen.js";
import { Tokens } from "./page-token.js";
import { STILL_MS, WORDS, notice, status } from "./page-words.js";
import { publish, watch } from "./rekindle.js";

/** @import { Notice, View } from "./page-words.js" */
/** @import { Use } from "./page-token.js" */
/** @import { Session } from "./rekindle.js" */

const video = part("video", HTMLVideoElement);
const tokenField = part("token", HTMLInputElement);
const cushionChoice = part("cushion", HTMLSelectElement);

const channel = new URLSearchParams(location.search).get("channel") || "main";
const tokens = new Tokens();
tokens.takeFromAddress();

/** How long after a restart its effects are counted, and the interval between readings while all is well, in ms. */
const SEEN_MS = 1000;
/**
 * How long words about the session's state are delayed, in ms: while keys are renewed, laying out text would cost time, and
 * nobody can read words that are shown for less.
 */
const WORDS_MS = 150;

/** @type {Session | null} */
let session = null;
/** @type {"publisher" | "viewer"} */
let role = "viewer";
/** @type {Camera | null} */
let camera = null;
/** The camera is on, and nobody sees it yet. */
let preparing = false;
/** When a new frame was last shown. */
let frameAt = -Infinity;
/** When the last state began. */
let stateAt = performance.now();
/** The last restart. @type {View["back"]} */
let back = null;
let seen = new Seen();
/** A restart's sound is still being counted. */
let counting = false;
let playBlocked = false;
/** What goes before all else, and what "Try again" does then. @type {Notice | null} */
let trouble = null;
/** @type {() => void} */
let retry = startWatching;
/** This page published before it was loaded again. */
let resumes = memory.published() === channel;
/** What happened and is not in the list yet. @type {[at: Date, text: string][]} */
let news = [];
/** The timer that puts it there. @type {number | null} */
let timer = null;

/** Notes what happened; shown with the next {@link render}. @param {string} text */
function say(text) {
  news.push([new Date(), text]);
}

/** Renders when there is time for it. */
function renderSoon() {
  timer ??= setTimeout(render, WORDS_MS);
}

/** Has the next load of this page offer to go on publishing, or not. @param {boolean} publishes */
function remember(publishes) {
  resumes &&= publishes;
  memory.publishes(publishes ? channel : null);
}

/** @returns {View} */
function view() {
  const now = performance.now();
  const { state, live, unheard } = session ?? { state: "closed", live: null, unheard: false };
  return { state, live, unheard, stateFor: now - stateAt, role, preparing, camera, still: now - frameAt, soundOnly: seen.soundOnly, back, playBlocked, resumes, trouble };
}

function render() {
  if (timer !== null) clearTimeout(timer);
  timer = null;
  const focused = document.activeElement;
  prepend(news);
  news = [];

  const arrives = frameAt > -Infinity || seen.soundOnly;
  // Somebody else has taken the channel meanwhile.
  if (resumes && role === "viewer" && !preparing && arrives) remember(false);
  const present = view();
  const [tone, text] = status(present);
  write("status-text", text);
  element("status").dataset.tone = tone;
  showNotice(notice(present), { goneFor: present.state === "server-gone" ? present.stateFor : null, resumes, channel });

  write("role", role === "publisher" ? "publishing" : "watching");
  write("boot", session?.boot ?? "–");
  write("keys", session?.keys ? `${session.keys.group}, ${session.keys.srtp}` : "–");
  if (back) write("took", back.took);
  write("restarts", String(session?.restarts ?? 0));
  const replaced = session?.replacements ?? 0;
  write("same", !session?.boot ? "–" : replaced === 0 ? "the same since the start" : `new, ${replaced} time${replaced > 1 ? "s" : ""}`);
  element("same").dataset.same = session?.boot ? String(replaced === 0) : "";
  const published = session?.state === "connected" && !camera?.isLost;
  element("badge-live").hidden = !(role === "publisher" ? published : present.still < STILL_MS);
  const own = role === "publisher" || preparing;
  const publishes = role === "publisher" && session?.state !== "failed";
  if (preparing) element("badge-live").hidden = true;
  element("badge-own").hidden = !own;
  write("badge-own", preparing ? "Preview: nobody sees it yet" : camera?.screen ? "Your screen" : "Your camera");
  controls.render(arrives && !trouble, own);
  desk.render(preparing || publishes, !preparing, numbers.words);
  element("rate-row").hidden = !publishes;
  element("viewers-row").hidden = !publishes && !part("statistics", HTMLDetailsElement).open;
  element("stop").hidden = !publishes;
  element("cushion-choice").hidden = own || trouble !== null || !("jitterBufferTarget" in (globalThis.RTCRtpReceiver?.prototype ?? {}));
  element("hint").hidden = role !== "publisher";
  keepFocus(focused);
}

/** @param {MediaProvider | null} stream */
async function show(stream) {
  if (video.srcObject !== stream) video.srcObject = stream;
  try {
    await video.play();
    playBlocked = false;
  } catch (error) {
    playBlocked = error instanceof Error && error.name === "NotAllowedError";
  }
  render();
}

/** Takes a session as the page's own, and tells what becomes of it. @param {Session} next */
function use(next) {
  session = next;
  trouble = null;
  stateAt = performance.now();
  /**
   * @template Detail
   * @param {(detail: Detail) => void} handler
   * @returns {(event: CustomEvent<Detail>) => void}
   */
  const mine = (handler) => (event) => {
    if (session !== next) return;
    handler(event.detail);
    renderSoon();
  };
  next.addEventListener("state", mine(({ state, reason }) => {
    stateAt = performance.now();
    if (state === "server-gone") counting = true;
    if (role === "publisher" && state === "connected") {
      remember(true);
      desk.connected(next);
    }
    // Why it failed is told by an event of its own.
    if (state !== "failed") say(`${WORDS[state][1]}${state === "reconnecting" && reason ? ` (${reason})` : ""}.`);
  }));
  next.addEventListener("track", mine(() => preparing || show(next.stream)));
  next.addEventListener("state", mine(({ state, previous }) => {
    // A false alarm has no restart to tell of; where there was one, it is told first.
    if (state === "connected" && previous === "server-gone") setTimeout(() => (counting = false), 2 * SEEN_MS);
  }));
  next.addEventListener("restart", mine(({ boot, took_ms, renewed }) => {
    back = { at: performance.now(), took: `${took_ms} ms` };
    demo.back(took_ms);
    say(`Back after ${took_ms} ms: process no. ${boot}, the same connection, ${renewed ? "new keys" : "the same keys"}.`);
    if (role === "viewer" && "requestVideoFrameCallback" in video) setTimeout(tellSeen, SEEN_MS, next, performance.now() - took_ms - SEEN_MS);
  }));
  next.addEventListener("replaced", mine(() => {
    say("A new session has taken over.");
    if (role === "publisher") desk.connected(next);
    else if (!preparing) show(next.stream);
  }));
  next.addEventListener("source", mine(({ live }) => say(live ? "The publisher is there." : "The publisher has left.")));
  // Shown among the facts.
  next.addEventListener("keys", mine(() => {}));
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

/** Says what a viewer really saw and heard of a restart since a time. @param {Session} of @param {number} since */
async function tellSeen(of, since) {
  const { still_ms, made_up_ms } = await seen.since(of.pc, since);
  if (session !== of || of.state !== "connected") return;
  counting = false;
  const sound = made_up_ms === null ? "" : `, ${made_up_ms} ms of sound made up`;
  demo.seen(still_ms);
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
  preparing = false;
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
  return cushionChoice.value === "auto" ? "auto" : Number(cushionChoice.value);
}

async function startPublishing() {
  const before = session;
  const goesOn = resumes;
  complain({ tone: "busy", title: "Waiting for your camera", text: "Your browser may ask whether this page may use camera and microphone." }, startPublishing);
  /** @type {Camera | undefined} */
  let opened;
  try {
    opened = await Camera.open(() => {
      if (opened && opened === camera) cameraChanged(opened);
    }, desk.remembered);
  } catch (error) {
    const words = cameraTrouble(error);
    complain({ tone: "bad", ...words, buttons: ["again", "back"] }, startPublishing);
    say(`${words.title}.`);
    return;
  }
  // A token that came with the address has begun something else meanwhile.
  if (session !== before) return opened.close();
  camera = opened;
  if (camera.missing) say(`No ${camera.missing} was found: ${camera.missing === "camera" ? "viewers hear you and see no picture" : "viewers see you and hear nothing"}.`);
  // Not awaited: a browser lists devices for the window in front only.
  desk.list();
  if (goesOn) goLive();
  else prepare();
}

/** Shows what the camera gives, to its owner alone. */
function prepare() {
  if (!camera) return;
  trouble = null;
  preparing = true;
  video.muted = true;
  show(camera.stream);
}

/** Back to what others publish. */
function cancel() {
  if (!session || session.state === "failed") return startWatching();
  preparing = false;
  camera?.close();
  camera = null;
  frameAt = -Infinity;
  seen = new Seen();
  show(session?.stream ?? null);
}

/** Publishes what the camera gives. */
function goLive() {
  if (!camera) return;
  leave();
  role = "publisher";
  preparing = false;
  video.muted = true;
  show(camera.stream);
  use(publish(`whip/${encodeURIComponent(channel)}`, camera.stream, { token: tokens.for("publish") }));
}

function stopPublishing() {
  remember(false);
  startWatching();
}

/** @param {Camera} of */
function cameraChanged(of) {
  const words = of.notice?.title ?? of.status[1].replace(/^Connected, y/, "Y");
  if (!preparing || of.notice) say(`${words}.`);
  desk.list();
  if (of === camera) show(of.stream);
}

/** Says what is wrong. @param {Notice} words @param {() => void} again what "Try again" does */
function complain(words, again) {
  trouble = words;
  retry = again;
  render();
}

function askForToken() {
  const use = role === "publisher" ? "publish" : "watch";
  // Who may publish need not be one who may watch.
  const words = tokens.notice(use);
  complain({ ...words, buttons: [use === "watch" ? "publish" : "back"] }, startWatching);
  say(`${words.title}.`);
  // Nothing else can be done here, except where the offer to go on publishing has the focus.
  if (document.activeElement === document.body) tokenField.focus();
}

/** A token has come: what waits for it goes on. @param {Use} use */
function tokenCame(use) {
  if (trouble?.token !== use) return;
  if (use === "publish") goLive();
  else startWatching();
}

/** The session that publishes. */
function publishing() {
  return role === "publisher" ? session : null;
}

const demo = new Demo(() => role === "publisher");
const desk = new Desk({ camera: () => camera, publishing, render });
// Without a token: links end up in histories.
const controls = new Controls(video, location.href, render);
const numbers = new Numbers(
  channel,
  () => ({ session, publishes: role === "publisher", token: tokens.for("watch") }),
  (fault) => {
    if (fault) say(FAULTS[fault]);
    render();
  },
);
new Channels(channel, () => tokens.for("watch"));
part("self", HTMLAnchorElement).href = location.href;
element("channel").textContent = channel;
document.title = `rekindle: ${channel}`;
element("publish").addEventListener("click", startPublishing);
element("again").addEventListener("click", async () => {
  if (trouble) return retry();
  await camera?.regain(publishing());
});
element("back").addEventListener("click", () => {
  if (preparing) return cancel();
  remember(false);
  trouble = null;
  // Where only the camera failed, this page watches all the while.
  if (role === "publisher" || session?.state === "failed") startWatching();
  else render();
});
element("stop").addEventListener("click", stopPublishing);
element("play").addEventListener("click", () => show(video.srcObject));
element("go").addEventListener("click", goLive);
element("cancel").addEventListener("click", cancel);
element("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const use = trouble?.token;
  if (!use) return;
  tokens.set(use, tokenField.value);
  tokenField.value = "";
  tokenCame(use);
});
addEventListener("hashchange", () => tokens.takeFromAddress().forEach(tokenCame));
cushionChoice.addEventListener("change", () => {
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
followFrames(video, (at) => {
  frameAt = performance.now();
  if (at !== null) seen.frame(at);
});
setInterval(() => timer ?? render(), 250);
startWatching();
// One click, and not by itself: a page that a browser opens again on another day must show nobody's room unasked.
if (resumes) element("publish").focus();
