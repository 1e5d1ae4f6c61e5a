/**
 * What a page leaves for its next load, in the browser's storage of this tab: that it published, and with what. No token is ever in it.
 *
 * @module
 */

/** The name of the channel that was published to. */
const PUBLISHING = "rekindle-publishing";
/** Which devices and quality were chosen. */
const CHOICE = "rekindle-choice";

/** Reads, or does nothing where a browser keeps nothing for pages. @param {string} name */
function get(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string | null} value */
function set(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, value);
  } catch {
    // There will be no offer to go on.
  }
}

export const published = () => get(PUBLISHING);

/** @param {string | null} channel null where there is nothing to go on with */
export const publishes = (channel) => set(PUBLISHING, channel);

/** What was chosen; anybody who has the tab may have changed it. @returns {{ video?: string, audio?: string, quality?: string }} */
export function choice() {
  try {
    return JSON.parse(get(CHOICE) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/** @param {import("./page-camera.js").Choice} chosen */
export const chose = (chosen) => set(CHOICE, JSON.stringify(chosen));
