"""Numbers and sizes as people read them."""

ALMOST = 0.9995  # what is written with three digits as 1 of a unit is written in that unit


def bits_in_words(bits: float) -> str:
    """Bits with a decimal prefix.

    >>> bits_in_words(2_340_000), bits_in_words(950), bits_in_words(999_999.9)
    ('2.34 Mbit', '950 bit', '1 Mbit')
    """
    for unit, width in (("Tbit", 1e12), ("Gbit", 1e9), ("Mbit", 1e6), ("kbit", 1e3)):
        if bits >= width * ALMOST:
            return f"{bits / width:.3g} {unit}"
    return f"{bits:.0f} bit"


def count_in_words(count: float) -> str:
    """How many, with a decimal prefix.

    >>> count_in_words(2_958_752), count_in_words(125)
    ('2.96M', '125')
    """
    for unit, width in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= width * ALMOST:
            return f"{count / width:.3g}{unit}"
    return f"{count:.0f}"


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

    >>> figures(1234567.0), figures(0.00012346), figures(None)
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
