"""aiortc as publisher or viewer."""

import asyncio
import signal

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack

from picture import picture
from whip import arguments, delete, post, say


class Picture(VideoStreamTrack):
    """Something that moves."""

    count = 0

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        frame = picture(self.count)
        self.count += 1
        frame.pts, frame.time_base = pts, time_base
        return frame


async def count(track, counts):
    try:
        while True:
            await track.recv()
            counts[track.kind] += 1
    except MediaStreamError:
        pass


def prefer(transceiver, kind, codec):
    wanted = f"{kind}/{codec}".lower()
    codecs = [one for one in RTCRtpSender.getCapabilities(kind).codecs if one.mimeType.lower() == wanted]
    transceiver.setCodecPreferences(codecs)


async def main():
    args = arguments()
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    counts = {"video": 0, "audio": 0}
    readers = []

    @connection.on("connectionstatechange")
    def _():
        say("state", state=connection.connectionState)

    @connection.on("track")
    def _(track):
        readers.append(asyncio.ensure_future(count(track, counts)))

    for kind, codec, track in (("audio", args.audio, AudioStreamTrack), ("video", args.video, Picture)):
        if codec == "none":
            continue
        if args.role == "publish":
            transceiver = connection.addTransceiver(track(), direction="sendonly")
        else:
            transceiver = connection.addTransceiver(kind, direction="recvonly")
        if codec != "any":
            prefer(transceiver, kind, codec)

    await connection.setLocalDescription(await connection.createOffer())
    answer, location = await asyncio.to_thread(post, args.url, connection.localDescription.sdp)
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    while not over.is_set():
        if args.role == "watch":
            say("frames", **counts)
        try:
            await asyncio.wait_for(over.wait(), 0.1)
        except TimeoutError:
            pass
    await asyncio.to_thread(delete, location)
    await connection.close()


asyncio.run(main())
