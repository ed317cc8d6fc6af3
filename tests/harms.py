"""Harm done to a file's bytes: bits, bytes, cuts, more, zeros, nothing, swapped parts."""

from hypothesis import strategies as st


def harms(whole: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that are not quite `whole`."""
    place, byte = st.integers(0, len(whole) - 1), st.integers(0, 255)
    bits = st.builds(
        lambda at, bit: _with(whole, at, whole[at] ^ 1 << bit), place, st.integers(0, 7)
    )
    others = st.builds(lambda at, to: _with(whole, at, to), place, byte)
    cuts = place.map(lambda end: whole[:end])
    gaps = place.map(lambda at: whole[:at] + whole[at + 1 :])
    more = st.builds(lambda at, to: whole[:at] + bytes([to]) + whole[at:], place, byte)
    longer = st.binary(min_size=1, max_size=9).map(lambda tail: whole + tail)
    zeroed = place.map(lambda start: whole[:start] + bytes(len(whole) - start))
    turned = place.map(lambda at: whole[at:] + whole[:at])
    every = bits | others | cuts | gaps | more | longer | zeroed | turned
    return every.filter(lambda found: found != whole)


def _with(whole: bytes, at: int, value: int) -> bytes:
    return whole[:at] + bytes([value]) + whole[at + 1 :]
