/**
 * The tokens that this page shows to the server: one for publishing, one for watching. They come from the address (`#token=` for both,
 * `#publish-token=`, `#watch-token=`) or are typed in.
 *
 * They are kept in memory only. Browsers write `sessionStorage` and their history to the disk, so a token is in neither; who does
 * not want to type it again after a reload can have the browser keep it as a password.
 *
 * @module
 */

/** @typedef {"publish" | "watch"} Use */

/** What the address calls them, and which of the two that is. @type {Record<string, Use[]>} */
const NAMES = { token: ["publish", "watch"], "publish-token": ["publish"], "watch-token": ["watch"] };
/** What a token consists of (RFC 6750 §2.1). A browser sends no request at all with some of the other characters. */
const TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;

/** The words for who is asked for a token. */
const ASKED = {
  publish: { name: "publish token", who: "those who may publish", button: "Publish", waits: " Your camera waits until then, and nobody sees it." },
  watch: { name: "watch token", who: "those who may watch", button: "Watch", waits: "" },
};

export class Tokens {
  /** @type {Record<Use, string | undefined>} */
  #tokens = { publish: undefined, watch: undefined };
  #given = { publish: false, watch: false };

  /** The token for `publish` or `watch`, if there is one that can be sent. @param {Use} use */
  for(use) {
    return this.#tokens[use];
  }

  /** @param {Use} use @param {string} text as it was typed */
  set(use, text) {
    const token = text.trim();
    this.#tokens[use] = TOKEN.test(token) ? token : undefined;
    this.#given[use] = true;
  }

  /** Takes the tokens out of the address, and says which it had. */
  takeFromAddress() {
    /** @type {Set<Use>} */
    const uses = new Set();
    // A plus sign is part of a token here, and no space.
    const said = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B"));
    // The one that is for both comes first: one for a single use is the more exact.
    for (const [name, each] of Object.entries(NAMES)) {
      const token = said.get(name);
      if (token === null) continue;
      said.delete(name);
      for (const use of each) {
        this.set(use, token);
        uses.add(use);
      }
    }
    if (uses.size > 0) {
      const rest = said.toString();
      history.replaceState(history.state, "", location.pathname + location.search + (rest && `#${rest}`));
    }
    return uses;
  }

  /**
   * What the page says when the server wants a token, or another one than it was shown.
   *
   * @param {Use} use
   * @returns {import("./page-words.js").Notice}
   */
  notice(use) {
    const { name, who, waits } = ASKED[use];
    const wrong = this.#given[use];
    return {
      tone: wrong ? "bad" : "busy",
      title: wrong ? `This ${name} is not right` : `A ${name} is needed`,
      text: (wrong ? "The server does not take it. Look for a missing or an additional character." : `Whoever runs this server gives it to ${who}.`) + waits,
      token: use,
    };
  }
}

/** What stands at the field and on its button. @param {Use} use */
export function fieldWords(use) {
  const { name, button } = ASKED[use];
  return { label: name.charAt(0).toUpperCase() + name.slice(1), button };
}
