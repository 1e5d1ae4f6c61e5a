/**
 * The parts of the page: how they are found, written and focused.
 *
 * @module
 */

const LOG_LINES = 60;
/** Where the focus goes when what had it is no longer shown: to the first of these that is. */
const FOCUS = ["token", "publish", "play", "again", "go", "stop", "unmute", "notice", "stage"];

/**
 * An element of the page, which has all that are asked for.
 *
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function part(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/** @param {string} id */
export const element = (id) => part(id, HTMLElement);

/** @param {string} id @param {string | number} text */
export function write(id, text) {
  const target = element(id);
  // Only when it is another: a screen reader would speak it again.
  if (target.textContent !== String(text)) target.textContent = String(text);
}

/** Puts what happened on top of the list. @param {[at: Date, text: string][]} news */
export function prepend(news) {
  const log = element("log");
  for (const [at, text] of news) log.prepend(line(at, text));
  while (log.children.length > LOG_LINES) log.lastChild?.remove();
}

/** @param {Date} at @param {string} text */
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

/**
 * Where what had the focus is no longer shown, something else must have it: those who use the keyboard would begin at the top again.
 *
 * @param {Element | null} focused
 */
export function keepFocus(focused) {
  const waits = focused?.id === "notice" || focused?.id === "stage";
  if (!focused || focused === document.body || !(waits || focused.closest("[hidden]"))) return;
  const next = FOCUS.map(element).find((each) => !each.closest("[hidden]"));
  if (next !== focused) next?.focus();
}
