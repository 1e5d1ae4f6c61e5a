/**
 * What the page says: in the status at the top, and over the picture.
 *
 * @module
 */

/** How long a picture may stand still before that is explained, in ms. */
export const STILL_MS = 1000;
/** How long "back after N ms" stays in the status, in ms. */
const BACK_MS = 6000;

/**
 * The words for each state: for the status, and over the picture.
 *
 * @type {Record<import("./rekindle.js").State, [tone: Tone, title: string, text: string]>}
 */
export const WORDS = {
  connecting: ["busy", "Connecting", ""],
  waiting: ["busy", "Waiting for a publisher", "Nobody publishes on this channel yet. The picture starts by itself when somebody does."],
  connected: ["good", "Connected", ""],
  "server-gone": ["bad", "Server gone", "The picture goes on as soon as the server is back. Nothing needs to be done here."],
  renewing: ["busy", "Server is back, keys are being renewed", "The connection is the same. Only its keys are new."],
  reconnecting: ["busy", "Making a new session", "The old connection could not be kept."],
  failed: ["bad", "It did not work", ""],
  closed: ["busy", "Stopped", ""],
};

/**
 * @typedef {"good" | "busy" | "bad"} Tone
 * @typedef {[tone: Tone, text: string, ...more: string[]]} Words what the status says
 *
 * @typedef {object} View what is so at present
 * @property {import("./rekindle.js").State} state of the session
 * @property {number} stateFor it has been in this state for so long, in ms
 * @property {boolean} unheard nothing gets through to the server's media port
 * @property {"publisher" | "viewer"} role
 * @property {boolean} preparing the camera is on, and nobody sees it yet
 * @property {boolean | null} live whether a publisher is there, for a viewer
 * @property {import("./page-camera.js").Camera | null} camera
 * @property {number} still no new frame for so long, in ms; Infinity before the first one
 * @property {boolean} soundOnly sound arrives and no picture
 * @property {{ at: number, took: string } | null} back the last restart
 * @property {boolean} playBlocked
 * @property {boolean} resumes this page published before it was loaded again
 * @property {Notice | null} trouble what goes before all else
 *
 * @typedef {object} Notice
 * @property {Tone} tone
 * @property {string} title
 * @property {string} text
 * @property {("publish" | "play" | "again" | "back")[]} [buttons]
 * @property {"publish" | "watch"} [token] which token is asked for
 */

/** @type {Notice} */
const UNHEARD = {
  tone: "bad",
  title: "Media does not get through",
  text:
    "The server answers, but has heard nothing of this browser on its media port. A firewall here or there may block UDP, or the server " +
    "names an address that cannot be reached from here: its operator should look at its log and at --advertise. This page goes on trying.",
};

/** What the status says: tone and text. @param {View} view @returns {Words} */
export function status({ state, role, preparing, live, unheard, camera, back, trouble }) {
  if (preparing) return ["busy", "Not live yet"];
  if (trouble?.token) return ["busy", "Waiting for a token"];
  if (isUnheard({ state, unheard })) return [UNHEARD.tone, UNHEARD.title];
  if (state !== "connected") return WORDS[state];
  if (role === "publisher" && camera?.isLost) return camera.status;
  // Before "back after": a connection that is back shows nothing while its publisher is gone.
  if (role === "viewer" && live === false) return ["busy", "Connected, the publisher has left"];
  if (back && performance.now() - back.at < BACK_MS) return ["good", `Connected, back after ${back.took}`];
  return role === "publisher" && camera ? camera.status : WORDS.connected;
}

/** What stands over the picture, or null while a moving picture needs no words. @param {View} view @returns {Notice | null} */
export function notice(view) {
  const { state, role, trouble, camera, still, live } = view;
  if (trouble) return trouble;
  if (view.preparing) return camera?.notice ? { ...camera.notice, buttons: ["again", "back"] } : null;
  if (isUnheard(view)) return UNHEARD;
  if (role === "publisher" && state === "connected") return camera?.notice ? { ...camera.notice, buttons: ["again"] } : null;
  if (role === "publisher" && ["server-gone", "renewing", "reconnecting"].includes(state)) {
    // Your own camera never stands still; but what viewers see does.
    if (view.stateFor < STILL_MS) return null;
    const [tone, title] = WORDS[state];
    return { tone, title, text: "This is your own camera. Viewers see their last picture until the server is back." };
  }
  if (role === "viewer" && view.resumes && ["connecting", "waiting", "connected", "reconnecting"].includes(state)) {
    const text = "You published here until this page was loaded again. Viewers wait for your picture.";
    return { tone: "busy", title: "You are not live any more", text, buttons: ["publish"] };
  }
  if (state === "waiting") return { tone: "busy", title: WORDS.waiting[1], text: WORDS.waiting[2], buttons: ["publish"] };
  if (view.playBlocked) return { tone: "busy", title: "Ready to play", text: "Your browser wants a click first.", buttons: ["play"] };
  if (still < STILL_MS) return null;
  if (state === "connected") {
    if (live === false) {
      return { tone: "busy", title: "The publisher has left", text: "The picture starts by itself when somebody publishes.", buttons: ["publish"] };
    }
    if (view.soundOnly) return { tone: "busy", title: "Sound without a picture", text: "The publisher sends sound alone at the moment." };
    if (still === Infinity) return { tone: "busy", title: "Connected", text: "The first picture is on its way." };
    return { tone: "busy", title: "No picture is arriving", text: "You are connected, but the publisher's picture does not come through at the moment." };
  }
  const [tone, title, text] = WORDS[state];
  return { tone, title, text };
}

/** @param {Pick<View, "state" | "unheard">} view */
function isUnheard({ state, unheard }) {
  return unheard && ["connecting", "reconnecting"].includes(state);
}
