import { Broadcast } from "./lib/broadcast.js";
import { sleep, clock } from "./lib/server.js";
const down = Number(process.argv[2] ?? 500);
const b = await Broadcast.open({ publisher: process.argv[3] ?? "chromium", viewers: ["chromium"], server: { udpHost: process.argv[4] ?? "0.0.0.0" } });
const pub = () => b.publisher.run(async () => { const o={}; for (const r of (await window.seen.live().getStats()).values()) { if (r.type==="outbound-rtp"&&r.kind==="video") Object.assign(o,{sent:r.packetsSent,re:r.retransmittedPacketsSent,nack:r.nackCount,pli:r.pliCount,frames:r.framesSent,enc:r.framesEncoded,tb:r.targetBitrate, ql:r.qualityLimitationReason}); if (r.type==="candidate-pair"&&r.nominated) Object.assign(o,{avail:r.availableOutgoingBitrate}); } return o; });
const view = () => b.viewers[0].run(async () => { const o={}; for (const r of (await window.seen.live().getStats()).values()) { if (r.type==="inbound-rtp"&&r.kind==="video") Object.assign(o,{got:r.packetsReceived,re:r.retransmittedPacketsReceived,nack:r.nackCount,pli:r.pliCount,dec:r.framesDecoded,rec:r.framesReceived,asm:r.framesAssembledFromMultiplePackets, key:r.keyFramesDecoded, lost:r.packetsLost}); if(r.type==="inbound-rtp"&&r.kind==="audio") o.audio=[r.packetsReceived,r.packetsLost,r.concealedSamples]; } return o; });
for (let k=0;k<3;k++){
await sleep(2500);
console.log("before", JSON.stringify(await pub()), JSON.stringify(await view()));
const { killedAt, startedAt } = await b.restart(down);
for (let i=0;i<24;i++) { const t=Math.round(clock()-startedAt); const [p,v]=await Promise.all([pub(),view()]); console.log(t, JSON.stringify(p), JSON.stringify(v)); await sleep(80); }
console.log((await b.server.get("/metrics")).text.split("\n").filter(l=>/^rekindle_(rtp|pli)/.test(l)).join(" "));
}
await b.close();
