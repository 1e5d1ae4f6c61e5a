"""A picture that moves: a bright square on grey."""

import av

WIDTH, HEIGHT, SIDE = 320, 240, 40


def picture(count):
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    luma = bytearray(b"\x60" * (WIDTH * HEIGHT))
    left = count % (WIDTH - SIDE)
    for y in range(100, 100 + SIDE):
        luma[y * WIDTH + left : y * WIDTH + left + SIDE] = b"\xe0" * SIDE
    for plane, data in zip(frame.planes, (bytes(luma), b"\x70" * (WIDTH * HEIGHT // 4), b"\x90" * (WIDTH * HEIGHT // 4))):
        # Lines of a plane may be longer than the picture is wide.
        width = plane.width
        plane.update(b"".join(data[at : at + width].ljust(plane.line_size, b"\0") for at in range(0, len(data), width)))
    return frame
