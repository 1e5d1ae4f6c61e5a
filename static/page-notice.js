/**
 * What stands over the picture, and what can be done there.
 *
 * @module
 */

import { element, part, write } from "./page-parts.js";
import { fieldWords } from "./page-token.js";

/** Those of a notice. @type {("publish" | "play" | "again" | "back")[]} */
const BUTTONS = ["publish", "play", "again", "back"];

/**
 * @param {import("./page-words.js").Notice | null} words
 * @param {{ goneFor: number | null, resumes: boolean, channel: string }} present `goneFor`: without a server for so long, in ms
 */
export function showNotice(words, { goneFor, resumes, channel }) {
  element("overlay").hidden = words === null;
  if (words) {
    element("notice").dataset.tone = words.tone;
    write("notice-title", words.title);
    write("notice-text", words.text + (goneFor === null ? "" : ` (${Math.floor(goneFor / 1000)} s)`));
  }
  for (const id of BUTTONS) element(id).hidden = !words?.buttons?.includes(id);
  write("publish", resumes ? "Go on publishing" : "Publish your camera");
  element("token-form").hidden = !words?.token;
  if (!words?.token) return;
  const { label, button } = fieldWords(words.token);
  write("token-label", label);
  write("token-send", button);
  // For browsers that keep passwords: each token is one of its own.
  part("token-name", HTMLInputElement).value = `${label} for ${channel}`;
}
