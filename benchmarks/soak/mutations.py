"""Damage to files: to bytes of any file, fields of a NIfTI header, elements of a DICOM file; repeatable by the generator."""

import gzip
import struct
import zlib

import nibabel
import numpy as np

_WORDS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, -1e-30, 1e-10, 1e10, 1e30, 3e38, -3e38, float("nan"), float("inf"), float("-inf"))
_VRS = "AEASATCSDADSDTFLFDISLOLTOBODOFOLOWPNSHSLSQSSSTTMUCUIULUNURUSUT??\0\0"
"""Value representations, and two that are none, of two letters each."""

_TEXTS = (
    *(b"", b" ", b"\0", b"\\", b"nan", b"inf", b"-1", b"0", b"1e400", b"1\\2\\3", b"1e-300", b"9" * 16, b"x" * 64),
    *(b"\xff\xfe\x00\xe0", b"../../x ", b"\xc3\xa9\xff\xff", b"1.2.840.10008.1.2.1.99", b"-2147483648", b"1\\" * 500),
)


def damage_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Flips, overwrites, cuts, repeats, removes or inserts some bytes."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, max(1, len(changed))))
        span = int(rng.choice([1, 2, 4, 8, 64]))
        match int(rng.integers(0, 7)):
            case 0 if changed:
                changed[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                changed[at : at + span] = rng.bytes(span)
            case 2:
                del changed[at:]
            case 3:
                del changed[at : at + span]
            case 4:
                changed[at:at] = changed[at : at + span]
            case 5:
                order = rng.choice(["<", ">"])
                changed[at : at + 4] = struct.pack(f"{order}I", int(rng.choice(_WORDS)))
            case _:
                changed[at : at + 4] = struct.pack("<f", float(rng.choice(_REALS)))
    return bytes(changed)


def damage_nifti(content: bytes, rng: np.random.Generator) -> bytes:
    """Sets one or two fields of a header to extremes, or damages the file around them."""
    if content[:2] == b"\x1f\x8b":
        return _damage_gzip(content, rng)
    if rng.random() < 0.25:
        return damage_bytes(content, rng)
    kinds = (nibabel.Nifti1Header, nibabel.Nifti2Header)
    kind = next((kind for kind in kinds if kind.may_contain_header(content[:540])), None)
    if kind is None or len(content) < kind.sizeof_hdr:
        return damage_bytes(content, rng)
    header = kind(content[: kind.sizeof_hdr], check=False)
    fields = header.structarr.dtype.fields
    for _ in range(rng.integers(1, 3)):
        name = str(rng.choice(list(fields)))
        field = header.structarr[name].reshape(-1) if header.structarr[name].ndim else header.structarr[name]
        value = _extreme(field.dtype, rng)
        if field.ndim and rng.random() < 0.8:
            field[int(rng.integers(0, len(field)))] = value
        else:
            field[...] = value
    return header.structarr.tobytes() + content[kind.sizeof_hdr :]


def _extreme(dtype: np.dtype, rng: np.random.Generator):
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.array(rng.choice(_REALS)).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.choice([0, 1, 2, 3, 7, 16, 64, limits.min, limits.max, limits.max // 2, int(rng.integers(0, 128))])
    return rng.bytes(dtype.itemsize)


def _damage_gzip(content: bytes, rng: np.random.Generator) -> bytes:
    try:
        plain = gzip.decompress(content)
    except (EOFError, OSError, zlib.error):
        return damage_bytes(content, rng)
    match int(rng.integers(0, 6)):
        case 0:
            return content[: int(rng.integers(2, len(content)))]
        case 1:
            return content + content  # two members
        case 2:
            return content[:-8] + rng.bytes(8)  # checksum and length
        case 3:
            return content + bytes(int(rng.integers(1, 100)))
        case 4:  # much of nothing behind the header
            return gzip.compress(plain[:352] + bytes(2**20), mtime=0)
        case _:
            return gzip.compress(damage_nifti(plain, rng), mtime=0)


def damage_dicom(content: bytes, rng: np.random.Generator) -> bytes:
    """Removes, empties, replaces, renames or lengthens one or two elements of a file in explicit little endian."""
    if rng.random() < 0.2:
        return damage_bytes(content, rng)
    for _ in range(rng.integers(1, 3)):
        places = _elements(content)
        if not places:
            return damage_bytes(content, rng)
        start, value, end = places[int(rng.integers(0, len(places)))]
        vr, short = content[start + 4 : start + 6], value == start + 8
        match int(rng.integers(0, 7)):
            case 0:
                content = content[:start] + content[end:]
            case 1:
                content = content[:start] + _element(content[start : start + 4], vr, b"", short) + content[end:]
            case 2:
                at = 2 * int(rng.integers(0, len(_VRS) // 2))
                content = content[: start + 4] + _VRS[at : at + 2].encode() + content[start + 6 :]
            case 3:
                text = bytes(_TEXTS[int(rng.integers(0, len(_TEXTS)))])
                made = _element(content[start : start + 4], vr, text + b" " * (len(text) % 2), short)
                content = content[:start] + made + content[end:]
            case 4:
                bad = struct.pack("<H" if short else "<I", int(rng.choice(_WORDS)) & (0xFFFF if short else 0xFFFFFFFF))
                content = content[: value - len(bad)] + bad + content[value:]
            case 5:
                order = struct.pack("<HH", *(int(number) for number in rng.integers(0, 2**16, 2)))
                content = content[:value] + (order * (1 + (end - value) // 4))[: end - value] + content[end:]
            case _:
                content = content[:end] + content[start:end] + content[end:]
    return content


def _element(tag: bytes, vr: bytes, value: bytes, short: bool) -> bytes:
    return tag + vr + (struct.pack("<H", len(value)) if short else b"\0\0" + struct.pack("<I", len(value))) + value


_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}


def _elements(content: bytes) -> list[tuple[int, int, int]]:
    """Returns start, start of the value and end of each element, those in sequences of undefined length too."""
    found, at = [], 132
    while at + 8 <= len(content):
        if content[at : at + 2] == b"\xfe\xff":  # an item, or the end of one or of a sequence
            at += 8
            continue
        value = at + (12 if content[at + 4 : at + 6] in _LONG_VRS else 8)
        length = int.from_bytes(content[value - 4 : value] if value == at + 12 else content[value - 2 : value], "little")
        if value == at + 12 and length == 0xFFFFFFFF:
            found.append((at, value, value))
            at = value
            continue
        end = value + length
        if end > len(content):
            break
        found.append((at, value, end))
        at = end
    return found
