/**
 * What the module's parts call each other's, which no page, server or browser knows: these names are shortened. build.js fails where one is of the
 * interface or used as text, and `npm run package` where a browser has one that is called so.
 */
export const OWN = `
  adrift again among answered applied appliedAt asOf ask askAt asked assess backAt broken doubt encoders falls fingerprints follower found freshen gather
  givesUp greeted handshakes hasKeys hasOthers heard hears here hold iceDownSince iceHasFailed iceIsDown isBack isBlind isDone isExcused isGone isHopeless
  isLong isLost isOver isOwn isSilent isStranded isViewer joined keepsKeys lacks learn leave listen lookAgainAt measured mixes moved named noes park patience
  plays post prepare prepared prime rank reaches redone regrouped renew renewalAt renews restarted retune roams rtt saw seenAt sent served serverHasKeys serves
  setBoot shouldAsk shown signalling stands startedAt stops streamOpen sure takes tidy took tookMs transceivers turn turnBack unsure upAt usesTcp
  videoPackets waits wake wants`.trim().split(/\s+/);
