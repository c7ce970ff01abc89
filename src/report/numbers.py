"""Numbers as the pages and the terminal write them: shares in per cent with two decimals, thousands with commas."""


def percent(fraction: float) -> str:
    """A fraction of 1 as `66.19 %`; a value that is not finite as `–`."""
    return f"{100 * fraction:.2f} %" if abs(fraction) < float("inf") else "–"


def interval(low: float, high: float) -> str:
    """The ends of an interval of fractions: `64.95–67.40 %`."""
    return f"{100 * low:.2f}–{percent(high)}"


def points(difference: float) -> str:
    """A difference of two fractions in percentage points, with its sign: `+1.20`; `–` where it is not finite."""
    return f"{100 * difference:+.2f}" if abs(difference) < float("inf") else "–"


def ratio(value: float) -> str:
    """`16.55:1`."""
    return f"{value:.2f}:1"


def duration(seconds: float) -> str:
    """`48.3 s`, `25 min 10 s`, `3 h 05 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def counted(number: int, name: str) -> str:
    """`1 group`, `39 groups`, `1,236 rows`. name: in the singular, with an s as its plural."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"
