"""PyAV, which brings an FFmpeg of its own that is built on GnuTLS, as publisher."""

import fractions
import sys
import time

import av

from picture import picture
from whip import arguments, say

RATE = 30
SAMPLES = 960


def main():
    args = arguments()
    options = {}
    if args.certificate:
        certificate, key = args.certificate.split(",")
        options = {"cert_file": certificate, "key_file": key}
    # The FFmpeg of PyAV 18 has no flag for its DTLS role.
    try:
        output = av.open(args.url, "w", format="whip", options=options)
        video = output.add_stream("libx264", rate=RATE, options={"profile": "baseline", "bf": "0", "g": "30", "preset": "ultrafast", "tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        audio = output.add_stream("libopus", rate=48000, layout="stereo")
        send(output, video, audio)
    except (OSError, ValueError) as error:
        say("error", problem=f"{type(error).__name__}: {error}")
        sys.exit(4)


def send(output, video, audio):
    begin = time.monotonic()
    frames = packets = 0
    while True:
        frame = picture(frames)
        frame.pts, frame.time_base = frames, fractions.Fraction(1, RATE)
        for packet in video.encode(frame):
            output.mux(packet)
        if frames == 0:
            say("state", state="connected")
        frames += 1
        while packets * SAMPLES / 48000 < frames / RATE:
            sound = av.AudioFrame(format="s16", layout="stereo", samples=SAMPLES)
            sound.planes[0].update(bytes(SAMPLES * 4))
            sound.sample_rate, sound.pts, sound.time_base = 48000, packets * SAMPLES, fractions.Fraction(1, 48000)
            for packet in audio.encode(sound):
                output.mux(packet)
            packets += 1
        time.sleep(max(0, begin + frames / RATE - time.monotonic()))


main()
