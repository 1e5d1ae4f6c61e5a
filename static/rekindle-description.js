/**
 * The texts that make a browser run DTLS again: session descriptions (RFC 8866) that a page derives from the answer it joined with. Pure.
 *
 * Chromium and Safari start DTLS over when the fingerprint changes; the same certificate under another hash function is enough.
 *
 * Firefox ignores that. It starts over when media moves to another transport, and media moves when another m-section owns the BUNDLE
 * group (RFC 9143). Moving it from one media section to the other has a race: the old transport has no user left and is closed, and if a
 * section hears of that before it has been moved, it never sends again. So two more sections, which carry nothing, take turns as the
 * owner: the old one leaves the group and keeps the old transport, which stays open, while the new one brings a new transport for the
 * media. When all is well the old owner comes back into the group, and its transport, which no media uses, is closed. These sections
 * are between page and browser: the server never sees them; rekindle-parking.js has them. (Chromium must not be given that: it moves one media section and leaves
 * the other on the old, dead transport.)
 *
 * @module
 */

const SECTION = /^(?=m=)/m;

/**
 * Makes an offer (or an answer again) out of the server's answer, different enough that the browser runs DTLS again.
 *
 * @param {string} answer the answer of the join
 * @param {number} version
 * @param {string} [fingerprint]
 * @param {"offer" | "answer"} [type]
 * @returns {string}
 */
export function reoffer(answer, version, fingerprint, type = "offer") {
  return answer
    .replace(/\r?\n/g, "\r\n")
    .replace(/^(o=\S+ \S+ )(\d+)/m, (_, before, number) => before + (BigInt(number) + BigInt(version)))
    .replace(/^(a=setup:).*/gm, type === "offer" ? "$1actpass" : "$1passive")
    .replace(/^(a=fingerprint:).*/gm, fingerprint ? `$1${fingerprint}` : "$&");
}

/** That of a server's first candidate (RFC 8445 §5.1.2.1); a browser takes up to 2^24 more. */
const PRIORITY = 0x7effffff;
/** The same of TCP (RFC 6544 §4.2). */
const PRIORITY_TCP = 0x5a9fffff;

/**
 * The server's answer with candidates (RFC 8839 §5.1) at these addresses in place of its own. With rank 0 they have the priorities that a server
 * gives its own: see `#restartIce` in rekindle-connection.js. Where the answer has candidates of TCP (RFC 6544), so has every one of these addresses.
 *
 * @param {string} answer
 * @param {string[]} media addresses with ports, the first preferred
 * @param {number} [rank] those of a higher rank are preferred to all of lower ones
 * @returns {string}
 */
export function withCandidates(answer, media, rank = 0) {
  /** @param {number} first @param {string} protocol @param {number} priority @param {string} end */
  const candidates = (first, protocol, priority, end) =>
    media.map((each, i) => `a=candidate:${first + i} 1 ${protocol} ${priority + 0x10000 * rank - 256 * i} ${each.replace(/^\[?(.*?)\]?:(\d+)$/, "$1 $2")} typ host${end}\r\n`);
  const lines = candidates(1, "udp", PRIORITY, "");
  if (/^a=candidate:\S+ 1 tcp /m.test(answer)) lines.push(...candidates(1 + media.length, "tcp", PRIORITY_TCP, " tcptype passive"));
  return answer.replace(/^(a=candidate:.*\r?\n)+/gm, lines.join(""));
}

/**
 * Asks for sound again where it was lost, as for pictures: Chromium offers no NACK (RFC 4585 §6.2.1) for Opus of its own accord, and
 * works with it where both descriptions have the line.
 *
 * @param {string} sdp
 * @returns {string}
 */
export function withSoundAgain(sdp) {
  return sdp.replace(/^a=rtpmap:(\d+) opus\/48000.*\r?\n/gim, (line, type) => {
    const nack = `a=rtcp-fb:${type} nack`;
    return new RegExp(`^${nack}\\s*$`, "m").test(sdp) ? line : `${line}${nack}\r\n`;
  });
}

/**
 * Says in an offer who made it (RFC 8866 §6.4): the server then knows, also after a restart, that this page renews its keys.
 *
 * @param {string} offer
 * @returns {string}
 */
export function signed(offer) {
  return offer.replace(SECTION, "a=tool:rekindle\r\n");
}

/**
 * Names the publisher's streams in the server's answer, in place of those that it named.
 *
 * @param {string} answer
 * @param {{ kind: string, ssrc: number, rtx: number | null }[]} streams
 * @returns {string}
 */
export function withStreams(answer, streams) {
  return answer
    .split(SECTION)
    .map((section) => {
          const own = /^a=inactive/m.test(section) ? [] : streams.filter(({ kind }) => section.startsWith(`m=${kind} `));
      if (own.length === 0) return section;
      const retransmits = /^a=rtpmap:\d+ rtx\//m.test(section);
      const lines = own.flatMap(({ ssrc, rtx }) => {
        const pair = retransmits && rtx !== null ? [ssrc, rtx] : [ssrc];
        const group = pair.length > 1 ? [`a=ssrc-group:FID ${pair.join(" ")}\r\n`] : [];
        return [...group, ...pair.map((each) => `a=ssrc:${each} cname:rekindle\r\n`)];
      });
      return section.replace(/^a=ssrc(-group)?:.*\r?\n/gm, "") + lines.join("");
    })
    .join("");
}
