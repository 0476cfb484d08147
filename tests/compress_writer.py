"""Writes ``compress`` files (.Z) for tests; tried against gzip, which reads them."""

import numpy as np


def compressed(content: bytes, widest: int = 16, *, begins_anew: bool = True) -> bytes:
    """A file with one table, whose codes have up to ``widest`` bits."""
    first = 256 + begins_anew
    table = {bytes([octet]): octet for octet in range(256)}
    out, group, width, size = bytearray(), list[int](), 9, first
    prefix = b""

    def put(code: int) -> None:
        nonlocal width
        group.append(code)
        # The reader's table is one code behind the writer's.
        full = size > (1 << width) - 1 and width < widest
        if len(group) == 8 or full:
            out.extend(packed(group, width, whole=True))
            group.clear()
        width += full

    for octet in content:
        longer = prefix + bytes([octet])
        if longer in table:
            prefix = longer
            continue
        put(table[prefix])
        if size < 1 << widest:
            table[longer] = size
            size += 1
        prefix = bytes([octet])
    if prefix:
        put(table[prefix])
    out.extend(packed(group, width, whole=False))
    return bytes([0x1F, 0x9D, widest | (0x80 if begins_anew else 0)]) + bytes(out)


def packed(codes: list[int], width: int, *, whole: bool) -> bytes:
    """Codes with the lowest bit first; a whole group has eight."""
    bits = [code >> bit & 1 for code in codes for bit in range(width)]
    octets = np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()
    return octets.ljust(width, b"\0") if whole else octets
