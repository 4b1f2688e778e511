"""Philox4x32-10 random words, the same bits as the row ``random_bits`` gives.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from adjoint.compile.code import Function, Value

ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


def philox(f: Function, index: Value, key0: Value, key1: Value) -> Value:
    """Word ``index % 4`` of the block at counter ``index // 4``, as i32.

    index: i64 lanes or a scalar; keys: i32 scalars. Each lane computes a whole block.
    """
    kind = index.kind
    words = blocks(f, f.two("lshr", index, f.number(2, kind)), key0, key1)
    place = f.cast("trunc", f.two("and", index, f.number(3, kind)), "i32")
    found = words[0]
    for i in (1, 2, 3):
        found = f.select(f.compare("eq", place, f.number(i, place.kind)), words[i], found)
    return found


def run(f: Function, first: Value, lanes: int, key0: Value, key1: Value) -> Value:
    """The words ``first`` to ``first + lanes - 1``, where 4 divides both numbers.

    first: an i64 scalar. A quarter of the work of ``philox`` on as many lanes.
    """
    count = lanes // 4
    start = f.two("lshr", first, f.number(2, first.kind))
    counter = start
    if count > 1:
        counter = f.splat(start, count)
        counter = f.add(counter, f.lanes(counter.kind))
    words = blocks(f, counter, key0, key1)
    if count == 1:
        found = Value("poison", words[0].kind._replace(lanes=4))
        for i, word in enumerate(words):
            found = f.emit(found.kind, f"insertelement {found.typed}, {word.typed}, i32 {i}")
        return found
    pairs = [i + side for i in range(count) for side in (0, count)]
    even = f.shuffle(words[0], words[2], pairs)  # words 0 and 2 of each block
    odd = f.shuffle(words[1], words[3], pairs)
    return f.shuffle(even, odd, [i + side for i in range(2 * count) for side in (0, 2 * count)])


def blocks(f: Function, counter: Value, key0: Value, key1: Value) -> tuple[Value, ...]:
    """The four words of the blocks at ``counter`` (i64), each as i32.

    Words are kept in the low halves of 64 bits, where a product needs them.
    """
    kind = counter.kind
    low, half = f.number(_LOW, kind), f.number(32, kind)
    a, b = f.two("and", counter, low), f.two("lshr", counter, half)
    c = d = f.number(0, kind)
    first, second = key0, key1
    for number in range(ROUNDS):
        if number:
            first = f.add(first, f.number(_WEYL[0], first.kind))
            second = f.add(second, f.number(_WEYL[1], second.kind))
        keys = [f.splat(f.cast("zext", k, "i64"), kind.lanes) for k in (first, second)]
        with_a = f.mul(a, f.number(_MULTIPLIERS[0], kind))
        with_c = f.mul(c, f.number(_MULTIPLIERS[1], kind))
        a = f.two("xor", f.two("xor", f.two("lshr", with_c, half), b), keys[0])
        c = f.two("xor", f.two("xor", f.two("lshr", with_a, half), d), keys[1])
        b, d = f.two("and", with_c, low), f.two("and", with_a, low)
    return tuple(f.cast("trunc", word, "i32") for word in (a, b, c, d))
