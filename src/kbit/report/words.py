"""Numbers and sizes as people read them."""


def bits_in_words(bits: float) -> str:
    """Bits with a decimal prefix.

    >>> bits_in_words(2_340_000), bits_in_words(950), bits_in_words(7.1e9)
    ('2.34 Mbit', '950 bit', '7.1 Gbit')
    """
    for unit, width in (("Tbit", 1e12), ("Gbit", 1e9), ("Mbit", 1e6), ("kbit", 1e3)):
        if bits >= width:
            return f"{bits / width:.3g} {unit}"
    return f"{bits:.0f} bit"


def count_in_words(count: float) -> str:
    """How many, with a decimal prefix.

    >>> count_in_words(2_958_752), count_in_words(125)
    ('2.96M', '125')
    """
    for unit, width in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= width:
            return f"{count / width:.3g}{unit}"
    return f"{count:.0f}"


def bytes_in_words(size_bytes: float) -> str:
    """Bytes with a binary prefix.

    >>> bytes_in_words(3 * 2**20), bytes_in_words(1.5 * 2**30), bytes_in_words(100)
    ('3.00 MiB', '1.50 GiB', '100 bytes')
    """
    for unit, width in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= width:
            return f"{size_bytes / width:.2f} {unit}"
    return f"{size_bytes:.0f} bytes"


def number(value: float | None, digits: int = 4) -> str:
    """A figure with so many decimals; a dash where there is none.

    >>> number(1.23456), number(None), number(-0.5, 2)
    ('1.2346', '–', '−0.50')
    """
    if value is None or value != value:
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def figures(value: float | None, digits: int = 4) -> str:
    """A figure with so many significant digits.

    >>> figures(1234567.0), figures(0.00012345), figures(None)
    ('1.235e+06', '0.0001235', '–')
    """
    if value is None or value != value:
        return "–"
    return f"{value:.{digits}g}".replace("-", "−") if abs(value) != float("inf") else "∞"


def listed(items: list[str]) -> str:
    """Words in a row.

    >>> listed(["a", "b", "c"]), listed(["a"]), listed([])
    ('a, b and c', 'a', '')
    """
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else ""
