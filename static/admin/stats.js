/**
 * The operators' page: asks `/api/stats` again and again, also while the server is gone, and draws the answers.
 *
 * @module
 */

import { draw, steps } from "./stats-draw.js";
import { History, ceiling, comebackWords, durationWords, rateWords, shareWords, timeWords, total } from "./stats-history.js";

/** @import { Stats } from "./stats-history.js" */

/** How long after an answer the next one is asked for, in ms; sooner while browsers come back or the server is gone. */
const ASK_MS = 1000;
const SOON_MS = 250;
/** A question that is not answered for so long is given up. */
const PATIENCE_MS = 3000;
/** Of how much time the lines tell, at the least, in ms. */
const SPAN_MS = 60_000;
/** What a token consists of (RFC 6750 §2.1): a browser sends no request with some of the other characters. */
const TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;

const history = new History();
/** In memory alone. @type {string | undefined} */
let token;
/** @type {Stats | undefined} */
let last;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** @template {Element} Kind @param {string} id @param {new () => Kind} kind @returns {Kind} */
function part(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/** @param {string} id @param {string | number} text */
function write(id, text) {
  const target = part(id, HTMLElement);
  // Only when it is another: a screen reader would speak it again.
  if (target.textContent !== String(text)) target.textContent = String(text);
}

/** @param {"good" | "busy" | "bad"} tone @param {string} text */
function say(tone, text) {
  part("status", HTMLElement).dataset.tone = tone;
  write("status", text);
}

async function ask() {
  clearTimeout(timer);
  let wait = SOON_MS;
  try {
    /** @type {Record<string, string>} */
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch("api/stats", { headers, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 401) return wantToken();
    if (!answer.ok) throw new Error(String(answer.status));
    last = await answer.json();
    history.take(/** @type {Stats} */ (last), performance.now());
    show();
    if (last?.peers.awaited === 0) wait = ASK_MS;
  } catch {
    say("bad", last ? `Boot ${last.boot} does not answer` : "The server does not answer");
  }
  timer = setTimeout(ask, document.hidden ? ASK_MS : wait);
}

function wantToken() {
  say("busy", "Waiting for a token");
  write("token-title", token ? "This admin token is not right" : "The admin token is needed");
  part("all", HTMLElement).hidden = true;
  part("token-form", HTMLFormElement).hidden = false;
  part("token", HTMLInputElement).focus();
}

part("token-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  const field = part("token", HTMLInputElement);
  const text = field.value.trim();
  field.value = "";
  token = TOKEN.test(text) ? text : "-";
  ask();
});
addEventListener("resize", () => last && drawAll());

function show() {
  const { boot, uptime_ms: uptime, peers, live, viewers, channels, more_channels: more } = /** @type {Stats} */ (last);
  part("token-form", HTMLFormElement).hidden = true;
  part("all", HTMLElement).hidden = false;
  if (peers.awaited > 0) say("busy", `Boot ${boot} waits for ${peers.awaited} browser${peers.awaited === 1 ? "" : "s"}`);
  else say("good", `Boot ${boot} runs`);
  write("boot", boot);
  write("uptime", durationWords(uptime));
  write("connected", peers.connected);
  write("awaited", peers.awaited);
  write("live", live);
  write("viewers", viewers);
  rows("boots", history.boots.map(({ boot: number, startedAt, awaited, resume }, i) => {
    const started = new Date(startedAt).toLocaleTimeString([], { hour12: false });
    return [number, resume.back, timeWords(resume.median_ms), timeWords(resume.p90_ms), timeWords(resume.last_ms), total(resume.lost), i === 0 ? awaited : "–", started];
  }));
  rows("channels", channels.length === 0 ? [["none", "", "", "", "", ""]] : channels.map(channelCells));
  write("channels-more", more > 0 ? `${more} more, which fewer watch: GET /api/channels has all of them.` : "");
  drawAll();
}

/** @param {Stats["channels"][number]} channel */
function channelCells(channel) {
  const rates = history.channels.get(channel.name);
  const loss = rates?.loss ?? null;
  const [bitsIn, bitsOut] = rates ? [rateWords(rates.bitsIn), rateWords(rates.bitsOut)] : ["–", "–"];
  return [channel.name, channel.viewers, bitsIn, bitsOut, loss === null ? "–" : shareWords(loss), stateWords(channel)];
}

/** @param {Stats["channels"][number]} channel */
function stateWords({ live, live_since: since }) {
  if (!live) return "nobody publishes";
  return since === undefined ? "live" : `live since ${new Date(since * 1000).toLocaleTimeString([], { hour12: false })}`;
}

/** Writes a table; what has not changed stays, so that a selection does. @param {string} id @param {(string | number)[][]} lines */
function rows(id, lines) {
  const body = part(id, HTMLTableSectionElement);
  while (body.rows.length > lines.length) body.deleteRow(-1);
  lines.forEach((cells, i) => {
    const row = body.rows[i] ?? body.insertRow();
    cells.forEach((text, j) => {
      let cell = row.cells[j];
      if (!cell) {
        cell = document.createElement(j === 0 ? "th" : "td");
        if (j === 0) cell.scope = "row";
        row.append(cell);
      }
      if (cell.textContent !== String(text)) cell.textContent = String(text);
    });
  });
}

function drawAll() {
  drawBoots();
  const { samples } = history;
  const now = performance.now();
  const from = Math.min(samples[0]?.at ?? now, now - SPAN_MS);
  const x = { from, most: now, ticks: [from, now], words: (/** @type {number} */ at) => (at === now ? "now" : `${durationWords(now - at)} ago`) };
  const marks = samples.filter(({ isFirst }) => isFirst).map(({ at }) => ({ at, text: "" }));
  /** Pieces between which another process has begun, or nothing was said. @param {(sample: typeof samples[number]) => number | null} of */
  const pieces = (of) => {
    /** @type {[number, number][][]} */
    const all = [[]];
    for (const sample of samples) {
      const value = of(sample);
      if (value === null) continue;
      if (sample.isFirst) all.push([]);
      all.at(-1)?.push([sample.at, value]);
    }
    return all;
  };
  const latest = samples.at(-1);
  const most = ceiling(Math.max(1000, ...samples.flatMap(({ bitsIn, bitsOut }) => [bitsIn, bitsOut])));
  draw(part("rates", SVGSVGElement), {
    x,
    y: { most, words: rateWords },
    marks,
    lines: [
      { kind: "second", pieces: pieces(({ bitsIn }) => bitsIn) },
      { kind: "first", pieces: pieces(({ bitsOut }) => bitsOut) },
    ],
  });
  keys("rates-words", latest ? [["second", `${rateWords(latest.bitsIn)} from publishers`], ["first", `${rateWords(latest.bitsOut)} to viewers`]] : []);
  const reported = samples.findLast(({ loss }) => loss !== null);
  draw(part("loss", SVGSVGElement), {
    x,
    y: { most: ceiling(Math.max(0.01, ...samples.map(({ loss }) => loss ?? 0))), words: (/** @type {number} */ share) => `${+(100 * share).toFixed(2)} %` },
    marks,
    lines: [{ kind: "first", pieces: pieces(({ loss }) => loss) }],
  });
  const { media } = /** @type {Stats} */ (last);
  const lost = reported ? `${shareWords(reported.loss ?? 0)} of packets lost` : "no reports yet";
  keys("loss-words", [["first", lost], ["", `${media.retransmitted} sent again in this boot`], ["", `${media.overrun + media.dropped} left out`]]);
}

/** @param {string} id @param {[kind: string, text: string][]} words */
function keys(id, words) {
  const caption = part(id, HTMLElement);
  const text = words.map(([, each]) => each).join();
  if (caption.dataset.text === text) return;
  caption.dataset.text = text;
  caption.replaceChildren(...words.map(([kind, each]) => Object.assign(document.createElement("span"), { className: kind ? `key ${kind}` : "plain", textContent: each })));
}

/** How many were back when: the newest boot, and faintly those before it. */
function drawBoots() {
  const [newest, ...earlier] = history.boots;
  if (!newest) return;
  const drawn = [newest, ...earlier.slice(0, 9)];
  const time = ceiling(Math.max(100, ...drawn.map(({ resume }) => resume.last_ms ?? 0)));
  const most = ceiling(Math.max(1, ...drawn.map(({ resume, awaited }, i) => resume.back + (i === 0 ? awaited : 0))));
  const { median_ms: median, p90_ms: ninety } = newest.resume;
  draw(part("curve", SVGSVGElement), {
    x: { most: time, ticks: [0, time / 2, time], words: timeWords },
    y: { most, words: (/** @type {number} */ count) => (Number.isInteger(count) ? String(count) : "") },
    marks: median === undefined || ninety === undefined ? [] : [{ at: median, text: "half" }, { at: ninety, text: "90 %" }],
    lines: drawn.map(({ resume: { curve } }, i) => ({ kind: i === 0 ? "first" : "earlier", pieces: curve.length > 0 ? [steps(curve, time)] : [] })).toReversed(),
  });
  write("curve-words", comebackWords(newest));
}

ask();
